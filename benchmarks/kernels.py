"""What each kernel costs: the calls that a real face makes of it, made again many times.

All kernels take turns, so that a machine that is busy for a second spoils a little of everything and not one kernel.
CPU time is taken, not wall time. Compiling comes before.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auflow.benchmarks.cases import Case, cases_of
from auflow.benchmarks.spread import Spread

__all__ = ["KernelCost", "measure"]

BATCH_S = 1e-3  # shorter calls are timed several at once


@dataclass(frozen=True, slots=True)
class KernelCost:
    """What one call costs."""

    name: str
    us: Spread  # microseconds of CPU time per call, over batches of calls
    calls: int
    gflop_per_s: float | None  # at the fastest
    gigabytes_per_s: float | None


def measure(clip: Path, models_root: Path, *, budget_s: float, rounds: int = 5) -> tuple[KernelCost, ...]:
    """Measure all kernels, each for about `budget_s`.

    Raises
    ------
    InputError
        No face in the first frames of the clip.
    ModelError
    """
    cases = cases_of(clip, models_root)
    samples: list[list[float]] = [[] for _ in cases]
    sizes = [_batch_size(case.call) for case in cases]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for case, size, found in zip(cases, sizes, samples, strict=True):
                found += _time(case.call, size, budget_s / rounds)
    finally:
        if collecting:
            gc.enable()
    return tuple(_cost(case, size, found) for case, size, found in zip(cases, sizes, samples, strict=True))


def _batch_size(call: Callable[[], object]) -> int:
    call()  # compiles, fills caches
    began_s = time.process_time()
    call()
    return max(1, math.ceil(BATCH_S / max(time.process_time() - began_s, 1e-7)))


def _time(call: Callable[[], object], size: int, budget_s: float) -> list[float]:
    """Microseconds per call of batches, at least one."""
    found: list[float] = []
    end_s = time.perf_counter() + budget_s
    while not found or time.perf_counter() < end_s:
        began_s = time.process_time()
        for _ in range(size):
            call()
        found.append(1e6 * (time.process_time() - began_s) / size)
    return found


def _cost(case: Case, size: int, found: Sequence[float]) -> KernelCost:
    us = Spread.of(found)
    rate = None if case.flop is None else 1e-3 * case.flop / us.least
    traffic = None if case.bytes is None else 1e-3 * case.bytes / us.least
    return KernelCost(case.name, us, size * len(found), rate, traffic)
