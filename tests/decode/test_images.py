"""Folders of images and single images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.errors import InputError, ShapeError
from auflow.stages.decode import open_source


def write(path: Path, value: int, *, shape: tuple[int, ...] = (8, 12, 3), dtype: type = np.uint8) -> None:
    assert cv2.imwrite(str(path), np.full(shape, value, dtype))


def read_all(path: Path) -> tuple[list[tuple[int, float]], list[np.ndarray], int]:
    with open_source(path) as source:
        out = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        places, pictures = [], []
        while (place := source.read_into(out)) is not None:
            places.append(place)
            pictures.append(out.copy())
        return places, pictures, source.corrupt_frames


def test_order_index_and_time(tmp_path: Path) -> None:
    for value, name in enumerate(["f2.png", "f10.PNG", "f1.bmp"], start=1):
        write(tmp_path / name.lower(), 10 * value)
        (tmp_path / name.lower()).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._f1.png").write_text("left by a file manager")
    places, pictures, corrupt = read_all(tmp_path)
    assert places == [(1, 0.0), (2, 0.0), (3, 0.0)]
    assert [int(p[0, 0, 0]) for p in pictures] == [30, 10, 20]
    assert corrupt == 0


@pytest.mark.golden
def test_pixels_equal_the_cpp_program(golden: Path, media: Path) -> None:
    _, pictures, _ = read_all(media / "image_sequence")
    gray = np.load(golden / "image_sequence/trace/f000001_gray.npy")
    assert len(pictures) == 30
    assert np.array_equal(cv2.cvtColor(pictures[0], cv2.COLOR_BGR2GRAY), gray)


def test_every_depth_and_channel_count_becomes_bgr(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 77, shape=(8, 12))
    write(tmp_path / "2.png", 77 * 257, dtype=np.uint16)
    write(tmp_path / "3.png", 77, shape=(8, 12, 4))
    write(tmp_path / "4.png", 77 * 257, shape=(8, 12), dtype=np.uint16)
    _, pictures, _ = read_all(tmp_path)
    assert [p.shape for p in pictures] == [(8, 12, 3)] * 4
    assert all((p == 77).all() for p in pictures)


def test_single_image_is_a_stream_of_one(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 5)
    places, pictures, _ = read_all(tmp_path / "a.png")
    assert places == [(1, 0.0)]
    assert (pictures[0] == 5).all()


def test_damaged_image_is_counted_and_keeps_its_place(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_text("no image")
    (tmp_path / "3.png").touch()
    write(tmp_path / "4.png", 4)
    places, _, corrupt = read_all(tmp_path)
    assert [index for index, _ in places] == [1, 4]
    assert corrupt == 2


def test_mixed_sizes_are_refused_with_both_names(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 1)
    write(tmp_path / "2.png", 1, shape=(9, 9, 3))
    with pytest.raises(InputError, match=r"2\.png: 9x9 pixels, but 1\.png has 12x8"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found no files at all"),
        ({"a.txt": "x", "b.txt": "y"}, r"found 2 other files, such as a\.txt"),
        ({"a.png": "x", "b.jpg": "y"}, "none of these 2 files is an image"),
    ],
)
def test_folder_without_images(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path)


def test_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(InputError, match="this file is no image"):
        open_source(tmp_path / "a.jpg")


def test_wrong_buffer(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 5)
    with open_source(tmp_path) as source, pytest.raises(ShapeError, match=r"expected \(8, 12, 3\) uint8"):
        source.read_into(np.empty((12, 8, 3), np.uint8))
