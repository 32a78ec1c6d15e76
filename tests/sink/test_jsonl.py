"""JSON lines on a disk that fills up and under a path that somebody rotates."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from auflow.errors import OutputError
from auflow.stages.sink.jsonl import JsonLinesSink


class Clock:
    """Time that the test lets pass."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "live.jsonl"


@pytest.fixture
def sink(path: Path, clock: Clock) -> Iterator[JsonLinesSink]:
    sink = JsonLinesSink(path, clock)
    yield sink
    sink.close()


@pytest.fixture
def no_room(path: Path) -> Iterator[None]:
    """Files may not grow beyond 20 bytes here: the kernel answers as a full disk does, in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_lines_are_appended(sink: JsonLinesSink, path: Path) -> None:
    assert sink.write("one")
    assert sink.write(b"two\n")
    assert path.read_text() == "one\ntwo\n"
    sink.close()
    sink.close()
    again = JsonLinesSink(path)
    again.write("drei ü")
    again.close()
    assert path.read_text("utf-8") == "one\ntwo\ndrei ü\n"


@pytest.mark.parametrize(
    "rotate", [lambda path: path.rename(path.with_suffix(".1")), Path.unlink], ids=["move", "remove"]
)
def test_a_rotated_file_gets_a_successor(sink: JsonLinesSink, path: Path, clock: Clock, rotate) -> None:
    sink.write("old")
    rotate(path)
    sink.write("still the old one")
    assert not path.exists()
    clock.now_s += 1.1
    sink.write("new")
    assert path.read_text() == "new\n"
    moved = path.with_suffix(".1")
    assert not moved.exists() or moved.read_text() == "old\nstill the old one\n"
    assert (sink.written, sink.dropped) == (3, 0)


def test_a_truncated_file_goes_on(sink: JsonLinesSink, path: Path) -> None:
    sink.write("old")
    os.truncate(path, 0)
    sink.write("new")
    assert path.read_text() == "new\n"


def test_a_line_cut_by_a_kill_is_ended_first(path: Path) -> None:
    path.write_text('{"a":1}\n{"b":')
    sink = JsonLinesSink(path)
    sink.write('{"c":3}')
    sink.close()
    assert path.read_text() == '{"a":1}\n{"b":\n{"c":3}\n'


def test_a_full_disk_is_told_once_then_counted_until_there_is_room(
    sink: JsonLinesSink, path: Path, clock: Clock, request: pytest.FixtureRequest
) -> None:
    sink.write("0123456789")  # 11 bytes
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    request.getfixturevalue("no_room")
    with pytest.raises(OutputError, match=r"live.jsonl: cannot be written: .*results are dropped"):
        sink.write("0123456789")  # 9 bytes of it have room
    assert path.read_text() == "0123456789\n"  # whole lines only
    for _ in range(10):
        assert not sink.write("lost for good")
        clock.now_s += 1  # it tries again now and then, in silence
    assert sink.failing
    assert not sink.write("0123456789")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    clock.now_s += 5
    assert sink.write("back")
    assert path.read_text() == "0123456789\nback\n"
    assert not sink.failing
    assert (sink.written, sink.dropped) == (2, 12)


def test_a_folder_that_is_gone_does_not_end_it(sink: JsonLinesSink, path: Path, clock: Clock) -> None:
    path.unlink()
    path.parent.rename(path.parent.with_name("elsewhere"))
    clock.now_s += 2
    with pytest.raises(OutputError, match="No such file or directory"):
        sink.write("lost")
    path.parent.mkdir()
    clock.now_s += 6
    assert sink.write("back")
    assert path.read_text() == "back\n"
    assert (sink.written, sink.dropped) == (1, 1)


def test_a_path_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: Is a directory"):
        JsonLinesSink(tmp_path)


def test_a_pipe_that_nobody_empties_does_not_stop_it(tmp_path: Path, clock: Clock) -> None:
    os.mkfifo(tmp_path / "pipe")
    sink = JsonLinesSink(tmp_path / "pipe", clock)
    line = "x" * 1000

    def fill() -> None:
        for _ in range(200):
            sink.write(line)

    with pytest.raises(OutputError, match="Resource temporarily unavailable"):
        fill()
    assert not sink.write(line)
    sink.close()
