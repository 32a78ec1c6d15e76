"""Many samples of one quantity as a few numbers: results are kept for years and stay small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spread", "percentile"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity was distributed."""

    count: int
    least: float
    median: float
    p95: float
    most: float
    total: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        ordered = sorted(values)
        return cls(
            len(ordered), ordered[0], percentile(ordered, 50), percentile(ordered, 95), ordered[-1], math.fsum(ordered)
        )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the sorted values lie, between two neighbours by the distance to them."""
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
