"""Makes the real stages for the worker processes. Each function imports only what its role needs.

A worker is told the name of this module, so that tests can give it another one with the same functions.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings

if TYPE_CHECKING:
    from auflow.stages.au import AuStage
    from auflow.stages.clnf import ClnfStage
    from auflow.stages.decode import Source
    from auflow.stages.detect import MtcnnDetector
    from auflow.stages.sink import ResultSink

__all__ = ["make_au", "make_clnf", "make_detector", "make_sink", "open_source", "prepare", "warm_up"]


def prepare(role: str) -> None:
    """Import the role's stage, so that its libraries load while other workers start, and keep OpenCV to one thread."""
    importlib.import_module(f"auflow.stages.{role}")
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def warm_up(role: str, models_root: Path) -> None:
    """Compile the kernels of the CLNF or AU stage, or load them from the cache."""
    importlib.import_module(f"auflow.stages.{role}").warm_up(models_root)


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

    return ClnfStage(models_root, settings)


def make_au(models_root: Path, settings: StageSettings) -> AuStage:
    """The AU predictor."""
    from auflow.stages.au import AuStage

    return AuStage(models_root, settings)


def make_sink(output: Path, settings: StageSettings, info: SourceInfo) -> ResultSink:
    """Where the results of one stream go."""
    from auflow.stages.sink import ResultSink

    return ResultSink(output, settings, info)
