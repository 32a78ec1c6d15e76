"""What a stream that does not end counts: the last one to two minutes, and nothing older."""

from __future__ import annotations

from auflow.stages.statistics import RecentTally


class Clock:
    """Seconds that pass when told."""

    now_s = 5000.0

    def __call__(self) -> float:
        return self.now_s


def ages(tally: RecentTally) -> int:
    return sum(tally.statistics().latency.counts)


def test_a_frame_counts_for_one_to_two_minutes() -> None:
    clock = Clock()
    tally = RecentTally(clock)
    tally.written(clock.now_s - 0.1, ())
    clock.now_s += 61.0
    tally.written(clock.now_s - 0.2, ())
    assert ages(tally) == 2
    clock.now_s += 61.0
    tally.written(clock.now_s - 0.3, ())
    assert ages(tally) == 2
    assert tally.statistics().latency.longest_s > 0.29


def test_what_is_old_is_forgotten_where_nothing_new_comes() -> None:
    clock = Clock()
    tally = RecentTally(clock)
    tally.written(clock.now_s - 0.1, ())
    clock.now_s += 61.0
    assert ages(tally) == 1
    clock.now_s += 61.0
    assert ages(tally) == 0
    tally.written(clock.now_s - 0.1, ())
    clock.now_s += 500.0
    assert ages(tally) == 0
