"""Figures of tracks against the truth: cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.benchmarks.mot import Marked, Shown, evaluate
from auflow.stages.faces import overlap


def at(x: float) -> np.ndarray:
    return np.array([x, 0.0, 10.0, 10.0])


def frames(person_at, number_at, count: int):
    """Of `count` frames: {person: x} and {number: x} as functions of the frame."""
    truth = [[Marked(p, at(x)) for p, x in person_at(k).items()] for k in range(count)]
    found = [[Shown(n, at(x)) for n, x in number_at(k).items()] for k in range(count)]
    return truth, found


def test_overlap() -> None:
    assert overlap(at(0), at(0)) == 1.0
    assert overlap(at(0), at(5)) == pytest.approx(1 / 3)
    assert overlap(at(0), at(20)) == 0.0


def test_all_right() -> None:
    figures = evaluate(*frames(lambda k: {0: k, 1: 50 + k}, lambda k: {7: k + 1, 3: 50 + k}, 10))
    assert (figures.truth, figures.found, figures.missed, figures.false, figures.switches) == (20, 20, 0, 0, 0)
    assert (figures.mota, figures.idf1) == (1.0, 1.0)
    assert figures.numbers[0] == {0: 7, 1: 3}


def test_a_number_that_changes_in_the_middle() -> None:
    figures = evaluate(*frames(lambda k: {0: 0}, lambda k: {5 if k < 6 else 9: 0}, 10))
    assert figures.switches == 1
    assert figures.changes == ((6, 0),)
    assert figures.mota == pytest.approx(0.9)
    assert figures.idf1 == pytest.approx(0.6)


def test_numbers_that_are_exchanged() -> None:
    figures = evaluate(*frames(lambda k: {0: 0, 1: 50}, lambda k: {4: 0, 5: 50} if k < 5 else {4: 50, 5: 0}, 10))
    assert figures.switches == 2
    assert figures.idf1 == pytest.approx(0.5)


def test_misses_and_false_faces() -> None:
    figures = evaluate(*frames(lambda k: {0: 0}, lambda k: {1: 0} if k % 2 else {2: 30}, 10))
    assert (figures.missed, figures.false, figures.switches) == (5, 5, 0)
    assert figures.mota == pytest.approx(0.0)
    assert figures.idf1 == pytest.approx(0.5)


def test_whoever_comes_back_with_another_number_is_a_switch() -> None:
    figures = evaluate(
        *frames(
            lambda k: {0: 0} if not 3 <= k < 6 else {}, lambda k: {1 if k < 5 else 2: 0} if not 3 <= k < 6 else {}, 9
        )
    )
    assert figures.switches == 1


def test_the_same_pair_stays_together_while_it_can() -> None:
    """A better overlap with another face does not break a match."""
    truth = [[Marked(0, at(0))], [Marked(0, at(3))]]
    found = [[Shown(1, at(0))], [Shown(1, at(0)), Shown(2, at(3))]]
    figures = evaluate(truth, found)
    assert (figures.switches, figures.false) == (0, 1)


def test_who_is_hardly_visible_does_not_count() -> None:
    truth = [[Marked(0, at(0), counts=k != 1)] for k in range(3)]
    found = [[Shown(1, at(0))], [Shown(1, at(0))], [Shown(1, at(0))]]
    assert evaluate(truth, found).mota == 1.0
    assert evaluate(truth, [found[0], [], found[2]]).mota == 1.0
    assert evaluate(truth, found).found == 2


def test_nothing_at_all() -> None:
    figures = evaluate([[], []], [[], []])
    assert (figures.mota, figures.idf1, figures.switches) == (1.0, 0.0, 0)
