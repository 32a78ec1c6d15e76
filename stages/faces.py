"""Where faces are: boxes [x, y, w, h] in pixels around landmarks, and how two of them lie to each other."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_around", "distance", "overlap"]

FloatT = TypeVar("FloatT", np.float32, np.float64)


def box_around(landmarks_px: NDArray[FloatT]) -> NDArray[FloatT]:
    """The box (4,) of landmarks (2n,), planar."""
    points = landmarks_px.reshape(2, -1)
    low, high = points.min(axis=1), points.max(axis=1)
    return np.concatenate((low, high - low))


def distance(first: NDArray[FloatT], second: NDArray[FloatT]) -> float:
    """Between the centres of two boxes, in widths of the wider."""
    between = first[:2] + first[2:] / 2 - second[:2] - second[2:] / 2
    return float(np.hypot(*between) / max(first[2], second[2], 1e-6))


def overlap(first: NDArray[FloatT], second: NDArray[FloatT]) -> float:
    """The area that two boxes have in common, as a share of both together."""
    corner = np.maximum(first[:2], second[:2])
    size = np.minimum(first[:2] + first[2:], second[:2] + second[2:]) - corner
    both = float(np.prod(np.maximum(size, 0.0)))
    return both / max(float(np.prod(first[2:]) + np.prod(second[2:])) - both, 1e-6)
