"""`auflow serve` whose faces are found by `auflow detect`, which dies in the middle and comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

COMMAND = (sys.executable, "-m", "auflow")
CONFIG = """\
state_dir = "state"
[workers]
live_lanes = 1
detectors_at = ["ipc://detect.sock"]
[control]
socket = "{socket}"
[http]
address = ""
[bus]
address = ""
[limits]
drain_s = 20
[stream.blink]
source = "file:blink.mp4"
loop = true
jsonl = "{{name}}-{{start}}.jsonl"
"""

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals as Unix has them")


@pytest.fixture
def place(tmp_path: Path, short_tmp: Path, demo_dir: Path, models_dir: Path) -> Path:
    """A face that goes away every second, so that it is looked for again and again."""
    clip = cv2.VideoCapture(str(demo_dir / "astronaut.mp4"))
    face = np.asarray(clip.read()[1], np.uint8)
    clip.release()
    with av.open(str(tmp_path / "blink.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.height, stream.width = face.shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for turn in range(20):
            bgr = face if turn < 10 else np.full_like(face, 90)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(bgr, format="bgr24")))
        file.mux(stream.encode())
    (tmp_path / "serve.toml").write_text(CONFIG.format(socket=short_tmp / "control.sock"))
    return tmp_path


@pytest.fixture
def start(place: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(*words: str) -> subprocess.Popen[bytes]:
        with (place / f"{words[0]}.log").open("ab") as log:
            started.append(subprocess.Popen([*COMMAND, *words], stdout=log, stderr=log, cwd=place))
        return started[-1]

    yield begin
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(30)
        process.kill()
        process.wait()


def lines(place: Path, kind: str) -> list[dict[str, Any]]:
    """What the stream has written so far, whole lines only."""
    texts = [line for path in sorted(place.glob("*.jsonl")) for line in path.read_text().splitlines(keepends=True)]
    read = [json.loads(text) for text in texts if text.endswith("\n")]
    return [record for record in read if record["type"] == kind]


def faces(place: Path) -> int:
    return sum(record["success"] for record in lines(place, "result"))


def until(condition: Callable[[], object], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.05)


def test_the_stream_goes_on_when_detection_comes_back(
    place: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    address = f"ipc://{place}/detect.sock"
    detect = start("detect", "--address", address)
    serve = start("serve", "serve.toml")
    until(lambda: faces(place) > 5, 150.0)  # kernels may have to be compiled
    detect.send_signal(signal.SIGKILL)
    detect.wait()
    settled = [len(lines(place, "result")), time.monotonic()]

    def waits() -> bool:
        if (count := len(lines(place, "result"))) != settled[0]:
            settled[:] = [count, time.monotonic()]
        return time.monotonic() - settled[1] > 1.0

    until(waits, 30.0)  # for detection
    before = faces(place)
    start("detect", "--address", address)
    until(lambda: faces(place) > before + 5, 60.0)
    serve.terminate()
    assert serve.wait(60) == 0
    counts = lines(place, "stream")[-1]["counts"]
    assert counts["in"] == counts["done"] + counts["failed"] + counts["dropped"]
    assert counts["failed"] == 0
    assert counts["dropped"] == counts["dropped.superseded"] + counts["dropped.too_old"] > 0
    assert "started again" not in (place / "serve.log").read_text()  # nobody had to die for it
