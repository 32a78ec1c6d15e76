"""The real stages in workers whose metrics are switched off and on by turns, for `auflow.benchmarks.metrics_cost`.

All processes look at the same clock, so they switch together; with metrics off a worker does what it does without any.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from auflow.flow.stagekit import (
    ensure_kernels,
    fit_together,
    keep_picture,
    make_au,
    make_clnf,
    make_detector,
    make_jsonl,
    make_live_sink,
    make_sink,
    open_live,
    open_source,
    preload,
    prepare,
    process_together,
    read_checkpoint,
)
from auflow.telemetry.probe import Probe

__all__ = [
    "ensure_kernels",
    "fit_together",
    "is_on",
    "keep_picture",
    "make_au",
    "make_clnf",
    "make_detector",
    "make_jsonl",
    "make_live_sink",
    "make_sink",
    "open_live",
    "open_source",
    "preload",
    "prepare",
    "process_together",
    "read_checkpoint",
]

WINDOW_S = float(os.environ.get("AUFLOW_BENCH_WINDOW_S", "4"))


def is_on(at_s: float) -> bool:
    """Whether metrics are on at that moment (monotonic)."""
    return int(at_s / WINDOW_S) % 2 == 0


def _toggled(call: Callable[..., Any]) -> Callable[..., Any]:
    def toggled(*given: Any, **named: Any) -> None:
        if is_on(time.monotonic()):
            call(*given, **named)

    return toggled


for _name in ("worked", "fitted", "result"):
    setattr(Probe, _name, _toggled(getattr(Probe, _name)))
