"""`auflow run --metrics`: what is told while it runs."""

from __future__ import annotations

import dataclasses
import http.client
import io
import socket
import threading
from typing import Any

import pytest

from auflow.cli import main
from auflow.errors import UsageError
from auflow.orchestrator import run
from auflow.report import PlainReporter, StreamSummary
from auflow.run_metrics import RunMetrics
from auflow.stages.records import SourceInfo
from auflow.tests.telemetry.kit import Samples, labels_of, read, value


def scrape(address: str) -> Samples:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/metrics")
        return read(connection.getresponse().read())
    finally:
        connection.close()


def info(path: str) -> SourceInfo:
    return SourceInfo(path, "video", 64, 48, 25.0, None)


def summary(path: str, frames: int, *, interrupted: bool = False, error: str | None = None) -> StreamSummary:
    return StreamSummary(path, None, frames, 0, 2, 1.0, interrupted=interrupted, error=error, failed_frames=1)


def test_inputs_and_their_frames_are_counted_together() -> None:
    heard = io.StringIO()
    told = RunMetrics(("127.0.0.1", 0), "cafe", PlainReporter(heard), lambda: {})
    try:
        told.stream_started(info("a"))
        told.stream_started(info("b"))
        told.advanced("a", 30)
        told.advanced("b", 4)
        told.advanced("a", 40)
        found = scrape(told.address)
        assert value(found, "auflow_frames_done_total", stream="files", worker="orchestrator") == 44
        assert value(found, "auflow_inputs_running", worker="orchestrator") == 2
        told.stream_finished(summary("a", 50))
        told.stream_finished(summary("b", 5, error="torn"))
        told.stream_finished(summary("never", 0, interrupted=True))
        found = scrape(told.address)
        assert value(found, "auflow_frames_done_total", stream="files", worker="orchestrator") == 55 - 3
        assert value(found, "auflow_frames_failed_total", stream="files", worker="orchestrator") == 3
        assert value(found, "auflow_frames_corrupt_total", stream="files", worker="orchestrator") == 6
        assert value(found, "auflow_inputs_running", worker="orchestrator") == 0
        for state in ("complete", "interrupted", "failed"):
            assert value(found, "auflow_inputs_total", state=state, worker="orchestrator") == 1
        assert "torn" in heard.getvalue()  # the user hears it all the same
    finally:
        told.close()


def test_a_run_tells_its_workers_metrics(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.05")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    found: list[Samples] = []

    class Scraper(PlainReporter):
        def advanced(self, path: str, frames: int) -> None:
            super().advanced(path, frames)
            if frames > 10 and not found:
                thread = threading.Thread(target=lambda: found.append(scrape(f"127.0.0.1:{port}")))
                thread.start()
                thread.join()

    options = dataclasses.replace(place.options(place.input("clip", frames=60)), metrics=("127.0.0.1", port))
    (ended,) = run(options, Scraper(io.StringIO()), kit="fake_kit")
    assert (ended.error, ended.frames) == (None, 60)
    workers = {labels["worker"] for labels in labels_of(found[0], "process_cpu_seconds_total")}
    assert workers == {"orchestrator", "decode-0", "detect-0", "clnf-0", "au-0", "sink-0"}
    assert labels_of(found[0], "auflow_frame_age_seconds_count") == [{"stream": "files", "worker": "sink-0"}]
    told = {"stream": "files", "worker": "sink-0"}
    looks, faces, kept = (
        value(found[0], f"auflow_{name}_total", **told) for name in ("detections", "descriptors", "descriptors_reused")
    )
    assert 2 <= looks <= faces <= 60
    assert 1 <= kept < faces
    with pytest.raises(OSError, match="refused"):
        scrape(f"127.0.0.1:{port}")


def test_an_address_that_is_taken_is_told_before_any_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=r"--metrics: 127.0.0.1:.* cannot be listened on"):
            RunMetrics(("127.0.0.1", port), "", PlainReporter(io.StringIO()), lambda: {})


@pytest.mark.parametrize("address", ["0.0.0.0:8717", "example.org:8717", "8717", "127.0.0.1:*", "127.0.0.1:70000"])
def test_only_this_machine_may_ask(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", "x.mp4", "--metrics", address])
    assert "expected an address of this machine" in capsys.readouterr().err


def test_inline_there_is_nobody_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "x.mp4", "--inline", "--metrics", "127.0.0.1:8717"]) == 2
    assert "--metrics and --inline do not go together" in capsys.readouterr().err
