"""Running medians of many numbers at once, from one histogram each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.stages.au.counts import pack_counts, unpack_counts
from auflow.stages.state import StateError, field

__all__ = ["RunningMedian", "warm_up"]

_COUNTED_IN_16_BITS = 65535  # samples; from then on the histograms take twice the memory


@njit(cache=True, nogil=True)
def _insert(
    values: NDArray[np.float64],
    scale: tuple[float, float, float, float],
    rank: int,
    renew: bool,
    counts: NDArray[np.uint16] | NDArray[np.uint32],
    state: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    bins_of: NDArray[np.int32],
    medians: NDArray[np.float64],
) -> None:
    """Count one sample of each number and move the medians.

    values (k,) f64; scale: low, bins per unit, bin width, floor; counts (k, bins); state: at (k,) i32 the bin that
    holds the median, below and here (k,) i32 the number of samples in lower bins and in it; rank: the median is the
    bin that holds the rank-th smallest sample, from 1; bins_of (k,) i32 work space; medians (k,) f64, written where
    the median moves or, to `renew`, everywhere.

    A sample moves a median by a few bins at most, so no histogram is ever read from end to end. Pass by pass, so that
    the one place of each histogram that is always touched is waited for together with the others'.
    """
    low, bins_per_unit, bin_width, floor = scale
    at, below, here = state
    size, bins = counts.shape
    flat = counts.reshape(size * bins)
    for i in range(size):
        bins_of[i] = np.int32(min(max((values[i] - low) * bins_per_unit, 0.0), bins - 1.0))
    for i in range(size):
        flat[np.uint64(i * bins) + np.uint64(bins_of[i])] += 1
    for i in range(size):
        below[i] += bins_of[i] < at[i]
        here[i] += bins_of[i] == at[i]
    for i in range(size):
        lower, same = np.int64(below[i]), np.int64(here[i])
        if lower < rank <= lower + same and not renew:
            continue
        j = at[i]
        while lower >= rank:
            j -= 1
            same = np.int64(counts[i, j])
            lower -= same
        while lower + same < rank:
            lower += same
            j += 1
            same = np.int64(counts[i, j])
        at[i], below[i], here[i] = j, lower, same
        medians[i] = max((j + 0.5) * bin_width + low, floor)


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
    out : (size,) float64 to keep the medians in; None makes an array

    References
    ----------
    Baltrusaitis, Mahmoud, Robinson, "Cross-dataset learning and person-specific normalisation for automatic
    Action Unit detection", FERA 2015; OpenFace 2.2, FaceAnalyser.
    """

    def __init__(
        self,
        size: int,
        *,
        bins: int,
        low: float,
        high: float,
        floor: float | None = None,
        out: NDArray[np.float64] | None = None,
    ) -> None:
        self.count = 0
        self.value = np.zeros(size) if out is None else out
        self._scale = (low, bins / (high - low), (high - low) / bins, -np.inf if floor is None else floor)
        self._counts: NDArray[np.uint16] | NDArray[np.uint32] = np.zeros((size, bins), np.uint16)
        self._bins_of = np.zeros(size, np.int32)
        self._state = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32)

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
        if self.count == _COUNTED_IN_16_BITS:
            self._counts = self._counts.astype(np.uint32)
        self.count += 1
        rank = (self.count + 1) // 2
        _insert(values, self._scale, rank, self.count == 2, self._counts, self._state, self._bins_of, self.value)
        if self.count == 1:
            np.maximum(values, self._scale[3], out=self.value)

    def reset(self) -> None:
        """Forget every sample."""
        self.count = 0
        self._counts = np.zeros(self._counts.shape, np.uint16)  # fresh zero pages come cheaper than writing 9 MB
        self.value.fill(0.0)
        for state in self._state:
            state.fill(0)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next samples' medians depend on."""
        packed = pack_counts(self._counts, self.count)
        return {"count": np.array(self.count), "value": self.value, "at": self._state[0], "histograms": packed}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
            It is damaged, or of a median of another size.
        """
        size, bins = self._counts.shape
        self.reset()
        count = int(field(arrays, "count", np.int64, ()))
        at = field(arrays, "at", np.int32, (size,))
        value = field(arrays, "value", np.float64, (size,))
        if count > _COUNTED_IN_16_BITS:
            self._counts = self._counts.astype(np.uint32)
        whole = unpack_counts(field(arrays, "histograms", np.uint8, (None,)), self._counts)
        # The kernel looks for medians without a look at the ends: they must be there.
        whole = whole and bool((at >= 0).all() and (at < bins).all())
        if not whole or (self._counts.sum(axis=1, dtype=np.int64) != count).any():
            self.reset()
            raise StateError(f"state: expected {size} histograms of {count} samples each, got something else")
        self.count = count
        self.value[:] = value
        below = np.where(np.arange(bins) < at[:, None], self._counts, 0).sum(axis=1)
        for state, known in zip(self._state, (at, below, self._counts[np.arange(size), at]), strict=True):
            state[:] = known


def warm_up() -> None:
    """Compile (or load) the kernel, for counts of 16 and of 32 bits."""
    median = RunningMedian(2, bins=4, low=0.0, high=1.0)
    median.insert(np.zeros(2))
    median._counts = median._counts.astype(np.uint32)
    median.insert(np.zeros(2))
