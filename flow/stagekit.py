"""Makes the real stages for the worker processes. Each function imports only what its role needs.

A worker is told the name of this module, so that tests can give it another one with the same functions.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow import kernel_cache
from auflow.flow.compilation import compile_kernels
from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings

if TYPE_CHECKING:
    from auflow.stages.au import AuStage
    from auflow.stages.clnf import ClnfStage
    from auflow.stages.decode import Source
    from auflow.stages.detect import MtcnnDetector
    from auflow.stages.sink import ResultSink

__all__ = [
    "ensure_kernels",
    "make_au",
    "make_clnf",
    "make_detector",
    "make_sink",
    "open_source",
    "preload",
    "prepare",
]

_MODULES = {"decode": "decode", "detect": "detect.mtcnn", "clnf": "clnf", "au": "au", "sink": "sink.result"}
_made: dict[str, Any] = {}  # stages that the nursery has made for its forks


def preload(role: str, models_root: Path, settings: StageSettings) -> None:
    """In the nursery: load what all CLNF or all AU workers share; they get it from `make_clnf` and `make_au`.

    Nothing is compiled here, for the nursery must stay responsive.
    """
    prepare(role)
    from numba.core.registry import cpu_target

    # What Numba puts off until the first kernel is called: its typing rules and its implementations.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    if kernel_cache.kernels_are_whole(settings.model):
        make = {"clnf": make_clnf, "au": make_au}[role]
        _made[role] = make(models_root, settings)


def prepare(role: str) -> None:
    """Import the role's stage, so that its libraries load while other workers start, and keep OpenCV to one thread."""
    importlib.import_module(f"auflow.stages.{_MODULES[role]}")
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def ensure_kernels(models_root: Path, settings: StageSettings) -> None:
    """Return when the kernels of both stages that have some are compiled, by whomsoever."""

    kernel_cache.ensure_kernels(settings.model, partial(compile_kernels, models_root, settings.model))


def open_source(path: Path) -> Source:
    """The decoder of one input."""
    from auflow.stages.decode import open_source as open_real_source

    return open_real_source(path)


def make_detector(models_root: Path) -> MtcnnDetector:
    """The face detector."""
    from auflow.stages.detect import MtcnnDetector

    return MtcnnDetector(models_root)


def make_clnf(models_root: Path, settings: StageSettings) -> ClnfStage:
    """The landmark fitter."""
    from auflow.stages.clnf import ClnfStage

    return _made.pop("clnf", None) or ClnfStage(models_root, settings)


def make_au(models_root: Path, settings: StageSettings) -> AuStage:
    """The AU predictor."""
    from auflow.stages.au import AuStage

    return _made.pop("au", None) or AuStage(models_root, settings)


def make_sink(output: Path, settings: StageSettings, info: SourceInfo) -> ResultSink:
    """Where the results of one stream go."""
    from auflow.stages.sink import ResultSink

    return ResultSink(output, settings, info)
