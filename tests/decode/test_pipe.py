"""Files that come through a pipe, lossless."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from auflow.errors import InputError
from auflow.stages.decode import open_source

COUNT = """
import numpy as np
from auflow.errors import InputError
from auflow.stages.decode import open_source
try:
    with open_source("-") as source:
        info = source.info
        out = np.empty((info.height_px, info.width_px, 3), np.uint8)
        places = [p for p in iter(lambda: source.read_into(out), None)]
        print(info.kind, info.path, info.frame_count, len(places), places[-1])
except InputError as error:
    print(error)
"""


def through_standard_input(data: bytes) -> str:
    done = subprocess.run([sys.executable, "-c", COUNT], input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_standard_input(tmp_path: Path, clips: SimpleNamespace) -> None:
    data = clips.write(tmp_path / "a.mkv", 60).read_bytes()
    assert through_standard_input(data) == "video - None 60 (60, 2.36)"


def test_an_empty_pipe_is_told() -> None:
    assert through_standard_input(b"").startswith("-: the pipe ended before any data; check the program")


def fifo(path: Path, data: bytes) -> threading.Thread:
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(data,))
    thread.start()
    return thread


def test_a_named_pipe_gives_the_pictures_of_the_file(tmp_path: Path, clips: SimpleNamespace) -> None:
    path = clips.write(tmp_path / "a.mkv", 20)
    writer = fifo(tmp_path / "pipe.mkv", path.read_bytes())
    with open_source(tmp_path / "pipe.mkv") as pipe, open_source(path) as file:
        assert pipe.info.frame_count is None
        ours, theirs = np.empty((2, pipe.info.height_px, pipe.info.width_px, 3), np.uint8)
        while (place := pipe.read_into(ours)) is not None:
            assert place == file.read_into(theirs)
            assert np.array_equal(ours, theirs)
        assert file.read_into(theirs) is None
        assert place is None
    writer.join()


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"hello" * 100, "It holds plain text"), (b"\0\1\2" * 3000, "the index of an MP4 file must come first")],
)
def test_what_is_no_video_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    before = len(os.listdir("/dev/fd"))
    writer = fifo(tmp_path / "pipe", data)
    with pytest.raises(InputError, match="not a video that can be read from a pipe") as caught:
        open_source(tmp_path / "pipe")
    writer.join()
    assert told in str(caught.value)
    assert len(os.listdir("/dev/fd")) == before


def test_an_mp4_with_its_index_at_the_end_is_told(demo_dir: Path, tmp_path: Path) -> None:
    writer = fifo(tmp_path / "pipe", (demo_dir / "astronaut.mp4").read_bytes())
    with pytest.raises(InputError, match=r"through a pipe, the index of an MP4 file must come first .*\+faststart"):
        open_source(tmp_path / "pipe")
    writer.join()
