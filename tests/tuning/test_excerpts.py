"""The first frames of a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.errors import InputError
from auflow.stages.decode import open_source
from auflow.tuning.excerpts import excerpt, some_pictures

from .conftest import FRAMES


def pictures(path: Path) -> list[np.ndarray]:
    return some_pictures(path, 1000, 1000)


def test_a_video_is_cut_and_its_pictures_stay(demo_dir: Path, tmp_path: Path) -> None:
    clip = demo_dir / "astronaut.mp4"
    cut, frames = excerpt(clip, 20, tmp_path)
    assert frames == 20
    assert cut.stem == clip.stem
    with open_source(cut) as ours, open_source(clip) as whole:
        for _ in range(frames - 4):  # packets come in the order of decoding, so the last pictures have gaps
            pair = [np.empty((s.info.height_px, s.info.width_px, 3), np.uint8) for s in (ours, whole)]
            assert ours.read_into(pair[0]) is not None
            assert whole.read_into(pair[1]) is not None
            np.testing.assert_array_equal(*pair)
    (tmp_path / "again").mkdir()
    again, count = excerpt(cut, 8, tmp_path / "again")  # of a container that leaves out when to decode
    assert (count, len(pictures(again))) == (8, 8)


def test_what_is_short_is_left_alone(demo_dir: Path, clip: Path, tmp_path: Path) -> None:
    assert excerpt(demo_dir / "astronaut.mp4", 150, tmp_path) == (demo_dir / "astronaut.mp4", 150)
    assert excerpt(clip, FRAMES, tmp_path) == (clip, FRAMES)


def test_a_folder_is_linked(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    cut, frames = excerpt(clip, 3, tmp_path / "cut")
    assert frames == 3
    assert [picture[0, 0, 0] for picture in pictures(cut)] == [0, 1, 2]


def test_pictures_are_spread(clip: Path) -> None:
    assert [picture[0, 0, 0] for picture in some_pictures(clip, 4, FRAMES)] == [0, 2, 4, 6]


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no")
    with pytest.raises(InputError):
        excerpt(tmp_path / "a.mp4", 3, tmp_path)
