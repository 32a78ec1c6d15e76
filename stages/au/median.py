"""Running medians of many numbers at once, from one histogram each."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.errors import ShapeError

__all__ = ["RunningMedian", "warm_up"]


@njit(cache=True, nogil=True)
def _insert(
    values: NDArray[np.float64],
    low: float,
    bins_per_unit: float,
    rank: int,
    counts: NDArray[np.uint32],
    below: NDArray[np.int32],
    at: NDArray[np.int32],
) -> None:
    """Count one sample of each number and move the medians.

    values (k,) f64; counts (k, bins) u32; at (k,) i32 the bin that holds the median, below (k,) i32 the number
    of samples in lower bins; rank: the median is the bin that holds the rank-th smallest sample, from 1.
    A sample moves a median by a few bins at most, so no histogram is ever read from end to end.
    """
    bins = counts.shape[1]
    for i in range(values.size):
        b = min(max(int((values[i] - low) * bins_per_unit), 0), bins - 1)
        counts[i, b] += np.uint32(1)
        j = at[i]
        lower = below[i] + (1 if b < j else 0)
        while lower >= rank:
            j -= 1
            lower -= np.int64(counts[i, j])
        while lower + np.int64(counts[i, j]) < rank:
            lower += np.int64(counts[i, j])
            j += 1
        at[i] = j
        below[i] = lower


class RunningMedian:
    """The median of every number of a descriptor over all its samples, to within half a bin.

    The rank is (n + 1) / 2 in integers, so of an even number of samples the lower middle one counts; the value
    is the centre of its bin; after one sample it is that sample, before any it is zero. Values outside the range
    count in the end bins.

    Parameters
    ----------
    size : numbers in the descriptor
    bins, low, high : the histogram's bins between `low` and `high`, in the descriptor's unit
    floor : medians below it are raised to it; None leaves them

    References
    ----------
    Baltrusaitis, Mahmoud, Robinson, "Cross-dataset learning and person-specific normalisation for automatic
    Action Unit detection", FERA 2015; OpenFace 2.2, FaceAnalyser.
    """

    def __init__(self, size: int, *, bins: int, low: float, high: float, floor: float | None = None) -> None:
        self.count = 0
        self.value: NDArray[np.float64] = np.zeros(size)
        self._low = low
        self._bin_width = (high - low) / bins
        self._bins_per_unit = bins / (high - low)
        self._floor = floor
        self._counts = np.zeros((size, bins), np.uint32)
        self._below = np.zeros(size, np.int32)
        self._at = np.zeros(size, np.int32)

    def insert(self, values: NDArray[np.float64]) -> None:
        """Take one more sample, (size,) float64, and renew `value` in place.

        Raises
        ------
        ShapeError
        """
        if values.shape != self.value.shape or values.dtype != np.float64:
            raise ShapeError(
                f"values: expected {self.value.shape} float64, got {values.shape} {values.dtype}; give the descriptor"
            )
        self.count += 1
        rank = (self.count + 1) // 2
        _insert(values, self._low, self._bins_per_unit, rank, self._counts, self._below, self._at)
        if self.count == 1:
            self.value[:] = values
        else:
            np.multiply(self._at + 0.5, self._bin_width, out=self.value)
            self.value += self._low
        if self._floor is not None:
            np.maximum(self.value, self._floor, out=self.value)

    def reset(self) -> None:
        """Forget every sample."""
        self.count = 0
        self._counts = np.zeros_like(self._counts)  # fresh zero pages come cheaper than writing 18 MB
        for state in (self.value, self._below, self._at):
            state.fill(0)


def warm_up() -> None:
    """Compile (or load) the kernel."""
    RunningMedian(2, bins=4, low=0.0, high=1.0).insert(np.zeros(2))
