"""The real stages, with landmarks that take AUFLOW_BENCH_SLOW times as long: for measurements of live streams."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.flow import stagekit
from auflow.flow.stagekit import (
    ensure_kernels,
    fit_together,
    keep_picture,
    make_au,
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
from auflow.stages.records import FaceFit, Frame
from auflow.stages.settings import StageSettings

__all__ = [
    "ensure_kernels",
    "fit_together",
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


class _SlowClnf:
    def __init__(self, stage: Any, factor: float) -> None:
        self._stage, self._factor = stage, factor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        began_s = time.monotonic()
        fits: tuple[FaceFit, ...] = self._stage.process(frame, detect)
        time.sleep((self._factor - 1) * (time.monotonic() - began_s))
        return fits


def make_clnf(models_root: Path, settings: StageSettings) -> Any:
    """The landmark fitter, slowed down."""
    return _SlowClnf(stagekit.make_clnf(models_root, settings), float(os.environ["AUFLOW_BENCH_SLOW"]))
