"""The states of a live source, as tables of events."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.stages.decode.live.machine import (
    Close,
    Event,
    Happened,
    Open,
    Patience,
    SourceMachine,
    SourceState,
    Tell,
)

H = Happened
PATIENCE = Patience(jitter=0.0)


def machine(*, finite: bool = False, patience: Patience = PATIENCE, random: float = 0.5) -> SourceMachine:
    return SourceMachine(patience, finite=finite, random=lambda: random)


def play(m: SourceMachine, *events: tuple[Happened, float]) -> list[str]:
    """The names of the actions of all events, a `Tell` as its state."""
    told = []
    for kind, at_s in events:
        actions = m.handle(Event(kind, at_s, kind.value))
        told += [a.state.value if isinstance(a, Tell) else type(a).__name__ for a in actions]
    return told


STREAMING = [(H.START, 0.0), (H.OPENED, 1.0), (H.PICTURE, 1.5)]
AGAIN = ["connecting", "Open"]
TO_STREAMING = [*AGAIN, "streaming"]


@pytest.mark.parametrize(
    ("events", "actions", "deadline_s"),
    [
        ([], [], None),
        ([(H.START, 0.0)], AGAIN, None),
        ([(H.START, 0.0), (H.OPENED, 1.0)], AGAIN, 31.0),
        (STREAMING, TO_STREAMING, 3.5),
        ([*STREAMING, (H.TIMER, 3.4)], TO_STREAMING, 3.5),
        ([*STREAMING, (H.PICTURE, 3.0), (H.TIMER, 3.5)], TO_STREAMING, 5.0),
        ([*STREAMING, (H.TIMER, 3.5)], [*TO_STREAMING, "stalled"], 6.5),
        ([*STREAMING, (H.TIMER, 3.5), (H.PICTURE, 4.0)], [*TO_STREAMING, "stalled", "streaming"], 6.0),
        ([*STREAMING, (H.TIMER, 3.5), (H.TIMER, 6.5)], [*TO_STREAMING, "stalled", "Close", "backing_off"], 7.5),
        ([*STREAMING, (H.TIMER, 9.0)], [*TO_STREAMING, "Close", "backing_off"], 10.0),
        ([*STREAMING, (H.READ_FAILED, 2.0)], [*TO_STREAMING, "Close", "backing_off"], 3.0),
        ([*STREAMING, (H.END, 2.0)], [*TO_STREAMING, "Close", "backing_off"], 3.0),
        ([*STREAMING, (H.END, 2.0), (H.TIMER, 3.0)], [*TO_STREAMING, "Close", "backing_off", *AGAIN], None),
        ([(H.START, 0.0), (H.OPEN_FAILED, 1.0)], [*AGAIN, "Close", "backing_off"], 2.0),
        ([(H.START, 0.0), (H.REFUSED, 1.0)], [*AGAIN, "Close", "backing_off"], 61.0),
        ([(H.START, 0.0), (H.OPENED, 1.0), (H.TIMER, 31.0)], [*AGAIN, "Close", "backing_off"], 32.0),
        ([*STREAMING, (H.PAUSE, 2.0)], [*TO_STREAMING, "Close", "paused"], None),
        ([*STREAMING, (H.PAUSE, 2.0), (H.PICTURE, 2.1), (H.END, 2.2)], [*TO_STREAMING, "Close", "paused"], None),
        ([*STREAMING, (H.PAUSE, 2.0), (H.PAUSE, 2.1)], [*TO_STREAMING, "Close", "paused"], None),
        ([(H.START, 0.0), (H.PAUSE, 2.0), (H.RESUME, 3.0)], [*AGAIN, "Close", "paused", *AGAIN], None),
        ([(H.START, 0.0), (H.OPEN_FAILED, 1.0), (H.PAUSE, 1.1)], [*AGAIN, "Close", "backing_off", "paused"], None),
        ([*STREAMING, (H.RESUME, 2.0), (H.START, 2.0)], TO_STREAMING, 3.5),
        ([*STREAMING, (H.STOP, 2.0), (H.RESUME, 3.0), (H.TIMER, 99.0)], [*TO_STREAMING, "Close", "stopped"], None),
        ([(H.STOP, 0.0)], ["stopped"], None),
    ],
)  # fmt: skip
def test_table(events: list[tuple[Happened, float]], actions: list[str], deadline_s: float | None) -> None:
    m = machine()
    assert play(m, *events) == actions
    assert m.deadline_s == deadline_s


def waits(m: SourceMachine, attempts: int, *, pictures: int, after_s: float = 0.0) -> list[float]:
    """How long each of so many connections that die is waited for afterwards."""
    at_s, found = 0.0, []
    m.handle(Event(H.START, at_s))
    for _ in range(attempts):
        m.handle(Event(H.OPENED, at_s))
        for number in range(pictures):
            m.handle(Event(H.PICTURE, at_s + after_s * number / max(1, pictures - 1)))
        at_s += after_s
        m.handle(Event(H.READ_FAILED, at_s))
        assert m.deadline_s is not None
        found.append(round(m.deadline_s - at_s, 6))
        at_s = m.deadline_s
        m.handle(Event(H.TIMER, at_s))
    return found


@pytest.mark.parametrize(
    ("pictures", "after_s", "expected"),
    [
        (0, 0.0, [1, 5, 10, 60, 60]),
        (1, 0.0, [1, 5, 10, 60, 60]),  # it dies right after its first picture
        (9, 1.0, [1, 5, 10, 60, 60]),
        (10, 1.0, [1, 1, 1, 1, 1]),
        (2, 5.0, [1, 1, 1, 1, 1]),  # few pictures, but over a while
    ],
)
def test_the_ladder_begins_anew_only_after_good_pictures(pictures: int, after_s: float, expected: list[float]) -> None:
    assert waits(machine(), 5, pictures=pictures, after_s=after_s) == expected


@pytest.mark.parametrize(("random", "expected"), [(0.0, [0.75, 3.75]), (0.5, [1.0, 5.0]), (0.999999, [1.25, 6.25])])
def test_jitter_spreads_to_both_sides(random: float, expected: list[float]) -> None:
    found = waits(machine(patience=Patience(jitter=0.25), random=random), 2, pictures=0)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", [H.END, H.READ_FAILED, H.OPEN_FAILED])
def test_what_is_finite_ends(kind: Happened) -> None:
    m = machine(finite=True)
    assert play(m, *STREAMING, (kind, 2.0)) == [*TO_STREAMING, "Close", "stopped"]


def test_a_pipe_may_be_silent_for_ever() -> None:
    m = machine(finite=True, patience=Patience(picture_timeout_s=math.inf, first_picture_timeout_s=math.inf))
    assert play(m, *STREAMING, (H.TIMER, 3.5), (H.TIMER, 1e9)) == [*TO_STREAMING, "stalled"]


def test_reasons_are_told() -> None:
    m = machine()
    m.handle(Event(H.START, 0.0))
    (_, told) = m.handle(Event(H.REFUSED, 1.0, "wrong password"))
    assert told == Tell(SourceState.BACKING_OFF, "wrong password; next attempt in 60.0 s")
    assert m.handle(Event(H.TIMER, 61.0)) == [Tell(SourceState.CONNECTING, "attempt 2"), Open()]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(Happened), st.floats(0, 40)), max_size=60), st.booleans())
def test_connections_open_and_close_in_turn_and_stopped_is_the_end(
    steps: list[tuple[Happened, float]], finite: bool
) -> None:
    m, at_s, connected = machine(finite=finite), 0.0, False
    for kind, step_s in steps:
        at_s += step_s
        was = m.state
        for action in m.handle(Event(kind, at_s)):
            if isinstance(action, Open):
                assert not connected
                connected = True
            elif isinstance(action, Close):
                assert connected
                connected = False
        assert connected == (m.state in (SourceState.CONNECTING, SourceState.STREAMING, SourceState.STALLED))
        assert not (was is SourceState.STOPPED and m.state is not was)
        if m.deadline_s is not None:
            assert kind is not H.TIMER or m.deadline_s > at_s
