"""The times of live pictures, and how many are missing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.decode.live.clock import Gaps, StreamClock

UNIX = 1_700_000_000.0


def stamps(clock: StreamClock, *pictures: tuple[float | None, float]) -> list[float]:
    """Stream times of (time stamp, arrival)."""
    return [
        round(clock.stamp(pts, arrived_s=100 + at, arrived_unix_s=UNIX + at).timestamp_s, 6) for pts, at in pictures
    ]


@pytest.mark.parametrize(
    ("what", "pictures", "expected"),
    [
        ("starts at zero and follows the stamps", [(7.0, 0.0), (7.1, 0.5), (7.2, 0.21)], [0, 0.1, 0.2]),
        ("without a stamp, the arrival", [(None, 0.0), (0.1, 0.12), (0.2, 0.3)], [0, 0.12, 0.22]),
        ("never backwards", [(7.0, 0.0), (7.2, 0.1), (7.1, 0.2), (7.3, 0.3)], [0, 0.2, 0.2, 0.3]),
        ("a jump ahead", [(7.0, 0.0), (7.1, 0.1), (9000.0, 0.2), (9000.1, 0.3)], [0, 0.1, 0.2, 0.3]),
        ("a jump back", [(9000.0, 0.0), (9000.1, 0.1), (5.0, 0.2), (5.1, 0.3)], [0, 0.1, 0.2, 0.3]),
    ],
)
def test_stream_time(what: str, pictures: list[tuple[float | None, float]], expected: list[float]) -> None:
    assert stamps(StreamClock(), *pictures) == expected, what


def test_a_new_connection_goes_on_from_the_arrival() -> None:
    clock = StreamClock()
    assert stamps(clock, (50.0, 0.0), (50.1, 0.1)) == [0, 0.1]
    clock.connected()
    assert stamps(clock, (3.0, 8.0), (3.1, 8.1)) == [8.0, 8.1]


def captured(clock: StreamClock, pts: float, at: float = 0.0) -> tuple[float, str]:
    stamp = clock.stamp(pts, arrived_s=at, arrived_unix_s=UNIX + at)
    return round(stamp.captured_s - UNIX, 6), stamp.clock


def test_the_sender_tells_the_wall_clock() -> None:
    clock = StreamClock()
    assert captured(clock, 5.0, 0.3) == (0.3, "arrival")
    clock.sender_time(5.0, UNIX + 0.1)
    assert captured(clock, 5.04, 0.4) == (0.14, "rtcp")
    clock.connected()
    assert captured(clock, 5.08, 0.5) == (0.5, "arrival")
    assert clock.stamp(None, arrived_s=1.0, arrived_unix_s=UNIX + 1.0).clock == "arrival"


@pytest.mark.parametrize(
    ("off_s", "clock_source"), [(86_000, "rtcp"), (-86_000, "rtcp"), (90_000, "arrival"), (-UNIX, "arrival")]
)
def test_an_absurd_clock_is_not_taken(off_s: float, clock_source: str) -> None:
    clock = StreamClock()
    clock.sender_time(0.0, UNIX + off_s)
    assert captured(clock, 0.0) == (off_s if clock_source == "rtcp" else 0.0, clock_source)


def test_a_clock_that_jumps_is_not_taken_until_it_keeps_still() -> None:
    clock = StreamClock()
    clock.sender_time(0.0, UNIX)
    clock.sender_time(1.0, UNIX + 1.9)  # set by 0.9 s: that is the better time
    assert captured(clock, 1.0) == (1.9, "rtcp")
    clock.sender_time(2.0, UNIX + 60)
    assert captured(clock, 2.0, 2.0) == (2.0, "arrival")
    clock.sender_time(11.9, UNIX + 69.9)
    assert captured(clock, 11.9, 12.0) == (12.0, "arrival")
    assert captured(clock, 12.0, 12.1) == (70.0, "rtcp")


TIMES = st.none() | st.floats(-1e6, 1e6)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(TIMES, st.floats(0, 100), st.booleans()), max_size=50))
def test_never_backwards_whatever_comes(pictures: list[tuple[float | None, float, bool]]) -> None:
    clock, at_s, times = StreamClock(), 0.0, []
    for pts, step_s, connected in pictures:
        at_s += step_s
        if connected:
            clock.connected()
        if pts is not None:
            clock.sender_time(pts, pts * 1e3)
        times.append(clock.stamp(pts, arrived_s=at_s, arrived_unix_s=UNIX + at_s).timestamp_s)
    assert times == sorted(times)
    assert not times or times[0] == 0


def test_gaps_are_counted_in_usual_steps() -> None:
    gaps = Gaps()
    regular = [gaps.missing(k / 15) for k in range(10)]
    assert regular == [0] * 10
    assert [gaps.missing(k and k / 15) for k in (10, 12, 13, 17, None, 20, 21)] == [0, 1, 0, 3, 0, 0, 0]
    gaps.connected()
    assert [gaps.missing(k / 15) for k in (500, 501, 502.3, 503)] == [0, 0, 0, 0]


def test_a_clock_started_anew_is_no_gap() -> None:
    gaps = Gaps()
    assert [gaps.missing(t) for t in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 500, 500.1, 2, 2.1)] == [0] * 11
