"""Declared metrics with values that are known from elsewhere, as prometheus_client has them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric as Family

from auflow.metrics import Kind, Metric

__all__ = ["family_of"]


def family_of(metric: Metric, samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    """A counter or gauge with its samples, each the values of its labels in their order, and the value."""
    assert metric.kind in (Kind.COUNTER, Kind.GAUGE)
    family = Family(metric.name.removesuffix("_total"), metric.meaning, str(metric.kind))
    for labels, value in samples:
        family.add_sample(metric.name, dict(zip(metric.labels, labels, strict=True)), float(value))
    return family
