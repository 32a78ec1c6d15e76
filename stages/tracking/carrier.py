"""A face's box carried from picture to picture by optical flow, as long as it is still that face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.stages.state import field

__all__ = ["FaceCarrier"]

Floats = NDArray[np.float32]

_VIEW_PX = 128  # longest side of what the flow is computed on
_AROUND = 2.0  # a view is so many times as wide and high as the box
_GRID = 7  # points across and down
_INNER = 0.8  # of the box, where the points lie: its corners belong to the background
_WINDOW_PX, _LEVELS = 15, 2  # of the flow, in the view
_BACK_PX = 1.0  # a point that comes back farther from where it began is not followed
_LEAST_POINTS = 0.5  # share of the points that must be followed
_PATCH_PX = 24
_LEAST_CORRELATION = 0.6  # of the face with itself as it was when last accepted


class FaceCarrier:
    """Carries one box by pyramidal Lucas-Kanade flow with a forward-backward check.

    The box moves by the median of its points and grows by the median of their distances' ratios. It is given up where
    half of the points are lost, or where what is in it no longer looks like the face.

    References
    ----------
    Bouguet, Pyramidal implementation of the Lucas Kanade feature tracker, Intel 2000.
    Kalal, Mikolajczyk, Matas, Forward-backward error: automatic detection of tracking failures, ICPR 2010.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """There is no box."""
        self._box: Floats | None = None  # x, y, w, h
        self._view: NDArray[np.uint8] | None = None  # around the box; made when it is wanted
        self._face: NDArray[np.uint8] | None = None  # (24, 24) as it looked when it was held
        self._gray: Floats | None = None

    def hold(self, gray: Floats, box: Floats) -> None:
        """The face is at box [x, y, w, h] of this picture (h, w) float32, which must stay as it is until `carry`."""
        self._gray, self._box = gray, box
        self._view = self._face = None

    def carry(self, gray: Floats) -> Floats | None:
        """The box in the next picture (h, w) float32, of the same size; None where it is lost, and stays lost."""
        if self._box is None:
            return None
        before, face = self._made()
        window = _window(self._box, gray.shape)
        moved = _moved(before, _view_of(gray, window), self._box, window)
        if moved is None or not _has_inside(gray.shape, moved):
            self.forget()
            return None
        after = _view_of(gray, _window(moved, gray.shape))
        likeness = cv2.matchTemplate(face, _patch_of(gray, moved), cv2.TM_CCOEFF_NORMED)
        if not float(likeness[0, 0]) >= _LEAST_CORRELATION:
            self.forget()
            return None
        self._box, self._view, self._gray = moved, after, None
        return moved

    def _made(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """View and face of the picture that is held."""
        if self._gray is not None:
            assert self._box is not None
            self._view = _view_of(self._gray, _window(self._box, self._gray.shape))
            self._face = _patch_of(self._gray, self._box)
            self._gray = None
        assert self._view is not None
        assert self._face is not None
        return self._view, self._face

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next boxes depend on."""
        if self._box is None:
            return {}
        view, face = self._made()
        return {"carried_box": self._box, "carried_view": view, "carried_face": face}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self.forget()
        if "carried_box" in arrays:
            self._view = field(arrays, "carried_view", np.uint8, (None, None))
            self._face = field(arrays, "carried_face", np.uint8, (_PATCH_PX, _PATCH_PX))
            self._box = field(arrays, "carried_box", np.float32, (4,))


def _window(box: Floats, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in whole pixels of what is looked at around a box, within the picture."""
    x, y, width, height = (float(v) for v in box)
    more_x, more_y = 0.5 * (_AROUND - 1) * width, 0.5 * (_AROUND - 1) * height
    left, right = math.floor(x - more_x), math.ceil(x + width + more_x)
    top, bottom = math.floor(y - more_y), math.ceil(y + height + more_y)
    left, top = (min(max(v, 0), side - 1) for v, side in ((left, shape[1]), (top, shape[0])))
    return left, top, min(max(right, left + 1), shape[1]), min(max(bottom, top + 1), shape[0])


def _view_of(gray: Floats, window: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, right, bottom = window
    scale = min(1.0, _VIEW_PX / max(right - left, bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    small = cv2.resize(gray[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    view: NDArray[np.uint8] = small.astype(np.uint8)
    return view


def _has_inside(shape: tuple[int, ...], box: Floats) -> bool:
    """Whether half of the box at least lies in the picture, and it is one."""
    x, y, width, height = (float(v) for v in box)
    across = min(x + width, shape[1]) - max(x, 0.0)
    down = min(y + height, shape[0]) - max(y, 0.0)
    return min(width, height) >= 1.0 and min(across, down) > 0.0 and 2 * across * down >= width * height


def _patch_of(gray: Floats, box: Floats) -> NDArray[np.uint8]:
    left, top, right, bottom = _window_exact(box, gray.shape)
    small = cv2.resize(gray[top:bottom, left:right], (_PATCH_PX, _PATCH_PX), interpolation=cv2.INTER_AREA)
    patch: NDArray[np.uint8] = small.astype(np.uint8)
    return patch


def _window_exact(box: Floats, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    x, y, width, height = (float(v) for v in box)
    left, top = min(max(int(x), 0), shape[1] - 1), min(max(int(y), 0), shape[0] - 1)
    return left, top, min(max(int(x + width), left + 1), shape[1]), min(max(int(y + height), top + 1), shape[0])


def _moved(
    before: NDArray[np.uint8], after: NDArray[np.uint8], box: Floats, window: tuple[int, int, int, int]
) -> Floats | None:
    """The box in the second of two views of the same window; None where too few points are followed."""
    left, top, right, bottom = window
    ratio = np.array([before.shape[1] / (right - left), before.shape[0] / (bottom - top)], np.float32)
    steps = (np.linspace(-0.5, 0.5, _GRID, dtype=np.float32) * _INNER) + 0.5
    across, down = np.meshgrid(box[0] + steps * box[2] - left, box[1] + steps * box[3] - top)
    start = np.stack((across, down), axis=-1).reshape(-1, 1, 2).astype(np.float32) * ratio
    there, found = _flow(before, after, start)
    back, returned = _flow(after, before, there)
    away = np.linalg.norm((back - start)[:, 0], axis=1)
    good = found & returned & (away < _BACK_PX)
    if good.mean() < _LEAST_POINTS:
        return None
    old, new = (start / ratio)[good, 0], (there / ratio)[good, 0]
    shift = np.median(new - old, axis=0)
    growth = _growth(old, new)
    centre = box[:2] + box[2:] * 0.5 + shift
    size = box[2:] * growth
    return np.concatenate((centre - 0.5 * size, size)).astype(np.float32)


def _flow(before: NDArray[np.uint8], after: NDArray[np.uint8], points: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Where points (n, 1, 2) of the first picture are in the second, and which of them (n,) were found."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, np.empty_like(points), winSize=(_WINDOW_PX, _WINDOW_PX), maxLevel=_LEVELS
    )
    return np.asarray(there, np.float32), np.asarray(found)[:, 0] == 1


def _growth(old: Floats, new: Floats) -> float:
    """By how much the points have moved apart: the median over all pairs."""
    i, j = np.triu_indices(len(old), 1)
    was = np.linalg.norm(old[i] - old[j], axis=1)
    now = np.linalg.norm(new[i] - new[j], axis=1)
    return float(np.median(now / was))
