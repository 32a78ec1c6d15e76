"""Overlap on made-up intervals, with answers that can be seen; and against counting instants one by one."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.telemetry.overlap import Spans, busy_at_once, busy_spans, overlap


def spans(*pieces: tuple[float, float]) -> Spans:
    return np.array(pieces, np.float64).reshape(-1, 2)


NONE = spans()


@pytest.mark.parametrize(
    ("work", "waits", "expected"),
    [
        (spans((4, 5), (1, 2)), NONE, spans((1, 2), (4, 5))),
        (spans((1, 2), (2, 3), (3.5, 4)), NONE, spans((1, 3), (3.5, 4))),  # what touches is one
        (spans((1, 5), (2, 3), (4, 6)), NONE, spans((1, 6))),
        (spans((1, 5)), spans((2, 3), (3, 4)), spans((1, 2), (4, 5))),
        (spans((1, 5), (6, 7)), spans((1, 2), (6, 7)), spans((2, 5))),
        (spans((1, 3)), spans((0, 2), (5, 6)), spans((2, 3))),  # a wait that work does not contain takes nothing else
        (spans((1, 1)), NONE, NONE),
        (NONE, spans((1, 2)), NONE),
    ],
)
def test_busy_is_work_without_waits(work: Spans, waits: Spans, expected: Spans) -> None:
    found = busy_spans(work, waits)
    assert found.tolist() == expected.tolist()


def test_shares_of_a_window() -> None:
    found = overlap({"clnf": spans((0, 6), (7, 10)), "au": spans((5, 8)), "sink": spans((8, 8.5), (20, 30))}, (0, 10))
    assert found.seconds == 10
    assert found.busy == {"clnf": pytest.approx(0.9), "au": pytest.approx(0.3), "sink": pytest.approx(0.05)}
    # None: nowhere. Two: 5 to 6, 7 to 8, 8 to 8.5. AU ends in the moment in which the sink begins: never three.
    assert found.at_once == pytest.approx((0.0, 0.75, 0.25))
    assert found.mean == pytest.approx(1.25)
    assert found.two_or_more == pytest.approx(0.25)


def test_one_after_the_other_is_no_overlap() -> None:
    found = overlap({"a": spans((0, 1), (2, 3)), "b": spans((1, 2), (3, 4))}, (0, 5))
    assert found.at_once == pytest.approx((0.2, 0.8))
    assert found.two_or_more == 0


@pytest.mark.parametrize("window", [(3, 3), (3, 2)])
def test_a_window_without_length(window: tuple[float, float]) -> None:
    found = overlap({"a": spans((0, 9))}, window)
    assert (found.seconds, found.busy, found.mean, found.two_or_more) == (0, {"a": 0}, 0, 0)


def test_nobody() -> None:
    assert overlap({}, (0, 1)).at_once == (1.0,)
    assert overlap({"a": NONE}, (0, 1)).at_once == (1.0,)


def test_busy_at_once_over_time() -> None:
    found = busy_at_once([spans((0, 2), (3, 4)), spans((1, 3.5)), NONE], np.array([0.0, 1, 2, 3, 4, 6]))
    assert found == pytest.approx([1, 2, 1, 1.5, 0])


def test_against_counting() -> None:
    """Whole numbers, so that each instant between two of them is one case."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        given, counts = {}, np.zeros(60, int)
        for name in "abcd":
            begin, wait = rng.integers(0, 55, (2, rng.integers(0, 9)))
            work, waits = (np.column_stack((at, at + rng.integers(0, 6, len(at)))) for at in (begin, wait))
            instants = np.array([any(b <= t < e for b, e in work) for t in range(60)])
            joined = busy_spans(work, NONE)
            assert sum(e - b for b, e in joined) == instants.sum()
            instants &= ~np.array([any(b <= t < e for b, e in waits) for t in range(60)])
            given[name] = busy_spans(work, waits)
            counts += instants
        found = overlap(given, (0, 60))
        expected = np.bincount(counts, minlength=len(found.at_once)) / 60
        assert found.at_once == pytest.approx(expected.tolist())
        assert found.mean == pytest.approx(counts.mean())
        assert busy_at_once(list(given.values()), np.arange(61.0)) == pytest.approx(counts)
