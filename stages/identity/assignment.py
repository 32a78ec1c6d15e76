"""Which face is which person: the assignment of least cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["assign"]


def assign(costs: NDArray[np.float64]) -> dict[int, int]:
    """The column of each row, so that the sum of the costs is least and no column is taken twice.

    Parameters
    ----------
    costs : (n, k) float64; infinite where row and column do not go together

    Returns
    -------
    by row; a row for which no column is left is missing. As many rows as possible get one.

    References
    ----------
    Kuhn, The Hungarian method for the assignment problem, Naval Research Logistics Quarterly 1955; SciPy.
    """
    finite = np.isfinite(costs)
    if not finite.any():
        return {}
    if len(costs) == 1:  # without SciPy, which takes a third of a second to load
        return {0: int(costs[0].argmin())}
    from scipy.optimize import linear_sum_assignment

    never = 1.0 + 2.0 * len(costs) * float(np.abs(costs[finite]).max())
    rows, columns = linear_sum_assignment(np.where(finite, costs, never))
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if finite[row, column]}
