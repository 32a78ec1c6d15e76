"""The status as tables, whole and with anything missing."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from auflow.serve.table import duration, render

from .conftest import STATUS


def shown(status: dict[str, Any], width: int = 200) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(render(status))
    return capture.get()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (-3, "0 s"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_every_stream_and_worker_has_a_line() -> None:
    status = {**STATUS, "streams": [{**STATUS["streams"][0], "name": name} for name in ("door", "hall")]}
    lines = shown(status).splitlines()
    for name in ("door", "hall"):
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert " ".join(line.split()) == f"{name} streaming 1 min 1 s 15.0 1,500 1,490 9 1 81/140 live-1"
        details = "rtsp://192.0.2.10/1, 640x480, faces 1, reconnects 3, dropped superseded 7, dropped paused 2"
        assert f"{name}: {details}" in lines
    assert any("decode" in line and "4711" in line and "12.5" in line for line in lines)
    assert "bus tcp://127.0.0.1:8718: 1,490 messages published, running" in lines
    page = {"address": "127.0.0.1:8716", "state": "restarting"}
    assert "live page http://127.0.0.1:8716/: restarting" in shown({**status, "web": page}).splitlines()


def test_what_is_wrong_is_shown() -> None:
    stream = {**STATUS["streams"][0], "state": "backing_off", "reason": "401 [Unauthorized]"}
    text = shown({**STATUS, "state": "degraded", "streams": [stream], "dropped_messages": 4})
    assert "401 [Unauthorized]" in text  # no markup of ours
    assert "degraded" in text
    assert "4 messages were malformed" in text


@pytest.mark.parametrize("status", [{}, {"streams": [{}], "lanes": [{}], "detectors": None, "bus": None}])
def test_what_is_missing_is_a_dash(status: dict[str, Any]) -> None:
    assert "-" in shown(status)


def test_frames_under_way_explain_the_sum() -> None:
    frames = {**STATUS["streams"][0]["frames"], "under_way": 3}
    assert "under way 3" in shown({**STATUS, "streams": [{**STATUS["streams"][0], "frames": frames}]})


def test_no_streams() -> None:
    assert "auflow ctl add NAME SOURCE" in shown({**STATUS, "streams": []})


def test_a_narrow_terminal_loses_nothing() -> None:
    text = "".join(shown(STATUS, width=90).split())
    assert all(piece in text for piece in ("door", "superseded", "live-1"))
