"""What a live stream leaves on the disk: the CSV of each segment, and the checkpoint from which it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from auflow.errors import OutputError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink.checkpoint import CHECKPOINT, Checkpoint, Identity, SinkState, read_checkpoint, write_checkpoint
from auflow.stages.sink.result import ResultSink
from auflow.stages.sink.workspace import WorkFolder, writing

__all__ = ["LiveSink", "read_live_checkpoint"]

_CSV = "csv"  # the state of the segment's files, whose folder is another
_NO_FILES = SinkState(rows=0, row_bytes=0, hog_bytes=None, faces=None).pack()


def read_live_checkpoint(state: Path, identity: Identity) -> Checkpoint | str:
    """The last checkpoint of a live stream, or why there is none to go on from; its `sink` is for `LiveSink`."""
    found = read_checkpoint(state, identity)
    if isinstance(found, str):
        return found
    return Checkpoint(found.frames, found.states, found.states.get(_CSV, b""), found.extra)


class LiveSink:
    """The files of one segment of a live stream. The checkpoint lies apart from the CSV, which changes its name.

    Parameters
    ----------
    state : the checkpoint's folder lies beside this path
    output : path of the segment's CSV; None for none
    settings, info : of the stream
    identity : of the stream
    resume : `Checkpoint.sink`, to go on from there

    Raises
    ------
    OutputError
        A file cannot be written (also from every method).
    """

    def __init__(
        self,
        state: Path,
        output: Path | None,
        settings: StageSettings,
        info: SourceInfo,
        identity: Identity,
        resume: bytes | None = None,
    ) -> None:
        self._identity = identity
        self._csv: ResultSink | None = None
        self._offered = 0  # rows, also those that came after an error
        self._is_cut = False  # a row could not be written: what was before it is the file
        with writing(state):
            state.parent.mkdir(parents=True, exist_ok=True)
        self._work = WorkFolder(state, keep=True)
        try:
            if output is not None:
                with writing(output):
                    output.parent.mkdir(parents=True, exist_ok=True)
                self._csv = ResultSink(output, settings, info, resume or None)
                self._offered = self._csv.rows
        except BaseException:
            self._work.release()
            raise

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append the faces of one frame; of no further one after an error."""
        self._offered += len(fits)
        if self._csv is None or self._is_cut:
            return
        try:
            self._csv.add(frame, fits, aus)
        except OutputError:
            self._is_cut = True
            raise

    def checkpoint(self, frames: int, states: Mapping[str, bytes], extra: bytes) -> None:
        """Make this the place from which the stream can go on; see `ResultSink.checkpoint`."""
        own = {} if self._csv is None else {_CSV: self._csv.flush()}
        with writing(self._work / CHECKPOINT):
            write_checkpoint(self._work, Checkpoint(frames, {**states, **own}, _NO_FILES, extra), self._identity)

    def finish(self, table: AuTable | None) -> Callable[[], Path | None]:
        """Take no more frames. What is returned writes the segment's CSV and tells its path, None where there is none.

        It may be called in another thread. The checkpoint stays until the next one or `discard`: who dies meanwhile
        goes on with this segment.
        """
        csv, self._csv = self._csv, None
        if csv is None:
            return lambda: None
        if table is None:
            csv.discard()
            return lambda: None
        # The table has a row for each that was offered since the series began, the CSV perhaps only some in between.
        first = len(table.intensities) - self._offered
        rows = slice(max(0, first), max(0, first) + csv.rows)
        return partial(_write, csv, AuTable(table.intensities[rows], table.presences[rows], table.online_difference))

    def discard(self) -> None:
        """Leave nothing to go on from."""
        self._work.discard()
        self.suspend()

    def suspend(self) -> None:
        """Close all and leave it where it is."""
        if self._csv is not None:
            self._csv.suspend()
        self._csv = None
        self._work.release()


def _write(csv: ResultSink, table: AuTable) -> Path:
    try:
        return csv.finish(table)
    except OutputError:
        csv.suspend()
        raise
