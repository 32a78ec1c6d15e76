"""`auflow run -`: a video through standard input, in separate processes and inline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from .conftest import Place, until

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


def auflow(place: Place, *arguments: str, **how: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "auflow", "run", *arguments, "-o", str(place.out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, **how)  # type: ignore[call-overload]
    place.spawned.append(process)
    return process  # type: ignore[no-any-return]


@pytest.fixture
def clip(place: Place, demo_dir: Path, models_dir: Path) -> Path:
    """The demo's clip with its index first."""
    with (
        av.open(str(demo_dir / "astronaut.mp4")) as source,
        av.open(str(place.root / "clip.mp4"), "w", options={"movflags": "faststart"}) as copy,
    ):
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return place.root / "clip.mp4"


def test_a_clip_through_a_pipe_is_the_clip(place: Place, clip: Path) -> None:
    of_file = auflow(place, str(clip))
    assert of_file.wait(60) == 0
    with subprocess.Popen(["cat", str(clip)], stdout=subprocess.PIPE) as cat:
        through = auflow(place, "-", stdin=cat.stdout)
        _, err = through.communicate(timeout=60)
    assert through.returncode == 0, err
    assert (place.out / "stdin.csv").read_bytes() == (place.out / "clip.csv").read_bytes()
    assert place.written() == ["clip.csv", "stdin.csv"]
    assert place.left_behind() == []


def test_ctrl_c_while_nothing_comes(place: Place, clip: Path) -> None:
    read, write = os.pipe()
    process = auflow(place, "-", stdin=read)
    os.close(read)
    until(lambda: len(place.workers()) == 6, 30)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=20)
    os.close(write)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert place.written() == []
    assert place.left_behind() == []


def test_a_fall_loses_what_had_come(place: Place, clip: Path) -> None:
    read, write = os.pipe()
    process = auflow(place, "-", stdin=read)
    os.close(read)
    os.write(write, clip.read_bytes()[:50_000])
    until(lambda: "au-0" in place.workers(), 30)
    time.sleep(1)
    os.kill(place.workers()["au-0"], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    os.close(write)
    assert process.returncode == 5
    assert b"what had come through the pipe is lost; write it to a file and run that" in err
    assert place.written() == place.left_behind() == []


def test_a_pipe_is_not_gone_on_with(place: Place, models_dir: Path) -> None:
    process = auflow(place, "-", "--resume", stdin=subprocess.DEVNULL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert b"--resume: what came through a pipe is gone" in err
