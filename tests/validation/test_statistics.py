"""The formulas against values worked out by hand and the textbook's example."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.validation.statistics import concordance, f1_score, icc_3_1, pearson, spread

# Shrout and Fleiss 1979, table 2: six targets by four judges.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)
A, B = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 5.0, 7.0])


def test_icc_of_the_textbook() -> None:
    # Its table 4: between-targets mean square 11.24, residual 1.02, ICC(3,1) .71.
    assert icc_3_1(SHROUT_FLEISS) == pytest.approx((11.2417 - 1.0194) / (11.2417 + 3 * 1.0194), abs=1e-4)
    assert round(icc_3_1(SHROUT_FLEISS), 2) == 0.71


def test_icc_by_hand() -> None:
    # Means of the targets around the grand mean: -2, -.5, .5, 2, so BMS = 2 * 8.5 / 3 = 17/3. What the means of targets
    # and raters leave: four cells of +-.5, so EMS = 1/3. (17 - 1) / (17 + 1).
    assert icc_3_1(np.column_stack((A, B))) == pytest.approx(8 / 9)


def test_concordance_by_hand() -> None:
    # Means 2.5 and 4.5, variances 1.25 and 3.25 (by n), covariance 2: 2 * 2 / (1.25 + 3.25 + 4).
    assert concordance(A, B) == pytest.approx(4 / 8.5)


def test_shift_lowers_only_the_concordance() -> None:
    assert pearson(A, A + 1) == pytest.approx(1)
    assert icc_3_1(np.column_stack((A, A + 1))) == pytest.approx(1)
    assert concordance(A, A + 1) == pytest.approx(2.5 / 3.5)


def test_opposites() -> None:
    assert pearson(A, -A) == pytest.approx(-1)
    assert icc_3_1(np.column_stack((A, -A))) == pytest.approx(-1)


@pytest.mark.parametrize(("a", "b", "r", "ccc", "icc"), [(2, 2, 1, 1, 1), (2, 3, 1, 0, 1), (2, None, 0, 0, 0)])
def test_constant_series(a: float, b: float | None, r: float, ccc: float, icc: float) -> None:
    first, second = np.full(4, float(a)), A if b is None else np.full(4, float(b))
    assert pearson(first, second) == r
    assert concordance(first, second) == ccc
    assert icc_3_1(np.column_stack((first, second))) == pytest.approx(icc)


def test_f1() -> None:
    truth, found = np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool)
    assert f1_score(truth, found) == pytest.approx(4 / 6)
    assert f1_score(truth, ~truth) == 0
    assert f1_score(np.zeros(3, bool), np.zeros(3, bool)) == 1


def test_spread_leaves_out_what_is_missing() -> None:
    found = spread(np.array([[0.0, 1.0, 2.0], [3.0, 4.0, np.inf]]), 5 / 6)
    assert (found.coverage, found.mean, found.p50, found.max) == (5 / 6, 2, 2, 4)
    assert found.p90 == pytest.approx(3.6)
    assert spread(np.array([np.inf]), 0.0).mean is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: pearson(A, A[:3]),
        lambda: concordance(np.zeros(0), np.zeros(0)),
        lambda: f1_score(np.zeros((2, 2), bool), np.zeros((2, 2), bool)),
        lambda: icc_3_1(np.zeros((3, 1))),
        lambda: icc_3_1(np.zeros(3)),
    ],
)
def test_shapes_are_checked(call) -> None:
    with pytest.raises(ShapeError, match="expected"):
        call()
