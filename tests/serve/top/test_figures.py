"""Growth of counters and quantiles of histograms, against what can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from auflow.metrics import STAGE_DURATION
from auflow.serve.top.figures import Histogram, grown, growth, parse, quantile, sparkline

from .top_tools import histogram

INF = math.inf


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({}, 0.5, None),
        ({1.0: 0, INF: 0}, 0.5, None),
        ({1.0: 10, INF: 10}, 0.5, 0.5),  # even in its bucket, from 0
        ({1.0: 0, 2.0: 10, INF: 10}, 0.5, 1.5),
        ({1.0: 0, 2.0: 10, INF: 10}, 0.99, 1.99),
        ({1.0: 50, 2.0: 100, INF: 100}, 0.5, 1.0),  # the edge between the two
        ({1.0: 25, 2.0: 100, INF: 100}, 0.5, 1.0 + 25 / 75),
        ({1.0: 90, 2.0: 90, 4.0: 100, INF: 100}, 0.95, 3.0),  # over an empty bucket
        ({1.0: 10, INF: 100}, 0.5, INF),
        ({1.0: 10, INF: 100}, 0.1, 1.0),
        ({1.0: 0, 2.0: 10, INF: 10}, 0.0, 1.0),
        ({1.0: 0, 2.0: 10, INF: 10}, 1.0, 2.0),
    ],
)
def test_quantiles(buckets: dict[float, float], q: float, expected: float | None) -> None:
    assert quantile(buckets, q) == (None if expected is None else pytest.approx(expected))


def test_a_quantile_lies_in_the_bucket_of_the_observation() -> None:
    import random

    chance = random.Random(7)
    edges = (0.001, 0.0025, 0.005, 0.01, 0.1, INF)
    for _ in range(200):
        values = sorted(chance.choice((0.0007, 0.002, 0.004, 0.009, 0.03)) for _ in range(chance.randint(1, 40)))
        buckets = {edge: float(sum(value <= edge for value in values)) for edge in edges}
        for q in (0.01, 0.5, 0.99):
            true = values[max(0, math.ceil(q * len(values)) - 1)]
            upper = min(edge for edge in edges if true <= edge)
            lower = max((edge for edge in edges if edge < true), default=0.0)
            found = quantile(buckets, q)
            assert found is not None
            assert lower - 1e-12 <= found <= upper + 1e-12


def test_counters_grow_or_begin_anew() -> None:
    assert (grown(12, 10), grown(10, 10), grown(3, 10)) == (2, 0, 3)


def test_a_process_that_was_started_again_counts_from_nothing_in_all_its_series() -> None:
    new = parse(histogram(STAGE_DURATION.name, 'worker="au-0",stage="au"', [0.002, 0.3, 0.3]), [STAGE_DURATION.name])
    old = parse(histogram(STAGE_DURATION.name, 'worker="au-0",stage="au"', [0.002] * 100), [STAGE_DURATION.name])
    came = growth(new["au-0"], old["au-0"], 2.0).histogram(STAGE_DURATION, stage="au")
    assert came is not None
    # The bucket of 0.5 s alone has 3 where it had 100; that of 0.0025 s 1. No part is a difference.
    assert (came.count, came.total_s, came.buckets[0.0025], came.buckets[INF]) == (3, pytest.approx(0.602), 1, 3)


def test_another_time_of_birth_tells_it_even_where_no_counter_has_fallen() -> None:
    born, count = ("process_start_time_seconds", ()), ("a_total", ())
    assert growth({born: 1.0, count: 9.0}, {born: 1.0, count: 5.0}, 1.0).counted == {count: 4.0}
    assert growth({born: 2.0, count: 9.0}, {born: 1.0, count: 5.0}, 1.0).counted == {count: 9.0}


def test_a_series_that_was_not_there_began_at_nothing() -> None:
    new = parse(histogram(STAGE_DURATION.name, 'worker="au-0",stage="au"', [0.02] * 4), [STAGE_DURATION.name])["au-0"]
    came = growth(new, {}, 1.0).histogram(STAGE_DURATION, stage="au")
    assert came is not None
    assert came.count == 4
    assert growth(new, new, 1.0).histogram(STAGE_DURATION, stage="sink") is None


def test_histograms_add_up() -> None:
    both = Histogram({1.0: 1, INF: 2}, 3.0, 2) + Histogram({1.0: 4, INF: 4}, 1.0, 4)
    assert both == Histogram({1.0: 5, INF: 6}, 4.0, 6)
    assert (Histogram() + both).quantile(0.5) == both.quantile(0.5)


def test_only_wanted_metrics_are_read_and_the_worker_is_apart() -> None:
    text = (
        '# HELP a_x of "a"\n# TYPE a_x gauge\na_x{worker="w-1",stage="au"} 1\na_x{stage="au",worker="w-2"} 2\n'
        '# TYPE b gauge\nb{worker="w-1"} 3\n# TYPE c_total counter\nc_total{worker="w-1"} 4\n'
    )
    key = ("a_x", (("stage", "au"),))
    assert parse(text, ["a_x", "c_total"]) == {"w-1": {key: 1.0, ("c_total", ()): 4.0}, "w-2": {key: 2.0}}


@pytest.mark.parametrize("text", ["a_x{", 'a_x{worker="w"} many', "a_x"])
def test_text_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text, ["a_x"])


@pytest.mark.parametrize(
    ("values", "bars", "plain"),
    [([], "", ""), ([0.0, 0.0], "▁▁", "__"), ([1.0, None, 2.0, 0.0], "▄ ▇▁", "- #_"), ([None], " ", " ")],
)
def test_sparklines(values: list[float | None], bars: str, plain: str) -> None:
    assert sparkline(values) == bars
    assert sparkline(values, plain=True) == plain
