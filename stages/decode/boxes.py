"""Boxes of faces that come with pictures, in OpenFace's files for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError

__all__ = ["read_boxes"]


def read_boxes(folder: Path, picture: Path) -> NDArray[np.float32]:
    """The boxes [x, y, w, h, 1] (k, 5) of NAME.jpg from NAME.txt in the folder: lines of min x, min y, max x, max y.

    An empty file is a picture without faces.

    Raises
    ------
    InputError
        There is no such file, or it holds something else.
    """
    path = folder / f"{picture.stem}.txt"
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise InputError(
            f"{path}: the boxes of {picture.name} cannot be read: {error.strerror}; "
            "a picture without faces needs an empty file"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: {_EXPECTED}: {error}") from error
    for row in rows:
        if len(row) != 4 or not _is_box(row):
            raise InputError(f"{path}: {_EXPECTED}, got {' '.join(f'{value:g}' for value in row)}")
    corners = np.array(rows, np.float32).reshape(-1, 4)
    sizes = corners[:, 2:] - corners[:, :2]
    return np.concatenate([corners[:, :2], sizes, np.ones((len(corners), 1), np.float32)], axis=1)


def _is_box(row: list[float]) -> bool:
    """Whether these are the corners of a box that float32 can hold, within a million pixels of the picture."""
    if not all(abs(value) <= _FARTHEST_PX for value in row):
        return False
    left, top, right, bottom = np.array(row, np.float32).tolist()
    return bool(right > left and bottom > top)


_FARTHEST_PX = 1e6
_EXPECTED = "expected lines of four numbers in pixels, min x, min y, max x, max y"
