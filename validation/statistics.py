"""Measures of agreement between two series: correlation, concordance, consistency, F1, and the spread of errors."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError

__all__ = ["Spread", "concordance", "f1_score", "icc_3_1", "pearson", "spread"]

Values = NDArray[np.float64]

# A series that moves by less than this (CSV has six decimals) is constant: its correlation is rounding noise.
CONSTANT_RANGE = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """Absolute errors of a column group over all rows. None where not one value could be compared."""

    coverage: float  # share of the reference's values that have a counterpart
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The figures by name, for JSON."""
        return asdict(self)


def spread(errors: Values, coverage: float) -> Spread:
    """Mean and percentiles of the finite `errors` (any shape)."""
    finite = errors[np.isfinite(errors)]
    if not finite.size:
        return Spread(coverage, None, None, None, None, None)
    p50, p90, p99 = (float(p) for p in np.percentile(finite, (50, 90, 99)))
    return Spread(coverage, float(finite.mean()), p50, p90, p99, float(finite.max()))


def pearson(a: Values, b: Values) -> float:
    """Pearson's r of two series, (n,) each.

    A constant series has no correlation of its own: two constant ones count as 1, one beside a moving one as 0.
    """
    _check_pair(a, b)
    constant = np.ptp(a) < CONSTANT_RANGE, np.ptp(b) < CONSTANT_RANGE
    if any(constant):
        return 1.0 if all(constant) else 0.0
    return float(np.corrcoef(a, b)[0, 1])


def concordance(a: Values, b: Values) -> float:
    """Lin's concordance correlation coefficient of two series, (n,) each: 1 only where they are equal.

    Moments are divided by n. Two series that are constant and equal count as 1.

    References
    ----------
    Lin, Biometrics 45 (1989) 255-268.
    """
    _check_pair(a, b)
    shift = float(a.mean() - b.mean())
    scale = float(a.var() + b.var()) + shift**2
    if scale < CONSTANT_RANGE**2:
        return 1.0
    return float(2 * np.mean((a - a.mean()) * (b - b.mean())) / scale)


def icc_3_1(ratings: Values) -> float:
    """Intraclass correlation ICC(3,1): consistency of single ratings by fixed raters, blind to a constant shift.

    Parameters
    ----------
    ratings : (n targets, k raters), n and k at least 2

    Returns
    -------
    (BMS - EMS) / (BMS + (k - 1) EMS); 1 where nothing varies but the raters' means

    References
    ----------
    Shrout and Fleiss, Psychological Bulletin 86 (1979) 420-428.
    """
    if ratings.ndim != 2 or min(ratings.shape) < 2:
        raise ShapeError(f"ratings: expected (targets, raters), at least 2 of each, got {ratings.shape}")
    targets, raters = ratings.shape
    centred = ratings - ratings.mean(axis=0)
    between = centred.mean(axis=1, keepdims=True)
    between_mean_square = raters * float(np.sum(between**2)) / (targets - 1)
    error_mean_square = float(np.sum((centred - between) ** 2)) / ((targets - 1) * (raters - 1))
    scale = between_mean_square + (raters - 1) * error_mean_square
    if scale < CONSTANT_RANGE**2:
        return 1.0
    return float((between_mean_square - error_mean_square) / scale)


def f1_score(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """F1 of `found` against `truth`, (n,) each; 1 where neither has a positive."""
    _check_pair(truth, found)
    hits = int(np.count_nonzero(truth & found))
    wrong = int(np.count_nonzero(truth != found))
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0


def _check_pair(a: NDArray[np.float64] | NDArray[np.bool_], b: NDArray[np.float64] | NDArray[np.bool_]) -> None:
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ShapeError(f"expected two series of one length, at least one value each, got {a.shape} and {b.shape}")
