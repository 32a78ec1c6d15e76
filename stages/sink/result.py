"""All that one stream leaves: its table and, when asked for, the files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import OutputError, StageError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    CheckpointError,
    Identity,
    SinkState,
    write_checkpoint,
)
from auflow.stages.sink.faces import AlignedFaces, HogSink
from auflow.stages.sink.paths import aligned_dir, hog_path, overlay_path
from auflow.stages.sink.provenance import Provenance, provenance_of
from auflow.stages.sink.table_sink import TableSink
from auflow.stages.sink.workspace import WorkFolder, writing

if TYPE_CHECKING:
    from auflow.stages.sink.overlay import OverlaySink

__all__ = ["ResultSink"]


class ResultSink:
    """The results of one stream. All that is unfinished lies in the hidden folder `.NAME.auflow` beside the output.

    Parameters
    ----------
    output : path of the CSV, after which the other files are named; its folder exists
    settings : which files there are
    info : of the stream
    resume : `Checkpoint.sink`, to go on from there; None begins, whatever an earlier run left
    identity : of the stream; None makes no checkpoints

    Raises
    ------
    OutputError
        A file cannot be written (also from every method), or another run writes this output.
    StateError
        `resume` is damaged.
    UsageError
        A file needs a package that is not there.
    """

    def __init__(
        self,
        output: Path,
        settings: StageSettings,
        info: SourceInfo,
        resume: bytes | None = None,
        *,
        identity: Identity | None = None,
    ) -> None:
        state = None if resume is None else SinkState.unpack(resume)
        self._output = output
        self._settings = settings
        self._info = info
        self._frames = 0 if state is None else state.frames
        self._identity = identity
        self._hog: HogSink | None = None
        self._aligned: AlignedFaces | None = None
        self._overlay: OverlaySink | None = None
        self._table: TableSink | None = None
        self._work = WorkFolder(output, keep=state is not None)
        try:
            self._open(settings, info, state)
        except BaseException:
            # What an earlier run left stays for another attempt.
            self.discard() if state is None else self.suspend()
            raise

    def _open(self, settings: StageSettings, info: SourceInfo, state: SinkState | None) -> None:
        output, work = self._output, self._work
        lost = None if state is None else state.lost_in(work.path)
        if lost is not None:
            raise OutputError(f"{output}: cannot be gone on with: {lost}; begin again, without --resume")
        self._table = TableSink(output, settings, work, None if state is None else state.rows)
        if settings.hog:
            self._hog = HogSink(hog_path(output), work.path, None if state is None else state.hog_bytes)
        if settings.aligned:
            pictures, last = settings.faces == "pictures", None if state is None else state.last_face
            self._aligned = AlignedFaces(aligned_dir(output), work.path, pictures=pictures, last=last)
        if settings.overlay:
            # FFmpeg's libraries are loaded only here.
            from auflow.stages.sink.overlay import OverlaySink

            self._overlay = OverlaySink(
                overlay_path(output),
                work.path,
                info,
                settings.camera,
                encoders=settings.overlay_encoders,
                labelled=settings.faces != "widest" or settings.identities,
            )

    @property
    def can_checkpoint(self) -> bool:
        """Whether `checkpoint` is possible: an encoder of video cannot be gone on with."""
        return self._overlay is None and self._identity is not None

    @property
    def overlay_encoder(self) -> str | None:
        """The encoder of the annotated video; None without one."""
        return None if self._overlay is None else self._overlay.encoder

    @property
    def note(self) -> str:
        """What the user should know of the files; mostly empty."""
        return "" if self._overlay is None else self._overlay.note

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append the faces of one frame."""
        self._frames += 1
        for fit, au in zip(fits, aus, strict=True):
            self._rows.add(fit, au)
            if self._hog is not None and au.hog is not None:
                self._hog.add(fit.accepted, au.hog)
            if self._aligned is not None and au.aligned is not None:
                self._aligned.add(fit.index, fit.face_id, au.aligned)
        if self._overlay is not None:
            self._overlay.add(frame, fits, aus)

    def checkpoint(self, frames: int, states: Mapping[str, bytes], extra: bytes = b"") -> None:
        """Make this the place from which the stream can go on after a kill.

        Parameters
        ----------
        frames : that the decoder gave so far; what came of them was added
        states : of the stages after them, by name
        extra : given back as it is

        Raises
        ------
        CheckpointError
            The last checkpoint stays good, and the stream can go on.
        StageError
            `can_checkpoint` is false.
        """
        if self._identity is None or not self.can_checkpoint:
            raise StageError(f"{self._output}: expected no checkpoint, for this output can have none; got one")
        try:
            state = Checkpoint(frames, states, self.flush(), extra)
            with writing(self._work / CHECKPOINT):
                write_checkpoint(self._work, state, self._identity)
        except OutputError as error:
            raise CheckpointError(f"no checkpoint after frame {frames}: {error}") from error

    def flush(self) -> bytes:
        """Have all so far on the disk; the state to go on from, for a checkpoint that is kept elsewhere."""
        self._rows.flush()
        if self._hog is not None:
            self._hog.flush()
        return self._state().pack()

    def _state(self) -> SinkState:
        hog, aligned = self._hog, self._aligned
        return SinkState(
            rows=self._rows.rows,
            row_bytes=self._rows.size,
            hog_bytes=None if hog is None else hog.size,
            faces=None if aligned is None else aligned.count,
            last_face=-1 if aligned is None else aligned.last,
            frames=self._frames,
        )

    @property
    def rows(self) -> int:
        """Rows of the table so far."""
        return self._rows.rows

    @property
    def _rows(self) -> TableSink:
        if self._table is None:
            raise StageError(f"{self._output}: expected an open output, got one that was ended")
        return self._table

    def finish(self, table: AuTable, *, interrupted: bool = False) -> Path:
        """Complete every file; returns the path of the table's first format, which gets its name last."""
        rows = self._rows
        rows.prepare(table, self._provenance(interrupted=interrupted))
        for sink in (self._hog, self._overlay):
            if sink is not None:
                sink.prepare()
        with writing(self._output):
            # From here on files leave the folder: there is nothing to go on from.
            (self._work / CHECKPOINT).unlink(missing_ok=True)
        for part in (self._hog, self._aligned, self._overlay):
            if part is not None:
                part.publish(interrupted=interrupted)
        path = rows.publish(interrupted=interrupted)
        self.discard()
        return path

    def _provenance(self, *, interrupted: bool) -> Provenance | None:
        if self._settings.formats == ("csv",):
            return None  # it has no place for it
        return provenance_of(
            self._settings, self._info, frames=self._frames, rows=self._rows.rows, interrupted=interrupted
        )

    def suspend(self) -> None:
        """Close everything and leave it where it is, for another `ResultSink` to go on from the last checkpoint."""
        self._close()
        self._work.release()

    def discard(self) -> None:
        """Leave no half file and nothing to go on from; without effect after `finish` and `suspend`."""
        self._close()
        self._work.discard()

    def _close(self) -> None:
        for part in (self._table, self._hog, self._overlay):
            if part is not None:
                part.close()
        self._table = None
