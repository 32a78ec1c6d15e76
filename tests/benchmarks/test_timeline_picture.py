"""What of a timeline is in the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auflow.benchmarks.timeline_picture import _levels, draw, shown


def event(tid: int, cat: str, at_ms: float, took_ms: float, frame: int = 0) -> dict[str, Any]:
    args = {"frame": frame} if frame else {}
    return {"ph": "X", "tid": tid, "cat": cat, "ts": 1e3 * at_ms, "dur": 1e3 * took_ms, "name": "", "args": args}


NAMES = [
    {"ph": "M", "tid": number, "name": "thread_name", "args": {"name": name}}
    for number, name in enumerate(("clnf-0", "au-0"), 1)
]
EVENTS = [
    *NAMES,
    event(1, "load", 0, 50),
    event(1, "frame", 100, 20, 1),
    event(1, "wait", 105, 10, 1),
    event(1, "frame", 121, 4, 2),
    event(2, "frame", 122, 2, 1),
    event(2, "end", 130, 5),
]


def test_times_count_from_the_first_frame() -> None:
    clnf, au = shown(EVENTS, 0.0, 1.0)
    assert (clnf.worker, clnf.frames, clnf.waits) == ("clnf-0", [(0, 20, 1), (21, 4, 2)], [(5, 10)])
    assert clnf.others == []  # it started before that
    assert (au.worker, au.frames, au.others) == ("au-0", [(22, 2, 1)], [(30, 5)])


def test_a_stretch_has_what_reaches_into_it() -> None:
    clnf, au = shown(EVENTS, 0.019, 0.002)
    assert clnf.frames == [(pytest.approx(-19), 20, 1), (pytest.approx(2), 4, 2)]
    assert (clnf.waits, au.frames, au.others) == ([], [], [])


def test_how_many_are_busy() -> None:
    at, busy = _levels(shown(EVENTS, 0.0, 1.0))
    assert list(zip(at, busy, strict=True)) == [
        (0, 0), (0, 1), (5, 0), (15, 1), (20, 0), (21, 1), (22, 2), (24, 1), (25, 0), (30, 1), (35, 0),
    ]  # fmt: skip


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    told = {"processes": {"clnf-0": {"busy": 0.5}, "au-0": {"busy": 0.1}}, "busy_at_once": 0.6, "bottleneck": "clnf"}
    draw(tmp_path / "t.png", {"traceEvents": EVENTS, "otherData": told}, 0.0, 1.0)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
