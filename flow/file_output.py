"""What becomes of a file's results in the sink: its CSV and the files beside it, its checkpoints, its counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from auflow.errors import AuflowError, InputError, OutputError
from auflow.flow.job import StreamJob
from auflow.flow.process import Shell
from auflow.stages.records import Frame
from auflow.stages.statistics import StreamTally
from auflow.transport import messages as m
from auflow.transport.codec import decode, encode
from auflow.transport.faults import TransportError

__all__ = ["FileOutput"]

_RESUMABLE = "what was done before stays: free some space and go on with --resume"


class FileOutput:
    """The results of one file."""

    def __init__(self, shell: Shell, kit: ModuleType | Any, start: m.StreamStart, job: StreamJob) -> None:
        self._shell = shell
        self._stream = start.stream
        self.label = job.label
        self._sink: Any = None
        self._error: AuflowError | None = None
        self._has_checkpoint = start.resume is not None
        self._successes = self._failed = 0
        self._told_of_checkpoints = False
        self._tally = StreamTally()
        if start.resume is not None:
            before = decode(start.resume.tally)
            assert isinstance(before, m.SinkTally)
            self._successes, self._failed = before.successes, before.failed
            self._tally = StreamTally(before=before.statistics)
        with self._output_may_fail():
            self._sink = kit.make_sink(job, start.info, start.resume.sink if start.resume else None)

    def add(self, record: m.AuReady, frame: Frame) -> None:
        """Take in one frame's results."""
        self._tally.result_came()
        if self._error is None:
            with self._output_may_fail():
                self._sink.add(frame, record.fits, record.aus)
                self._tally.written(record.frame.taken_s, record.fits, record.aus, record.detections)
        self._successes += any(fit.success for fit in record.fits)
        self._failed += record.frame.failed

    def snapshot(self, marker: m.Snapshot) -> None:
        """Keep all states as a checkpoint; a disk that has no room for it leaves the last one as it is."""
        if self._error is not None or not self._sink.can_checkpoint:
            return
        tally = m.SinkTally(marker.frames, self._successes, self._failed, 0, "", self._tally.statistics())
        try:
            self._sink.checkpoint(marker.frames, {"clnf": marker.clnf, "au": marker.au}, encode(tally))
            self._has_checkpoint = True
        except OutputError as error:
            if not self._told_of_checkpoints:
                self._told_of_checkpoints = True
                self._shell.tell(m.Note(self._shell.name, self._stream, str(error)))

    def tell_progress(self) -> None:
        """The heartbeat says how far a file is."""

    def finish(self, end: m.StreamEnd) -> m.StreamWritten:
        """Write the files, or leave none; returns what the orchestrator is to be told."""
        output: str | None = None
        note, encoder = ("", None) if self._sink is None else (self._sink.note, self._sink.overlay_encoder)
        if self._error is None and end.error is not None:
            self._error = InputError(end.error)
        if end.failed != self._failed:
            raise TransportError(f"{self._shell.name}: expected {end.failed} failed frames, got {self._failed}")
        if end.kept:
            self.suspend()
        elif self._error is None and (end.sent > 0 or not end.interrupted):
            if end.table is None:
                raise TransportError(f"{self._shell.name}: expected the table of the offline pass, got none")
            with self._output_may_fail():
                output = str(self._sink.finish(end.table, interrupted=end.interrupted))
        self.abandon()
        error = self._error
        return m.StreamWritten(
            worker=self._shell.name,
            stream=self._stream,
            segment=0,
            last=True,
            output=output,
            frames=end.sent,
            failed=end.failed,
            dropped=end.dropped,
            successes=self._successes,
            corrupt=end.corrupt,
            interrupted=end.interrupted,
            error=None if error is None else str(error),
            exit_code=0 if error is None else error.exit_code,
            statistics=self._tally.statistics(),
            note=note,
            overlay_encoder=encoder if output is not None else None,
        )

    @contextmanager
    def _output_may_fail(self) -> Iterator[None]:
        """A full disk ends this input and not the others; what is left of it goes by unseen."""
        try:
            yield
        except OutputError as error:
            self._error = error
            if self._sink is not None and self._has_checkpoint:
                self._sink.suspend()
                self._sink = None
                self._error = OutputError(f"{error}; {_RESUMABLE}")
            self.abandon()
            self._shell.tell(m.StreamFailed(self._shell.name, self._stream))

    def abandon(self) -> None:
        """Leave no half file."""
        if self._sink is not None:
            self._sink.discard()
        self._sink = None

    def suspend(self) -> None:
        """The process ends in the middle: what lies on the disk is for the next one to go on with."""
        if self._sink is not None:
            self._sink.suspend()
        self._sink = None
