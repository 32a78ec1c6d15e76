"""What the AU stage knows of one person: their neutral face, and how their values have been so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.au.features import DescriptorMedian
from auflow.stages.au.heads import Heads, Predictor
from auflow.stages.au.online import OnlineCorrection
from auflow.stages.state import field

__all__ = ["Person"]

F64 = NDArray[np.float64]


class Person:
    """Running median, prediction relative to it, and online correction of one person.

    Parameters
    ----------
    heads : the same for all
    """

    def __init__(self, heads: Heads) -> None:
        self.predictor = Predictor(heads)
        self._median = DescriptorMedian()
        self._frames = 0  # with this person, failed ones too: every second one enters the median
        self._correction = OnlineCorrection()
        self.seen_at = 0  # number of the last frame with this person

    def reset(self) -> None:
        """Become another person, of whom nothing is known."""
        self._median.reset()
        self.predictor.set_median(self._median.value)
        self._frames = 0
        self._correction = OnlineCorrection()
        self.seen_at = 0

    @property
    def samples(self) -> int:
        """Descriptors in the median."""
        return self._median.count

    def take(self, features: F64) -> None:
        """The next frame's descriptor (4702,) comes: before anything is predicted from it."""
        if self.predictor.uses_median and self._frames % 2 == 0:
            self._median.insert(features)
            self.predictor.set_median(self._median.value)

    def passed(self) -> None:
        """A frame with this person is over, whether the fit was any good or not."""
        self._frames += 1

    def corrected(self, intensities: F64) -> F64:
        """Raw intensities (17,) of the next accepted frame as corrected by what came before."""
        return self._correction.correct(intensities)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        own = {
            "frames": np.array(self._frames),
            "seen_at": np.array(self.seen_at),
            "of_median": self.predictor.of_median,
        }
        parts = {"online": self._correction.snapshot(), "median": self._median.snapshot()}
        return own | {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        parts = {
            part: {
                name.removeprefix(f"{part}/"): array for name, array in arrays.items() if name.startswith(f"{part}/")
            }
            for part in ("online", "median")
        }
        self._frames = int(field(arrays, "frames", np.int64, ()))
        self.seen_at = int(field(arrays, "seen_at", np.int64, ()))
        self.predictor.restore(field(arrays, "of_median", np.float64, self.predictor.of_median.shape))
        self._correction.restore(parts["online"])
        self._median.restore(parts["median"])
