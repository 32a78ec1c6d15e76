"""Traces of a running service: each traced frame is told by every process that had it. Real processes, fake stages."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

import pytest

from auflow.errors import UsageError
from auflow.serve import watch
from auflow.serve.config import ServeConfig
from auflow.tests.serve.live_place import Place
from auflow.tests.telemetry.otlp_collector import Collector, Received

WORKERS = {"decode": "decode-0", "clnf": "clnf-0", "au": "au-0", "sink": "sink-0", "frame": "sink-0"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def config_of(place: Place, endpoint: str, every: int) -> ServeConfig:
    return place.config({"door": place.camera()}, telemetry={"trace_every": every, "trace_endpoint": endpoint})


def by_trace(spans: list[Received]) -> dict[str, dict[str, Received]]:
    traces: dict[str, dict[str, Received]] = defaultdict(dict)
    for span in list(spans):
        traces[span.trace][span.name] = span
    return traces


def test_a_frame_is_followed_through_all_processes(place: Place, collector: Collector) -> None:
    with place.serve(config_of(place, collector.endpoint, every=5)) as running:
        running.flows("door", frames=40)
        running.until(lambda: sum({*WORKERS} <= {*trace} for trace in by_trace(collector.spans).values()) >= 4)
        done = running.done("door")
        traces = by_trace(collector.spans)
    whole = [trace for trace in traces.values() if {*WORKERS} <= {*trace}]
    assert len(traces) <= done / 5 + 3
    for trace in whole:
        root = trace["frame"]
        assert root.parent == ""
        assert root.attributes["auflow.stream"] == "door"
        assert root.attributes["auflow.frame"] >= 1
        for name, worker in WORKERS.items():
            span = trace[name]
            assert span.resource["auflow.worker"] == worker
            assert name == "frame" or span.parent == root.span
        order = [trace[name] for name in ("clnf", "au", "sink")]
        for before, after in itertools.pairwise(order):
            assert before.ended_ns <= after.began_ns + 1_000_000  # each process looks at the clocks for itself
        assert abs(root.ended_ns - trace["sink"].ended_ns) < 1_000_000


def test_a_collector_that_is_away_costs_no_frame(place: Place) -> None:
    with place.serve(config_of(place, "http://127.0.0.1:9", every=1)) as running:
        running.flows("door", frames=60)
        frames = running.stream("door")["frames"]
        assert frames["failed"] == 0
        assert running.stream("door")["restarts"] == 0


def test_without_its_libraries_the_service_says_what_to_install(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UsageError("traces need opentelemetry: `pip install 'auflow[otel]'`")

    monkeypatch.setattr(watch, "require_otel", missing)
    with pytest.raises(UsageError, match=r"auflow\[otel\]"):
        watch.Watch(config_of(place, "", every=1), dict)
    watch.Watch(config_of(place, "", every=0), dict)
