"""The files of a live stream: a CSV per segment, and a checkpoint that lies apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.errors import OutputError
from auflow.stages.records import AuTable, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink.checkpoint import Identity
from auflow.stages.sink.live import LiveSink, read_live_checkpoint
from auflow.stages.sink.paths import work_path
from auflow.tests.flow.live_lane import read_rows, result_of

INFO = SourceInfo("door", "live", 64, 48, 0.0, None)
IDENTITY = Identity("1", "{}", "rtsp", "m")
SETTINGS = StageSettings(live=True)


def make(folder: Path, output: str | None = "a.csv", resume: bytes | None = None) -> LiveSink:
    path = None if output is None else folder / "out" / output
    return LiveSink(folder / "state" / "door", path, SETTINGS, INFO, IDENTITY, resume)


def add(sink: LiveSink, *numbers: int) -> None:
    for number in numbers:
        record, frame = result_of(number)
        sink.add(frame, record.fits, record.aus)


def table_of(rows: int) -> AuTable:
    return AuTable(np.ones((rows, 17)), np.zeros((rows, 18)))


def read(folder: Path):
    return read_live_checkpoint(folder / "state" / "door", IDENTITY)


def end(sink: LiveSink, table: AuTable | None) -> Path | None:
    """The last segment of a stream."""
    path = sink.finish(table)()
    sink.discard()
    return path


def test_the_next_segment_may_begin_while_one_is_written(tmp_path: Path) -> None:
    sink = make(tmp_path)
    add(sink, 1, 2)
    sink.checkpoint(2, {"au": b"a"}, b"x")
    write = sink.finish(table_of(2))
    sink.suspend()
    following = make(tmp_path, "b.csv")
    assert not isinstance(read(tmp_path), str)  # whoever dies now goes on with the first
    path = write()
    assert path is not None
    assert read_rows(path) == [1, 2]
    end(following, table_of(0))
    assert not work_path(tmp_path / "state" / "door").exists()
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["a.csv", "b.csv"]


def test_going_on_drops_rows_that_came_after_the_checkpoint(tmp_path: Path) -> None:
    sink = make(tmp_path)
    add(sink, 1, 2)
    sink.checkpoint(2, {"clnf": b"c", "au": b"a"}, b"x")
    add(sink, 3)
    sink.suspend()
    found = read(tmp_path)
    assert not isinstance(found, str)
    assert (found.frames, found.states["clnf"], found.states["au"], found.extra) == (2, b"c", b"a", b"x")
    sink = make(tmp_path, resume=found.sink)
    add(sink, 7)
    path = end(sink, table_of(3))
    assert path is not None
    assert read_rows(path) == [1, 2, 7]


def test_rows_that_are_gone_cannot_be_gone_on_with_and_the_place_is_free_again(tmp_path: Path) -> None:
    sink = make(tmp_path)
    add(sink, 1)
    sink.checkpoint(1, {}, b"")
    sink.suspend()
    (work_path(tmp_path / "out" / "a.csv") / "rows").unlink()
    found = read(tmp_path)
    assert not isinstance(found, str)
    with pytest.raises(OutputError, match="cannot be gone on with"):
        make(tmp_path, resume=found.sink)
    make(tmp_path, "b.csv").suspend()


def test_after_an_error_the_rows_before_it_are_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = make(tmp_path)
    add(sink, 1, 2)

    def refuse(*_: object) -> None:
        raise OutputError("no space")

    with monkeypatch.context() as patch:
        patch.setattr("auflow.stages.sink.result.ResultSink.add", refuse)
        with pytest.raises(OutputError):
            add(sink, 3)
    add(sink, 4)
    path = end(sink, table_of(4))
    assert path is not None
    assert read_rows(path) == [1, 2]


def test_a_file_that_began_late_has_the_last_rows_of_the_table(tmp_path: Path) -> None:
    sink = make(tmp_path)
    add(sink, 6, 7)
    table = AuTable(np.repeat(np.arange(5.0)[:, None], 17, 1), np.zeros((5, 18)))
    path = end(sink, table)
    assert path is not None
    assert [line.split(",")[-35].strip() for line in path.read_text().splitlines()[1:]] == ["3.00", "4.00"]


def test_a_segment_without_a_table_leaves_nothing(tmp_path: Path) -> None:
    sink = make(tmp_path)
    add(sink, 1)
    assert end(sink, None) is None
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_csv_there_is_a_checkpoint_all_the_same(tmp_path: Path) -> None:
    sink = make(tmp_path, None)
    add(sink, 1)
    sink.checkpoint(1, {"au": b"a"}, b"x")
    assert sink.finish(None)() is None
    sink.suspend()
    found = read(tmp_path)
    assert not isinstance(found, str)
    assert (found.states["au"], found.sink) == (b"a", b"")
    end(make(tmp_path, None, found.sink), None)
    assert list((tmp_path / "state").iterdir()) == []


def test_two_cannot_have_the_same_place(tmp_path: Path) -> None:
    sink = make(tmp_path)
    with pytest.raises(OutputError, match="another run"):
        make(tmp_path, "b.csv")
    sink.suspend()


def test_a_checkpoint_of_another_source_is_refused(tmp_path: Path) -> None:
    sink = make(tmp_path)
    sink.checkpoint(0, {}, b"")
    sink.suspend()
    other = Identity("1", "{}", "another", "m")
    assert "another input" in str(read_live_checkpoint(tmp_path / "state" / "door", other))
