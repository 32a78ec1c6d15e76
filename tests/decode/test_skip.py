"""Pictures that are passed over: what comes after them is just what would have come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from auflow.errors import InputError
from auflow.stages.decode import Source, open_source

Rest = list[tuple[int, float, bytes, int]]


def rest(source: Source) -> Rest:
    """Index, time, pixels and damaged pictures so far, of every picture that is left."""
    bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
    found = []
    while (read := source.read_into(bgr)) is not None:
        found.append((*read, bgr.tobytes(), source.corrupt_frames))
    return found


def images(folder: Path) -> Path:
    folder.mkdir()
    for number in range(1, 9):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 12, 3), number, np.uint8))
    (folder / "1.png").write_bytes(b"no image")
    (folder / "4.png").write_bytes(b"no image")
    return folder


def damaged(path: Path, demo_dir: Path) -> Path:
    data = bytearray((demo_dir / "astronaut.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    return path


def jumping(path: Path, clips: SimpleNamespace) -> Path:
    return clips.write(path, 30, pts=[40 * n + 11 * (n % 3) for n in range(30)])


MAKE: dict[str, Callable[..., Path]] = {
    "video": lambda folder, clips, demo: demo / "astronaut.mp4",
    "damaged video": lambda folder, clips, demo: damaged(folder / "a.mp4", demo),
    "odd times": lambda folder, clips, demo: jumping(folder / "a.mkv", clips),
    "turned": lambda folder, clips, demo: turned(folder / "a.mp4", clips),
    "images": lambda folder, clips, demo: images(folder / "images"),
}


def turned(path: Path, clips: SimpleNamespace) -> Path:
    clips.write(path, 12)
    clips.turn(path, 90)
    return path


@pytest.mark.parametrize("kind", MAKE)
def test_what_comes_after_it(tmp_path: Path, clips: SimpleNamespace, demo_dir: Path, kind: str) -> None:
    path = MAKE[kind](tmp_path, clips, demo_dir)
    with open_source(path) as source:
        expected = rest(source)
        corrupt = source.corrupt_frames
    assert (corrupt > 0) == (kind in ("damaged video", "images"))
    count = len(expected)
    for first in sorted({0, 1, 2, 5, count // 2, count // 2 + 3, count - 1, count}):
        with open_source(path) as source:
            assert source.skip(first) == first
            assert rest(source) == expected[first:]
            assert source.corrupt_frames == corrupt


def test_in_pieces_and_beyond_the_end(tmp_path: Path, clips: SimpleNamespace, demo_dir: Path) -> None:
    for kind in ("odd times", "images"):
        path = MAKE[kind](tmp_path, clips, demo_dir)
        with open_source(path) as source:
            expected = rest(source)
            assert source.skip(1) == 0
        with open_source(path) as source:
            bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
            assert source.skip(2) == 2
            assert source.read_into(bgr) == expected[2][:2]
            assert source.skip(1) == 1
            assert source.skip(1000) == len(expected) - 4
            assert source.read_into(bgr) is None


def test_a_change_of_size_is_met_while_passing_over(tmp_path: Path, clips: SimpleNamespace) -> None:
    video = clips.write_sizes(tmp_path / "a.mjpeg", [(64, 48), (64, 48), (32, 48)])
    folder = images(tmp_path / "images")
    cv2.imwrite(str(folder / "7.png"), np.zeros((9, 12, 3), np.uint8))
    for path, said in ((video, "picture 3 is 32x48"), (folder, r"7\.png: 12x9 pixels")):
        with open_source(path) as source, pytest.raises(InputError, match=said):
            source.skip(100)
