"""What becomes of a live stream's results: the bus, JSON lines, the CSV of each segment, and nothing that ends it."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auflow.errors import OutputError
from auflow.flow import live_output, stagekit
from auflow.flow.job import StreamJob
from auflow.stages.records import AuTable
from auflow.stages.sink.live import LiveSink
from auflow.stages.sink.provenance import read_provenance
from auflow.tests.flow.live_lane import Out, end_of, live_job, read_rows, result_of
from auflow.transport import messages as m
from auflow.transport.schema import unpack_message


def table_of(rows: int) -> AuTable:
    return AuTable(np.ones((rows, 17)), np.zeros((rows, 18)), np.full(17, 0.25))


@pytest.fixture
def job(tmp_path: Path) -> StreamJob:
    output, lines = str(tmp_path / "out" / "door-{start}.csv"), str(tmp_path / "lines" / "door-{start}.jsonl")
    return live_job(output=output, jsonl=lines, state=str(tmp_path / "state" / "door"))


@pytest.fixture
def out(job: StreamJob) -> Iterator[Out]:
    made = Out(stagekit, job)
    yield made
    made.close()


def messages(out: Out, kind: str) -> list[dict[str, Any]]:
    found = [unpack_message(payload) for _, payload in out.publisher.sent]
    return [message for message in found if message["type"] == kind]


def add(output: Any, *numbers: int) -> None:
    for number in numbers:
        output.add(*result_of(number))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_results_go_to_the_bus_to_the_lines_and_to_the_csv(out: Out, tmp_path: Path) -> None:
    output = out.start()
    add(output, 1, 2, 3)
    written = output.finish(end_of(3, decoded=5, dropped=2, table=table_of(3)))
    assert (written.frames, written.dropped, written.successes, written.last, written.error) == (3, 2, 3, True, None)
    assert written.note.startswith("online against offline intensities: mean absolute difference 0.250")
    (csv,) = (tmp_path / "out").iterdir()
    assert (str(csv), read_rows(csv)) == (written.output, [1, 2, 3])
    results = messages(out, "result")
    assert [(message["seq"], message["frame"], message["values"]) for message in results] == [
        (0, 1, "online"),
        (1, 2, "online"),
        (2, 3, "online"),
    ]
    assert results[0]["au_r"]["AU01"] == 1.0
    assert {topic for topic, _ in out.publisher.sent} == {b"door\0result", b"door\0segment"}
    (segment,) = messages(out, "segment")
    assert segment["seq"] == 3
    assert segment["counts"] == {"in": 5, "done": 3, "failed": 0, "dropped": 2}
    assert segment["difference"]["AU45"] == 0.25
    (lines,) = (tmp_path / "lines").iterdir()
    assert [json.loads(line)["seq"] for line in lines.read_text().splitlines()] == [0, 1, 2, 3]
    assert list((tmp_path / "state").iterdir()) == []
    assert (out.ring.tally(0).done, out.ring.tally(0).published) == (3, 4)


def test_counts_and_numbers_of_messages_go_on_where_a_process_before_ended(out: Out) -> None:
    add(out.start(), 1, 2)
    out.outputs[0].suspend()
    add(out.start(), 3)
    assert [message["seq"] for message in messages(out, "result")] == [0, 1, 2]
    assert (out.ring.tally(0).done, out.ring.tally(0).published) == (3, 3)


def test_progress_is_told_with_the_state_of_the_source(out: Out) -> None:
    output = out.start()
    out.ring.count(0, decoded=9, superseded=3, state=1)
    add(output, 1)
    output.tell_progress()
    output.tell_progress()
    out.ring.count(0, state=2)
    output.tell_progress()
    told = messages(out, "stream")
    assert [message["state"] for message in told] == ["streaming", "stalled"]
    assert told[0]["counts"]["in"] == 9
    assert told[0]["counts"]["dropped.superseded"] == 3
    progress = out.shell.of(m.StreamProgress)
    assert [(p.faces, p.captured_s, p.clock) for p in progress] == [(1, 1e9 + 1, "arrival")] * 2
    assert progress[0].fps == 0.0  # nobody knows yet


def test_a_segment_is_gone_on_with_from_its_checkpoint(out: Out, job: StreamJob, tmp_path: Path) -> None:
    output = out.start()
    add(output, 1, 2, 3)
    output.snapshot(m.Snapshot(0, 3, b"clnf's", b"au's"))
    add(output, 4, 5)
    output.suspend()  # what it has not kept is lost with it
    found = stagekit.read_checkpoint(job)
    assert isinstance(found, m.StreamState)
    assert (found.clnf, found.au) == (b"clnf's", b"au's")
    output = out.start(segment=0, resume=found)
    add(output, 8, 9)
    output.tell_progress()
    assert out.shell.of(m.StreamProgress)[-1].fps == 0.0
    written = output.finish(end_of(2, table=table_of(5)))
    assert written.frames == 5
    assert read_rows(Path(written.output or "")) == [1, 2, 3, 8, 9]


def test_a_checkpoint_of_another_segment_gives_no_file_to_go_on_with(out: Out, job: StreamJob) -> None:
    output = out.start()
    add(output, 1)
    output.snapshot(m.Snapshot(0, 1, b"", b""))
    output.suspend()
    found = stagekit.read_checkpoint(job)
    assert isinstance(found, m.StreamState)
    output = out.start(segment=1, resume=found)
    add(output, 2)
    assert output.finish(end_of(1, table=table_of(1))).frames == 1


def test_a_stream_without_files_keeps_its_checkpoint(tmp_path: Path) -> None:
    job = live_job(state=str(tmp_path / "state" / "door"))
    out = Out(stagekit, job)
    output = out.start()
    add(output, 1)
    output.snapshot(m.Snapshot(0, 1, b"c", b"a"))
    output.suspend()
    found = stagekit.read_checkpoint(job)
    assert isinstance(found, m.StreamState)
    output = out.start(resume=found)
    assert output.finish(end_of(0)).output is None
    assert stagekit.read_checkpoint(job) is None
    assert out.notes() == []
    out.close()


def test_a_disk_that_is_full_for_rows_leaves_those_before(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    output = out.start()
    add(output, 1, 2)
    add_row = LiveSink.add.__globals__["ResultSink"].add

    def refuse(*_: object) -> None:
        raise OutputError("door.csv: cannot be written: No space left on device")

    monkeypatch.setattr("auflow.stages.sink.result.ResultSink.add", refuse)
    add(output, 3, 4)
    monkeypatch.setattr("auflow.stages.sink.result.ResultSink.add", add_row)
    add(output, 5)
    output.snapshot(m.Snapshot(0, 5, b"", b""))
    assert stagekit.read_checkpoint(out.job) is None
    (note,) = out.notes()
    assert "No space left on device; the stream goes on, its file ends here until the next segment" in note
    assert output.finish(end_of(5, last=False, table=table_of(5))) is None
    written = output.written(wait=True)
    assert written is not None
    assert "No space left" in (written.error or "")
    assert read_rows(Path(written.output or "")) == [1, 2]
    assert [message["frame"] for message in messages(out, "result")] == [1, 2, 3, 4, 5]
    output = out.start(segment=1)
    add(output, 6)
    assert output.finish(end_of(1, table=table_of(1))).error is None


def test_a_segment_in_other_formats(job: StreamJob, tmp_path: Path) -> None:
    settings = replace(job.settings, formats=("parquet", "jsonl"))
    out = Out(stagekit, replace(job, settings=settings))
    output = out.start()
    add(output, 1, 2)
    assert output.finish(end_of(2, last=False, table=table_of(2))) is None
    written = output.written(wait=True)
    assert written is not None
    first = Path(written.output or "")
    assert first.suffix == ".parquet"
    assert sorted(path.suffix for path in first.parent.iterdir()) == [".jsonl", ".parquet"]
    again = out.start(segment=1)  # within the same second, and there is no CSV that would have its name
    add(again, 3)
    last = again.finish(end_of(1, table=table_of(1)))
    assert last.error is None
    assert len({path.stem for path in first.parent.iterdir()}) == 2
    found = read_provenance(first.with_suffix(".jsonl"))
    assert (found["rows"], found["source"]["name"], found["source"]["kind"]) == (2, "door", "live")
    assert (found["au_values"], found["frames"]) == ("offline", 2)
    out.close()


def test_a_disk_that_is_full_at_the_end_of_a_segment(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    output = out.start()
    add(output, 1)
    with monkeypatch.context() as patch:
        patch.setattr("auflow.stages.sink.table_sink.os.fsync", full)
        assert output.finish(end_of(1, last=False, table=table_of(1))) is None
        written = output.written(wait=True)
    assert written is not None
    assert (written.output, written.exit_code) == (None, 3)
    add(out.start(segment=1), 2)
    assert out.outputs[1].finish(end_of(1, table=table_of(1))).error is None


def test_a_disk_that_is_full_for_checkpoints_is_told_of_once(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    output = out.start()
    add(output, 1)
    with monkeypatch.context() as patch:
        patch.setattr("auflow.stages.sink.checkpoint.os.fsync", full)
        for _ in range(3):
            output.snapshot(m.Snapshot(0, 1, b"", b""))
    assert len(out.notes()) == 1
    assert "door: no checkpoint could be written" in out.notes()[0]
    output.snapshot(m.Snapshot(0, 1, b"", b""))
    assert isinstance(stagekit.read_checkpoint(out.job), m.StreamState)
    assert output.finish(end_of(1, table=table_of(1))).error is None


def test_a_disk_that_is_full_for_lines_is_told_of_once(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    output = out.start()
    with monkeypatch.context() as patch:
        patch.setattr("auflow.stages.sink.jsonl.os.write", full)
        add(output, 1, 2, 3)
    assert len(out.notes()) == 1
    assert "results are dropped from here" in out.notes()[0]
    assert len(messages(out, "result")) == 3


@pytest.mark.parametrize("what", ["out", "lines", "state"])
def test_a_folder_that_cannot_be_made_is_told_of(out: Out, tmp_path: Path, what: str) -> None:
    (tmp_path / what).write_text("a file")
    output = out.start()
    add(output, 1)
    output.snapshot(m.Snapshot(0, 1, b"", b""))
    written = output.finish(end_of(1, table=table_of(1)))
    assert any(str(tmp_path / what) in note for note in out.notes())
    assert (written.output is None) == (what != "lines")
    assert len(messages(out, "result")) == 1


def test_a_state_that_another_service_holds_is_told_of(out: Out) -> None:
    out.start()
    add(out.start(), 1)
    assert "is being written by another run" in out.notes()[0]


def test_results_that_no_one_wants_are_not_made(tmp_path: Path) -> None:
    job = live_job(state=str(tmp_path / "state" / "door"))
    out = Out(SimpleNamespace(make_live_sink=stagekit.make_live_sink), job)
    out.publisher = None  # type: ignore[assignment]
    output = out.start()
    add(output, 1)
    output.tell_progress()
    output.finish(end_of(1))
    assert (out.ring.tally(0).done, out.ring.tally(0).published) == (1, 0)
    assert len(out.shell.of(m.StreamProgress)) == 1
    out.close()


def test_two_files_that_begin_in_the_same_second_have_two_names(tmp_path: Path) -> None:
    pattern = str(tmp_path / "door-{start}.csv")
    first = live_output._stamped(pattern)
    Path(first).touch()
    assert live_output._stamped(pattern) != first
    assert live_output._stamped("door.csv") == "door.csv"


class FakePage:
    """Somebody looks at these streams."""

    def __init__(self, *streams: str) -> None:
        self.streams = streams
        self.shown: list[tuple[str, list[dict[str, Any]], tuple[int, ...], Any]] = []

    def wants(self, stream: str) -> bool:
        return stream in self.streams

    def show(self, stream: str, results: list[bytes], bgr: Any, camera: Any) -> bool:
        self.shown.append((stream, [unpack_message(result) for result in results], bgr.shape, camera))
        return True


@pytest.mark.parametrize("published", [True, False])
def test_the_page_gets_frames_with_their_results_also_where_nothing_is_published(out: Out, published: bool) -> None:
    if not published:
        out.job = live_job(state=out.job.state)
        out.publisher = None  # type: ignore[assignment]
    output = out.start()
    output._page = FakePage("door")  # type: ignore[assignment]
    add(output, 1, 2)
    shown = output._page.shown  # type: ignore[union-attr]
    assert [(stream, results[0]["frame"], shape) for stream, results, shape, _ in shown] == [
        ("door", 1, (48, 64, 3)),
        ("door", 2, (48, 64, 3)),
    ]
    assert out.ring.tally(0).published == (2 if published else 0)


def test_the_page_gets_nothing_of_a_stream_that_nobody_looks_at(out: Out) -> None:
    output = out.start()
    output._page = FakePage("hall")  # type: ignore[assignment]
    add(output, 1)
    assert output._page.shown == []  # type: ignore[union-attr]
    assert len(messages(out, "result")) == 1
