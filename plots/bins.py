"""Long series for a drawing of limited width: bins of rows, their means and extremes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bins", "bins_for"]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Rows in groups of `size`, in order; the last one may have fewer."""

    rows: int
    size: int

    @property
    def count(self) -> int:
        """How many there are."""
        return -(-self.rows // self.size)

    def mean(self, values: Values) -> Values:
        """(count,) mean of what is a number in each bin; NaN where nothing is."""
        parts = self._parts(values)
        known = np.isfinite(parts)
        sums = np.where(known, parts, 0.0).sum(axis=1)
        counts = known.sum(axis=1)
        mean: Values = np.divide(sums, counts, out=np.full(len(parts), np.nan), where=counts > 0)
        return mean

    def extremes(self, values: Values) -> tuple[Values, Values]:
        """(count,) smallest and largest number of each bin; NaN where there is none."""
        parts = self._parts(values)
        known = np.isfinite(parts)
        none = ~known.any(axis=1)
        low, high = np.where(known, parts, np.inf).min(axis=1), np.where(known, parts, -np.inf).max(axis=1)
        low[none] = high[none] = np.nan
        return low, high

    def share(self, flags: NDArray[np.bool_]) -> Values:
        """(count,) share of the rows of each bin that are true."""
        return self.mean(flags.astype(np.float64))

    def first(self, values: Values) -> Values:
        """(count,) the value of each bin's first row: for time and frames."""
        return values[:: self.size]

    def _parts(self, values: Values) -> Values:
        padded = np.full(self.count * self.size, np.nan)
        padded[: self.rows] = values
        return padded.reshape(self.count, self.size)


def bins_for(rows: int, most: int) -> Bins:
    """No more than `most` bins; of one row each where that is enough."""
    return Bins(rows, max(1, -(-rows // most)))
