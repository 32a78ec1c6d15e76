"""Pictures, clips and files of boxes as targets: each may only give pictures of the announced size, or `InputError`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from auflow.errors import InputError
from auflow.tests.fuzz.targets import Target

__all__ = ["input_targets", "make_boxes", "make_clips", "make_pictures"]

WIDTH, HEIGHT = 48, 32
FRAMES = 6
MOST_PICTURES = 400  # a damaged clip may repeat itself, but not for ever
CLIPS = {"a.mp4": "mpeg4", "b.avi": "mjpeg", "c.wmv": "wmv2", "d.mkv": "mpeg4", "e.mp4": "h264", "f.avi": "mpeg4"}
CLIPS |= {"g.ts": "mpeg2video", "h.flv": "flv", "i.webm": "libvpx-vp9"}


def _picture(number: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 7 + number * 9, columns * 5, rows * columns + number], axis=2).astype(np.uint8)


def make_pictures(folder: Path) -> tuple[Path, ...]:
    """One small picture of each kind and depth, among them progressive JPEG and palettes of BMP."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = _picture(1)
    made: dict[str, tuple[np.ndarray, Sequence[int]]] = {
        "a.png": (picture, ()),
        "b.png": (picture.astype(np.uint16) * 257, ()),
        "c.png": (cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA), ()),
        "d.png": (picture[:, :, 0], ()),
        "e.jpg": (picture, ()),
        "f.jpg": (picture, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        "g.jpg": (picture[:, :, 0], (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)),
        "h.bmp": (picture, ()),
        "i.bmp": (picture[:, :, 0], ()),
    }
    for name, (values, options) in made.items():
        assert cv2.imwrite(str(folder / name), values, list(options))
    return tuple(folder / name for name in made)


def make_clips(folder: Path) -> tuple[Path, ...]:
    """Clips of six small pictures in the containers and codecs that cameras and phones write."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, codec in CLIPS.items():
        codec = "libx264" if codec == "h264" else codec
        if codec not in av.codecs_available:  # builds of FFmpeg differ in the encoders of others
            continue
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options={"g": "3"})
            stream.width, stream.height = WIDTH, HEIGHT
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.thread_count = 1
            for number in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(_picture(number), format="bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        made.append(folder / name)
    return tuple(made)


def make_boxes(folder: Path) -> tuple[Path, ...]:
    """Files of none, one and three boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"a.txt": "", "b.txt": "10 20 110 170\n", "c.txt": "10 20 110 170\n-5.5 0 4.5 20.25\n1 2 3.5 4\n"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in texts)


def _read_source(path: Path) -> None:
    from auflow.stages.decode import open_source

    with open_source(path) as source:
        info = source.info
        assert info.width_px > 0
        assert info.height_px > 0
        assert 0 <= info.fps < float("inf")
        assert info.frame_count is None or info.frame_count >= 0
        out = np.empty((info.height_px, info.width_px, 3), np.uint8)
        before = (0, 0.0)
        for _ in range(MOST_PICTURES):
            place = source.read_into(out)
            if place is None:
                break
            assert place[0] > before[0]
            assert before[1] <= place[1] < float("inf")
            before = place
        else:
            raise AssertionError(f"{MOST_PICTURES} pictures and no end")
        assert before[0] + source.corrupt_frames > 0


def _read_boxes(path: Path) -> None:
    from auflow.stages.decode.boxes import read_boxes

    boxes = read_boxes(path.parent, path.with_suffix(".jpg"))
    assert boxes.shape[1:] == (5,)
    assert boxes.dtype == np.float32
    assert np.isfinite(boxes).all()
    assert (boxes[:, 2:4] > 0).all()


def input_targets(folder: Path) -> dict[str, Target]:
    """The readers of what users give, with good files made in `folder`."""
    make: tuple[tuple[str, Callable[[Path], tuple[Path, ...]], Callable[[Path], None], bool, int], ...] = (
        ("pictures", make_pictures, _read_source, False, 1 << 14),
        ("clips", make_clips, _read_source, False, 1 << 14),
        ("boxes", make_boxes, _read_boxes, True, 1000),
    )
    target = partial(Target, error=InputError)
    return {
        name: target(name, write(folder / name), read, text=text, allowance=allowance)
        for name, write, read, text, allowance in make
    }
