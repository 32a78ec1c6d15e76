"""A running service and its scraper. Real processes, fake stages."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auflow import metrics
from auflow.metrics import Kind
from auflow.serve.config import ServeConfig
from auflow.tests.serve.live_place import Place, Running
from auflow.tests.telemetry.kit import Samples, labels_of, read, value

OF_RUNS = {metrics.INPUTS, metrics.INPUTS_RUNNING}
PAGE = {metrics.WEB_VIEWERS, metrics.WEB_DROPPED}
OF_FITS = {metrics.CLNF_ITERATIONS, metrics.CLNF_OPTIMISATIONS, metrics.CLNF_CONVERGED}  # fake ones have none
LANE = ("decode-0", "clnf-0", "au-0", "sink-0")
SUFFIXES = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.SUMMARY: ("_sum", "_count")}


def config_of(place: Place, **telemetry: Any) -> ServeConfig:
    http_table = {"address": "127.0.0.1:0"}
    return place.config({"door": place.camera()}, http=http_table, telemetry=telemetry)


def scrape(running: Running, path: str = "/metrics") -> bytes:
    host, _, port = running.status()["http"]["address"].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return answer.read()
    finally:
        connection.close()


def targets(config: ServeConfig) -> dict[str, str]:
    """Where each worker answers."""
    path = Path(config.telemetry.targets)
    entries = json.loads(path.read_text()) if path.exists() else []
    return {entry["labels"]["worker"]: entry["targets"][0] for entry in entries}


def settled(running: Running, done: Callable[[Samples], object]) -> Samples:
    found: Samples = running.until(lambda: done(latest := read(scrape(running))) and latest)
    return found


def test_every_metric_is_told_by_somebody_as_it_is_declared(place: Place) -> None:
    with place.serve(config_of(place)) as running:
        running.flows("door", frames=20)
        found = settled(running, lambda now: labels_of(now, metrics.LAST_FRAME.name))
        told = {name: labels_of(found, name) for name, _ in found}
        for metric in set(metrics.ALL) - PAGE - OF_FITS - OF_RUNS:
            for suffix in SUFFIXES.get(metric.kind, ("",)):
                assert metric.name + suffix in told, metric.name
                for labels in told[metric.name + suffix]:
                    assert set(labels) - {"worker", "le"} == set(metric.labels), metric.name
        ours = {name for name in told if name.startswith("auflow_")}
        declared = {metric.name + suffix for metric in metrics.ALL for suffix in SUFFIXES.get(metric.kind, ("",))}
        assert ours <= declared
        stages = {labels["stage"]: labels["worker"] for labels in told["auflow_stage_duration_seconds_count"]}
        assert {*LANE} <= {*stages.values()}
        assert all(worker.startswith(stage) for stage, worker in stages.items())
        done = value(found, "auflow_frames_done_total", stream="door", worker="orchestrator")
        assert value(found, "auflow_frame_age_seconds_count", stream="door", worker="sink-0") >= done > 20


def test_promtool_has_nothing_to_say(place: Place) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    with place.serve(config_of(place)) as running:
        running.flows("door")
        text = scrape(running)
        own = scrape(running, "/metrics/orchestrator")
    for each in (text, own):
        checked = subprocess.run([promtool, "check", "metrics"], input=each, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_worker_that_is_killed_is_told_and_its_successor_answers_at_its_own_port(place: Place) -> None:
    config = config_of(place)
    with place.serve(config) as running:
        running.flows("door")
        before = running.until(lambda: {*LANE, "orchestrator", "detect-0", "bus-0"} == {*(t := targets(config))} and t)
        done = value(read(scrape(running)), "auflow_frames_done_total", stream="door", worker="orchestrator")
        running.kill("clnf-0")
        running.flows("door")
        found = settled(running, lambda now: value(now, "auflow_restarts_total", group="lane-0", worker="orchestrator"))
        assert value(found, "auflow_frames_done_total", stream="door", worker="orchestrator") >= done
        after = running.until(lambda: {*before} == {*(t := targets(config))} and t["clnf-0"] != before["clnf-0"] and t)
        assert after["detect-0"] == before["detect-0"]
        settled(
            running, lambda now: [label for label in labels_of(now, "auflow_credits") if label["worker"] == "clnf-0"]
        )
    assert targets(config) == {}


def test_switched_off_nobody_listens(place: Place) -> None:
    config = config_of(place, metrics=False)
    with place.serve(config) as running:
        running.flows("door")
        assert running.service.crew.metrics_ports == {}
        with pytest.raises(AssertionError, match="there are /healthz, /readyz and /status"):
            scrape(running)
    assert not Path(config.telemetry.targets).exists()


def test_targets_that_cannot_be_written_do_not_end_the_service(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    (place.root / "taken").write_text("")
    with place.serve(config_of(place, targets=str(place.root / "taken" / "t.json"))) as running:
        running.flows("door", frames=60)
        assert value(read(scrape(running)), "auflow_ready", worker="orchestrator") == 1
    assert caplog.text.count("targets cannot be written") == 1
