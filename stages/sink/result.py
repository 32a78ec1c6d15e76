"""All that one stream leaves: its CSV and, when asked for, the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import OutputError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink.csv_sink import CsvSink
from auflow.stages.sink.faces import AlignedFaces, HogSink
from auflow.stages.sink.paths import aligned_dir, hog_path, overlay_path

if TYPE_CHECKING:
    from auflow.stages.sink.overlay import OverlaySink

__all__ = ["ResultSink"]


class ResultSink:
    """The results of one stream.

    Parameters
    ----------
    output : path of the CSV; its folder exists
    settings : which files there are
    info : of the stream

    Raises
    ------
    OutputError
        A file cannot be written (also from every method).
    """

    def __init__(self, output: Path, settings: StageSettings, info: SourceInfo) -> None:
        self._csv = CsvSink(output, settings)
        self._hog: HogSink | None = None
        self._aligned: AlignedFaces | None = None
        self._overlay: OverlaySink | None = None
        try:
            self._open(output, settings, info)
        except OutputError:
            self.discard()
            raise

    def _open(self, output: Path, settings: StageSettings, info: SourceInfo) -> None:
        if settings.hog:
            self._hog = HogSink(hog_path(output))
        if settings.aligned:
            self._aligned = AlignedFaces(aligned_dir(output), pictures=settings.faces == "pictures")
        if settings.overlay:
            # FFmpeg's libraries are loaded only here.
            from auflow.stages.sink.overlay import OverlaySink

            self._overlay = OverlaySink(overlay_path(output), info, settings.camera)

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append the faces of one frame."""
        for fit, au in zip(fits, aus, strict=True):
            self._csv.add(fit, au)
            if self._hog is not None and au.hog is not None:
                self._hog.add(fit.accepted, au.hog)
            if self._aligned is not None and au.aligned is not None:
                self._aligned.add(fit.index, fit.face_id, au.aligned)
        if self._overlay is not None:
            self._overlay.add(frame, fits, aus)

    def finish(self, table: AuTable, *, interrupted: bool = False) -> Path:
        """Complete every file; returns the path of the CSV."""
        path = self._csv.finish(table, interrupted=interrupted)
        for sink in (self._hog, self._aligned, self._overlay):
            if sink is not None:
                sink.finish(interrupted=interrupted)
        return path

    def discard(self) -> None:
        """Leave no half file; without effect after `finish`."""
        for sink in (self._csv, self._hog, self._aligned, self._overlay):
            if sink is not None:
                sink.discard()
