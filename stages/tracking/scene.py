"""What a picture shows that the last look for faces could not have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.stages.state import field

__all__ = ["Change", "SceneWatch"]

Floats = NDArray[np.float32]

_CELL_PX = 16  # the smallest face that is found, 60 px, covers at least nine whole cells
_CHANGED_LEVELS = 8.0  # of 255: a cell's mean moves by less from noise and compression, by far more under a face
_SMALLEST_FACE_CELLS = 3
_FACE_SHARE = 0.25  # of the cells under a face: so many change at least when it comes or turns
_MARGIN = 0.5  # a face that is followed may move by so much of its size, and takes its hair along


class Change(IntEnum):
    """How much of a picture is new."""

    NONE = 0
    SOME = 1  # too little in one place for a face
    FACE = 2  # as much in one place as a face would be


class SceneWatch:
    """Compares pictures, in cells of 16 x 16 pixels, with that in which faces were looked for."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._seen = np.zeros((0, 0), np.float32)  # means of the cells at the last look
        self._known = np.zeros((0, 4), np.float32)  # faces that were followed then

    def looked(self, gray: Floats, known: Sequence[Floats] = ()) -> None:
        """Faces are looked for in this picture: gray (h, w) float32; boxes [x, y, w, h] of those that are followed."""
        self._seen = _cells(gray)
        self._known = np.array(known, np.float32).reshape(-1, 4)

    def lost(self) -> None:
        """A face that was followed is not any more: what changes where faces were at the last look counts from now."""
        self._known = np.zeros((0, 4), np.float32)

    def change(self, gray: Floats, known: Sequence[Floats] = (), *, face_px: float = 0.0) -> Change:
        """What has changed since, outside the faces that are or were followed.

        `face_px` is the width that the face is likely to have; 0 where nothing is known of it.
        """
        cells = _cells(gray)
        if cells.shape != self._seen.shape:
            return Change.FACE
        changed = (np.abs(cells - self._seen) > _CHANGED_LEVELS).astype(np.uint8)
        for box in (*self._known, *known):
            changed[_covered(box)] = 0
        if not changed.any():
            return Change.NONE
        side = max(_SMALLEST_FACE_CELLS, round(face_px / _CELL_PX))
        together = cv2.boxFilter(changed, cv2.CV_32F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        return Change.FACE if float(together.max()) >= _FACE_SHARE * side * side else Change.SOME

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next answers depend on."""
        return {"scene_seen": self._seen, "scene_known": self._known}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self._seen = field(arrays, "scene_seen", np.float32, (None, None))
        self._known = field(arrays, "scene_known", np.float32, (None, 4))


def _cells(gray: Floats) -> Floats:
    height, width = gray.shape
    size = max(1, width // _CELL_PX), max(1, height // _CELL_PX)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.float32)


def _covered(box: Floats) -> tuple[slice, slice]:
    """The cells that a face [x, y, w, h] and its surroundings touch."""
    x, y, width, height = (float(v) for v in box)
    left, right = x - _MARGIN * width, x + (1 + _MARGIN) * width
    top, bottom = y - _MARGIN * height, y + (1 + _MARGIN) * height
    across = slice(max(0, int(left // _CELL_PX)), max(0, int(right // _CELL_PX) + 1))
    down = slice(max(0, int(top // _CELL_PX)), max(0, int(bottom // _CELL_PX) + 1))
    return down, across
