"""Makes the real stages for the worker processes. Each function imports only what its role needs.

A worker is told the name of this module, so that tests can give it another one with the same functions.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.options import Precision, overlay_path
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo

if TYPE_CHECKING:
    from auflow.stages.au import AuStage
    from auflow.stages.clnf import ClnfStage
    from auflow.stages.decode import Source
    from auflow.stages.detect import MtcnnDetector
    from auflow.stages.sink.overlay import OverlaySink

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


def make_clnf(models_root: Path) -> ClnfStage:
    """The landmark fitter."""
    from auflow.stages.clnf import ClnfStage

    return ClnfStage(models_root)


def make_au(models_root: Path) -> AuStage:
    """The AU predictor."""
    from auflow.stages.au import AuStage

    return AuStage(models_root)


class ResultSink:
    """The CSV of a stream, and beside it the annotated video if that was asked for."""

    def __init__(self, output: Path, precision: Precision, info: SourceInfo, overlay: bool) -> None:
        from auflow.stages.sink import CsvSink

        self._csv = CsvSink(output, precision=precision)
        self._overlay: OverlaySink | None = None
        if overlay:
            from auflow.stages.sink.overlay import OverlaySink

            self._overlay = OverlaySink(overlay_path(output), info)

    def add(self, frame: Frame, fit: FaceFit, au: AuFrame) -> None:
        """Append one face of one frame."""
        self._csv.add(fit, au)
        if self._overlay is not None:
            self._overlay.add(frame, fit, au)

    def finish(self, table: AuTable, *, interrupted: bool) -> Path:
        """Write both; returns the path of the CSV."""
        path = self._csv.finish(table, interrupted=interrupted)
        if self._overlay is not None:
            self._overlay.finish(interrupted=interrupted)
        return path

    def discard(self) -> None:
        """Leave no half file."""
        self._csv.discard()
        if self._overlay is not None:
            self._overlay.discard()


def make_sink(output: Path, precision: Precision, info: SourceInfo, overlay: bool) -> ResultSink:
    """Where the results of one stream go."""
    return ResultSink(output, precision, info, overlay)
