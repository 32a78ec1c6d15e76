"""What is counted of a stream: convergence, and latency in a histogram of fixed size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from auflow.stages.records import FaceFit
from auflow.stages.statistics import Convergence, Latency, StreamTally


def fit(optimisations: int, converged: int, iterations: int) -> FaceFit:
    empty = np.zeros(0, np.float32)
    plain = FaceFit(1, 0.0, 0, True, True, 1.0, empty, empty, empty, empty, np.zeros(6))
    return replace(plain, optimisations=optimisations, converged=converged, iterations=iterations)


class Clock:
    """Seconds that pass when told."""

    now_s = 5000.0

    def __call__(self) -> float:
        return self.now_s


def tally_of(*took_s: float) -> StreamTally:
    clock = Clock()
    tally = StreamTally(clock)
    for time_s in took_s:
        tally.written(clock.now_s - time_s, ())
    return tally


@pytest.mark.parametrize("scale_s", [0.0005, 0.04, 3.0])
def test_percentiles_are_right_to_one_percent(scale_s: float) -> None:
    took_s = np.random.default_rng(7).lognormal(math.log(scale_s), 0.4, 5000)
    latency = tally_of(*took_s.tolist()).statistics().latency
    for percent in (1, 50, 95, 99, 100):
        right_s = np.percentile(took_s, percent, method="inverted_cdf")
        assert latency.percentile_s(percent) == pytest.approx(right_s, rel=0.0101)
    assert latency.longest_s == pytest.approx(took_s.max())


def test_one_slow_frame_is_the_longest_and_moves_no_percentile() -> None:
    latency = tally_of(*[0.05] * 999, 0.7).statistics().latency
    assert latency.percentile_s(99) == pytest.approx(0.05, rel=0.01)
    assert latency.longest_s == pytest.approx(0.7)


@pytest.mark.parametrize(("took_s", "told_s"), [(0.0, 0.0), (-1e-9, 0.0), (2e-5, 2e-5), (1e-4, 1e-4), (5000.0, 5000.0)])
def test_times_beyond_the_bins(took_s: float, told_s: float) -> None:
    assert tally_of(took_s).statistics().latency.percentile_s(50) == pytest.approx(told_s, abs=1e-9)


def test_memory_does_not_grow() -> None:
    sizes = {len(tally_of(*[0.001 * n for n in range(count)]).statistics().latency.counts) for count in (0, 1, 3000)}
    assert sizes == {len(Latency().counts)}


def test_nothing_has_no_percentiles() -> None:
    statistics = StreamTally().statistics()
    assert statistics.latency.percentile_s(50) is None
    assert statistics.first_result_at_s is None
    assert statistics.convergence == Convergence()


def test_convergence_counts_fits_and_their_optimisations() -> None:
    tally = StreamTally()
    tally.written(0.0, (fit(10, 10, 31), fit(10, 4, 44)))
    tally.written(0.0, ())  # no face
    tally.written(0.0, (fit(0, 0, 0),))  # a face that is only remembered
    tally.written(0.0, (fit(4, 3, 12),))
    assert tally.statistics().convergence == Convergence(3, 1, 24, 17, 87)


def test_the_first_result_stays() -> None:
    clock = Clock()
    tally = StreamTally(clock)
    tally.result_came()
    clock.now_s += 1
    tally.result_came()
    assert tally.statistics().first_result_at_s == 5000.0


def test_streams_add_up() -> None:
    first, second = [0.01, 0.02, 0.03], [0.5, 1.5]
    both = tally_of(*first).statistics().latency + tally_of(*second).statistics().latency
    assert both == tally_of(*first, *second).statistics().latency
    assert Convergence(1, 0, 8, 3, 30) + Convergence(2, 1, 9, 6, 20) == Convergence(3, 1, 17, 9, 50)
