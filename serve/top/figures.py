"""What can be said of two looks at counters and histograms: growth, quantiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from auflow.metrics import Metric

__all__ = ["Growth", "Histogram", "Key", "Samples", "grown", "growth", "parse", "quantile", "sparkline"]

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]  # a sample's name, its labels in order without the worker
Samples: TypeAlias = dict[Key, float]

_BORN: Key = ("process_start_time_seconds", ())
_COUNTED = ("_bucket", "_sum", "_count", "_total")
_BARS, _BARS_ASCII = "▁▂▃▄▅▆▇", "_.:-=+#"  # none is as high as a line: those of two lines would touch


def parse(text: str, names: Iterable[str]) -> dict[str, Samples]:
    """The samples of a text in Prometheus' format, by worker.

    Parameters
    ----------
    names : of metrics, as in `auflow.metrics`; no others are read, which saves most of the work

    Raises
    ------
    ValueError
        It is no such text.
    """
    from prometheus_client.parser import text_string_to_metric_families

    wanted = tuple(names)
    lines = [line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(wanted)]
    by_worker: dict[str, Samples] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            labels = dict(sample.labels)
            samples = by_worker.setdefault(labels.pop("worker", ""), {})
            samples[sample.name, tuple(sorted(labels.items()))] = sample.value
    return by_worker


def grown(new: float, old: float) -> float:
    """By how much a counter has grown; one that has become smaller began anew at 0."""
    return new - old if new >= old else new


@dataclass(frozen=True, slots=True)
class Histogram:
    """What came into a histogram between two looks."""

    buckets: dict[float, float] = field(default_factory=dict)  # how many were at most so long, by upper edge, s
    total_s: float = 0.0
    count: float = 0.0

    def __add__(self, other: Histogram) -> Histogram:
        edges = self.buckets.keys() | other.buckets.keys()
        both = {edge: self.buckets.get(edge, 0.0) + other.buckets.get(edge, 0.0) for edge in edges}
        return Histogram(both, self.total_s + other.total_s, self.count + other.count)

    def quantile(self, q: float) -> float | None:
        """In seconds; None where nothing came, infinite beyond the last edge."""
        return quantile(self.buckets, q)


@dataclass(frozen=True, slots=True)
class Growth:
    """What one process counted between two looks at it, and what its gauges are at the second.

    A series that the first look did not have began at 0 after it. When the process was started again between the looks,
    all its series began at 0.
    """

    seconds: float
    counted: Samples
    gauges: Samples

    def gauge(self, metric: Metric, **labels: str) -> float | None:
        """Its value, if the process tells it."""
        return self.gauges.get((metric.name, _ordered(labels)))

    def counter(self, name: str, **labels: str) -> float | None:
        """Its growth."""
        return self.counted.get((name, _ordered(labels)))

    def histogram(self, metric: Metric, **labels: str) -> Histogram | None:
        """What came into it."""
        key = _ordered(labels)
        count = self.counted.get((f"{metric.name}_count", key))
        if count is None:
            return None
        buckets = {}
        for edge, word in _edges(metric.buckets):
            at_most = self.counted.get((f"{metric.name}_bucket", _ordered({**labels, "le": word})))
            if at_most is not None:
                buckets[edge] = at_most
        return Histogram(buckets, self.counted.get((f"{metric.name}_sum", key), 0.0), count)


def growth(new: Mapping[Key, float], old: Mapping[Key, float], seconds: float) -> Growth:
    """Of all series of one process, between two looks that are `seconds` apart."""
    counters = {key: value for key, value in new.items() if key[0].endswith(_COUNTED)}
    # It is another process when one counter has fallen; a histogram's parts must not be read differently.
    anew = new.get(_BORN) != old.get(_BORN) or any(value < old.get(key, 0.0) for key, value in counters.items())
    counted = {key: value if anew else grown(value, old.get(key, 0.0)) for key, value in counters.items()}
    return Growth(seconds, counted, {key: value for key, value in new.items() if key not in counters})


def quantile(buckets: Mapping[float, float], q: float) -> float | None:
    """The value that a share `q` of the observations does not exceed, interpolated in its bucket as Prometheus does.

    Parameters
    ----------
    buckets : cumulative counts by upper edge, the last of them infinite
    q : 0 to 1

    Returns
    -------
    in the unit of the edges; None where there are no observations, infinite beyond the last finite edge
    """
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0.0
    if total <= 0.0:
        return None
    rank, below, from_edge = q * total, 0.0, 0.0
    for edge in edges:
        if buckets[edge] >= rank and buckets[edge] > below:
            if math.isinf(edge):
                return edge
            return from_edge + (edge - from_edge) * max(0.0, rank - below) / (buckets[edge] - below)
        below, from_edge = max(below, buckets[edge]), edge
    return edges[-1]


def sparkline(values: Iterable[float | None], *, plain: bool = False) -> str:
    """A bar for each value, the largest of them full; a blank where there is none. `plain`: in ASCII."""
    bars, values = (_BARS_ASCII if plain else _BARS), list(values)
    largest = max((value for value in values if value), default=0.0)
    if largest <= 0.0:
        return "".join(" " if value is None else bars[0] for value in values)
    steps = len(bars) - 1
    return "".join(" " if value is None else bars[round(steps * max(0.0, value) / largest)] for value in values)


def _edges(buckets: tuple[float, ...]) -> list[tuple[float, str]]:
    return [*((edge, str(float(edge))) for edge in buckets), (math.inf, "+Inf")]


def _ordered(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
