"""Small videos made on the spot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

HEIGHT, WIDTH = 48, 64
# The transformation matrix of an MP4 track header: 3 x 3, 16.16 and 2.30 fixed point, by clockwise turn in degrees.
_UNIT = 0x10000
_TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def picture(number: int) -> np.ndarray:
    """A grey picture with a white corner (top left) and a shade that tells its number."""
    out = np.full((HEIGHT, WIDTH, 3), 40 + number % 100, np.uint8)
    out[:16, :16] = 255
    return out


def write_clip(
    path: Path,
    frames: int,
    *,
    pts: Sequence[int] | None = None,
    rate: int = 25,
    codec: str = "mpeg4",
) -> Path:
    """A clip of `frames` pictures; `pts` in 1/1000 s instead of a constant rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "5", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24")
            frame.pts = number if pts is None else pts[number]
            frame.time_base = Fraction(1, rate) if pts is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sizes(path: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """A raw stream of JPEG pictures (w, h), which may differ in size."""
    with path.open("wb") as file:
        for width, height in sizes:
            codec = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuvj420p", Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="bgr24")
            frame = frame.reformat(format="yuvj420p")
            frame.pts = 0
            for packet in itertools.chain(codec.encode(frame), codec.encode(None)):
                file.write(bytes(packet))
    return path


def turn(path: Path, clockwise_deg: int) -> None:
    """Change the rotation metadata of an MP4 file in place, as a phone writes it."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of payload
    a, b, c, d = _TURNS[clockwise_deg]
    values = (a * _UNIT, b * _UNIT, 0, c * _UNIT, d * _UNIT, 0, 0, 0, 0x40000000)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)


@pytest.fixture(scope="session")
def clips() -> SimpleNamespace:
    """The functions of this file."""
    return SimpleNamespace(write=write_clip, write_sizes=write_sizes, turn=turn, height=HEIGHT, width=WIDTH)
