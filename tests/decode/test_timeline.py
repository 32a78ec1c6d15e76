"""Time stamps: exact for constant rates, the container's otherwise, never backwards."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.decode.timeline import Timeline

MS = Fraction(1, 1000)


def stamps(timeline: Timeline, pts: list[int | None]) -> list[float]:
    return [timeline.stamp(p) for p in pts]


@pytest.mark.parametrize(
    ("what", "pts", "expected"),
    [
        ("a coarse clock means the exact rate", [0, 67, 133, 200], [0, 1 / 15, 2 / 15, 0.2]),
        ("it starts at zero", [5000, 5067, 5133], [0, 1 / 15, 2 / 15]),
        ("pauses stay", [0, 67, 1133], [0, 1 / 15, 1.133]),
        ("no stamp at first", [None, 67, 133], [0, 1 / 15, 2 / 15]),
        ("no stamp in between", [0, None, 133], [0, 1 / 15, 2 / 15]),
        ("a small step back waits", [0, 500, 400, 600], [0, 0.5, 0.5, 0.6]),
        ("a clock started anew goes on", [9000, 9100, 20, 120], [0, 0.1, 0.1 + 1 / 15, 0.2 + 1 / 15]),
    ],
)
def test_table(what: str, pts: list[int | None], expected: list[float]) -> None:
    assert stamps(Timeline(MS, Fraction(15)), pts) == pytest.approx(expected, abs=1e-12), what


def test_unknown_rate_takes_the_stamps_as_they_are() -> None:
    assert stamps(Timeline(MS, None), [40, 80, None, 161]) == pytest.approx([0, 0.04, 0.04, 0.121])


def test_constant_rate_equals_index_over_rate() -> None:
    timeline = Timeline(Fraction(1, 24000), Fraction(24000, 1001))
    assert stamps(timeline, [1001 * k for k in range(50)]) == [float(Fraction(1001 * k, 24000)) for k in range(50)]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.none() | st.integers(-(10**7), 10**7), max_size=40))
def test_never_backwards_and_never_negative(pts: list[int | None]) -> None:
    times = stamps(Timeline(MS, Fraction(30)), pts)
    assert times == sorted(times)
    assert all(time >= 0 for time in times)
