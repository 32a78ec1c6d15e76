"""The webcam correction: against its plain reference, known cases, and as it goes on from a snapshot."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.stages.au.online import OnlineCorrection
from auflow.stages.state import StateError

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "au_online.py"


@pytest.fixture(scope="module")
def reference():
    return runpy.run_path(str(REFERENCE))["online_correction"]


@pytest.mark.parametrize("spread", [0.02, 0.5, 4.0])
def test_agrees_with_the_reference(reference, spread):
    raw = np.random.default_rng(5).normal(0.4, spread, (150, 17))
    correction = OnlineCorrection()
    found = np.array([correction.correct(row) for row in raw])
    assert np.abs(found - np.array(reference(raw.tolist()))).max() < 1e-12
    assert found.min() >= 0
    assert found.max() <= 5


def test_only_from_the_tenth_frame_on():
    correction = OnlineCorrection()
    found = [correction.correct(np.full(17, 1.0))[0] for _ in range(10)]
    assert found == [1.0] * 9 + [0.0]


def test_a_constant_value_is_neutral_and_more_than_it_stays():
    correction = OnlineCorrection()
    for _ in range(50):
        correction.correct(np.full(17, 1.0))
    # 1.0 begins a bin: nothing is left of it, and what is above keeps its distance.
    assert correction.shift() == pytest.approx(np.full(17, 1.0))
    assert correction.correct(np.full(17, 2.5)) == pytest.approx(np.full(17, 1.5))


def test_more_than_a_tenth_of_the_frames_must_be_low():
    correction = OnlineCorrection()
    for value in [0.0] * 2 + [2.0] * 18:
        correction.correct(np.full(17, value))
    assert correction.shift()[0] == pytest.approx(2.0)  # 2 of 20 is no more than a tenth
    correction.correct(np.full(17, 0.0))
    assert correction.shift()[0] == pytest.approx(0.0)


def test_values_outside_count_in_the_end_bins():
    correction = OnlineCorrection()
    for _ in range(10):
        correction.correct(np.full(17, -40.0))
    assert correction.shift() == pytest.approx(np.full(17, -3.0))
    for _ in range(200):
        correction.correct(np.full(17, 40.0))
    assert correction.shift() == pytest.approx(np.full(17, 4.96))


def test_goes_on_from_a_snapshot():
    raw = np.random.default_rng(6).normal(0.4, 1, (60, 17))
    whole, first, second = OnlineCorrection(), OnlineCorrection(), OnlineCorrection()
    expected = [whole.correct(row) for row in raw]
    for row in raw[:25]:
        first.correct(row)
    second.restore(first.snapshot())
    assert np.array_equal([second.correct(row) for row in raw[25:]], expected[25:])


def test_refusals():
    with pytest.raises(ShapeError, match=r"expected \(17,\), got \(18,\)"):
        OnlineCorrection().correct(np.zeros(18))
    with pytest.raises(StateError, match="expected an array count"):
        OnlineCorrection().restore({})
