"""Files of boxes: OpenFace's corners to places and sizes, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.errors import InputError
from auflow.stages.decode.boxes import read_boxes


def test_corners_become_sizes_in_the_order_of_the_lines(tmp_path: Path) -> None:
    (tmp_path / "a.b.txt").write_text("10 20 110 170\n\n  -5.5\t0 4.5 20.25 \n")
    boxes = read_boxes(tmp_path, Path("elsewhere/a.b.jpg"))
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[10, 20, 100, 150, 1], [-5.5, 0, 10, 20.25, 1]]


def test_an_empty_file_is_a_picture_without_faces(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    assert read_boxes(tmp_path, Path("a.png")).shape == (0, 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 2 3", "got 1 2 3"),
        ("1 2 30 40 0.9", "got 1 2 30 40 0.9"),
        ("10 20 110 170\n100 20 90 170", "got 100 20 90 170"),
        ("10 20 110 20", "got 10 20 110 20"),
        ("nan 20 110 170", "got nan 20 110 170"),
        ("0 0 inf 10", "got 0 0 inf 10"),
        ("10, 20, 110, 170", "could not convert string to float: '10,'"),
        ("\udcff", "can't decode"),
    ],
)
def test_anything_else_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.txt").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=r"a\.txt: expected lines of four numbers in pixels") as caught:
        read_boxes(tmp_path, Path("a.jpg"))
    assert told in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt: the boxes of a\.jpg cannot be read: No such file"):
        read_boxes(tmp_path, Path("a.jpg"))
