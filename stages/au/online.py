"""Intensities corrected while they come, as OpenFace's webcam mode does: a person's low values count as neutral."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.stages.au.offline import clamp
from auflow.stages.records import AU_INTENSITIES
from auflow.stages.state import field

__all__ = ["OnlineCorrection"]

F64 = NDArray[np.float64]

_AUS = len(AU_INTENSITIES)
_BINS = 200
_LOW, _HIGH = -3.0, 5.0
_BINS_PER_UNIT = _BINS / (_HIGH - _LOW)
_NEUTRAL = 0.1  # share of the frames that are taken to show the neutral face, or less
_AFTER_FRAMES = 10


class OnlineCorrection:
    """Takes off each intensity's value on the neutral face, as far as it is known by now.

    A histogram of each AU's raw values so far, 200 bins from -3 to 5: the lower edge of the first bin up to which more
    than a tenth of the frames (rounded down) lie is taken off from the tenth frame on. The values are clamped to
    0 to 5.

    References
    ----------
    OpenFace 2.2, FaceAnalyser, webcam mode.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((_AUS, _BINS), np.int64)
        self._count = 0

    def correct(self, intensities: F64) -> F64:
        """The corrected values (17,) float64, 0 to 5, of the raw ones of the next accepted frame (17,) float64.

        Raises
        ------
        ShapeError
        """
        if intensities.shape != (_AUS,):
            raise ShapeError(f"intensities: expected ({_AUS},), got {intensities.shape}; one a frame")
        bins = np.clip((intensities - _LOW) * _BINS_PER_UNIT, 0.0, _BINS - 1.0).astype(np.int64)
        self._counts[np.arange(_AUS), bins] += 1
        self._count += 1
        return clamp(intensities - self.shift())

    def shift(self) -> F64:
        """What is taken off now, (17,) float64."""
        if self._count < _AFTER_FRAMES:
            return np.zeros(_AUS)
        first = np.argmax(self._counts.cumsum(axis=1) > int(_NEUTRAL * self._count), axis=1)
        edges: F64 = _LOW + first * ((_HIGH - _LOW) / _BINS)
        return edges

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        return {"counts": self._counts, "count": np.array(self._count)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self._count = int(field(arrays, "count", np.int64, ()))
        self._counts = field(arrays, "counts", np.int64, (_AUS, _BINS))
