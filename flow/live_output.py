"""What becomes of a live stream's results in the sink: the live bus, JSON lines, and the CSV of each segment."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from auflow.errors import OutputError
from auflow.flow.job import LiveJob, StreamJob
from auflow.flow.process import Shell
from auflow.flow.topology import bus_name, web_name
from auflow.stages.records import AU_INTENSITIES, Frame
from auflow.stages.settings import Format
from auflow.stages.sink.paths import table_path, work_path
from auflow.stages.statistics import RecentTally
from auflow.transport import messages as m
from auflow.transport.bus import BusPublisher, topic
from auflow.transport.codec import decode, encode
from auflow.transport.ring import SOURCE_STATES, Tally
from auflow.transport.schema import (
    Moment,
    StreamReport,
    pack_result,
    pack_segment,
    pack_stream,
    to_json_line,
    unpack_message,
)
from auflow.transport.viewing import ShownSender

__all__ = ["LiveOutput", "make_page", "make_publisher"]

PROGRESS_S = 2.0
SHORTEST_S = 1.0  # that a number of frames per second is worth something after


def make_publisher(shell: Shell) -> BusPublisher | None:
    """The sink's end of the live bus, None where the service has none."""
    return BusPublisher(shell.context, shell.endpoint(bus_name())) if shell.config.bus is not None else None


def make_page(shell: Shell) -> ShownSender | None:
    """The sink's end of the line to the live page, None where the service has none."""
    return ShownSender(shell.context, shell.endpoint(web_name())) if shell.config.web is not None else None


class LiveOutput:
    """The results of one segment of a live stream. Nothing that fails here ends the stream."""

    def __init__(
        self,
        shell: Shell,
        kit: ModuleType | Any,
        start: m.StreamStart,
        job: StreamJob,
        publisher: BusPublisher | None,
        page: ShownSender | None = None,
    ) -> None:
        assert job.live is not None
        self._shell = shell
        self._job = job
        self.label = job.label
        self._live: LiveJob = job.live
        self._publisher = publisher
        self._page = page
        self.stream, self._segment = start.stream, start.segment
        self._info = start.info
        self._lines: Any = None
        self._tally = RecentTally()
        self._seat = self._live.seat
        before = shell.ring.tally(self._seat)
        self._done = before.done
        self._frames = self._successes = self._faces = 0
        self._last: m.FrameReady | None = None
        self._next_progress_s = 0.0
        self._state = -1
        self._error: OutputError | None = None
        self._end: m.StreamEnd | None = None
        self._writer: threading.Thread | None = None
        self._written: Path | None = None
        self._told_of_checkpoints = False
        output, resume = self._where(start)
        self._told_frames, self._told_s, self._fps = self._frames, time.monotonic(), 0.0
        self._output = output
        self._sink: Any = None
        with self._lines_may_fail():
            self._lines = kit.make_jsonl(_stamped(self._live.jsonl)) if self._live.jsonl else None
        with self._output_may_fail():
            self._sink = self._make_sink(kit, resume)

    def _make_sink(self, kit: ModuleType | Any, resume: bytes | None) -> Any:
        """The files of this segment; others, where those that it should go on with are gone."""
        if resume:
            try:
                return kit.make_live_sink(self._job, self._info, self._output, resume)
            except OutputError as error:
                text = f"{self._job.name}: {error}; another file is begun"
                self._shell.tell(m.Note(self._shell.name, self.stream, text))
                self._output = self._new_output()
        return kit.make_live_sink(self._job, self._info, self._output, None)

    def _where(self, start: m.StreamStart) -> tuple[str, bytes | None]:
        """The CSV of this segment, and the sink's part of the checkpoint that it goes on from."""
        if start.resume is not None:
            before = decode(start.resume.tally)
            if isinstance(before, m.SinkTally) and before.segment == start.segment:
                self._frames, self._successes = before.frames, before.successes
                return before.output, start.resume.sink
        return self._new_output(), None

    def _new_output(self) -> str:
        return _stamped(self._job.output, self._job.settings.formats)

    def add(self, record: m.AuReady, frame: Frame) -> None:
        """Take in one frame's results, publish them."""
        now = time.monotonic()
        ready, self._last = record.frame, record.frame
        page = self._page if self._page is not None and self._page.wants(self._job.name) else None
        is_published = self._publisher is not None or self._lines is not None
        if is_published or page is not None:
            moment = Moment(ready.index, ready.timestamp_s, ready.captured_s, ready.clock, now - ready.taken_s)
            results = pack_result(self._job.name, self._seq(), moment, record.fits, record.aus)
            for message in results if is_published else ():
                self._publish("result", message)
            if page is not None and not ready.failed:
                page.show(self._job.name, results, frame.bgr, self._job.settings.camera)
        if self._sink is not None and self._error is None:
            with self._output_may_fail():
                self._sink.add(frame, record.fits, record.aus)
        self._tally.written(ready.taken_s, record.fits, record.aus, record.detections)
        self._frames += 1
        self._faces = sum(fit.success for fit in record.fits)
        self._successes += self._faces > 0
        self._done += 1
        self._shell.ring.count(self._seat, done=self._done)

    def _seq(self) -> int:
        """Of the next message: counted in the ring, for two segments of a stream may have something to say."""
        return self._shell.ring.tally(self._seat).published

    def _publish(self, kind: str, message: bytes) -> None:
        self._shell.ring.count(self._seat, published=self._seq() + 1)
        if self._publisher is not None:
            self._publisher.publish(topic(self._job.name, kind), message)
        if self._lines is not None:
            with self._lines_may_fail():
                self._lines.write(to_json_line(unpack_message(message)))

    def tell_progress(self) -> None:
        """Every few seconds, and when the source's state changes: to the orchestrator, and on the bus."""
        now = time.monotonic()
        tally = self._shell.ring.tally(self._seat)
        if now < self._next_progress_s and tally.state == self._state:
            return
        self._next_progress_s, self._state = now + PROGRESS_S, tally.state
        clock = self._last.clock if self._last else "arrival"
        report = StreamReport(
            SOURCE_STATES[tally.state], width_px=self._info.width_px, height_px=self._info.height_px, clock=clock
        )
        if self._publisher is not None or self._lines is not None:
            counts = _counts(tally)
            self._publish("stream", pack_stream(self._job.name, self._seq(), time.time(), report, counts))
        captured_s = self._last.captured_s if self._last else 0.0
        if now - self._told_s >= SHORTEST_S:
            self._fps = (self._frames - self._told_frames) / (now - self._told_s)
            self._told_frames, self._told_s = self._frames, now
        statistics = self._tally.statistics()
        self._shell.tell(
            m.StreamProgress(
                self._shell.name, self.stream, self._faces, self._fps, captured_s, clock, statistics, self._seq()
            )
        )

    def snapshot(self, marker: m.Snapshot) -> None:
        """Keep all states as a checkpoint."""
        if self._sink is None or self._error is not None:
            return
        statistics = self._tally.statistics()
        tally = m.SinkTally(self._frames, self._successes, 0, self._segment, self._output, statistics)
        try:
            self._sink.checkpoint(marker.frames, {"clnf": marker.clnf, "au": marker.au}, encode(tally))
            self._told_of_checkpoints = False
        except OutputError as error:
            text = f"{self._job.name}: no checkpoint could be written: {error}"
            if not self._told_of_checkpoints:
                self._shell.tell(m.Note(self._shell.name, self.stream, text))
            self._told_of_checkpoints = True

    def finish(self, end: m.StreamEnd) -> m.StreamWritten | None:
        """Write the segment's CSV; returns what the orchestrator is to be told.

        In the middle of a stream a thread writes it, for that takes seconds and the next pictures are here: None, and
        `written` has it later.
        """
        self._end = end
        write = (lambda: None) if self._sink is None else self._sink.finish(end.table)
        if end.last:
            self._write(write)
            if self._sink is not None and (self._written is not None or self._error is None):
                self._sink.discard()
            return self._report(end)
        if self._sink is not None:
            self._sink.suspend()  # the folder of the checkpoint is the next segment's
        self._writer = threading.Thread(target=self._write, args=(write,), name=f"{self._job.name} csv", daemon=True)
        self._writer.start()
        return None

    def _write(self, write: Callable[[], Path | None]) -> None:
        try:
            self._written = write()
        except OutputError as error:
            self._error = error

    def written(self, *, wait: bool = False) -> m.StreamWritten | None:
        """What `finish` began, once it is done; at once or, with `wait`, then."""
        if self._writer is None or self._end is None or (self._writer.is_alive() and not wait):
            return None
        self._writer.join()
        return self._report(self._end)

    def _report(self, end: m.StreamEnd) -> m.StreamWritten:
        output = None if self._written is None else str(self._written)
        if output is None and self._error is not None:
            self._tell_error(self._error)
        difference = None if end.table is None else end.table.online_difference
        note = _told(difference) if output is not None and difference is not None else ""
        if self._publisher is not None or self._lines is not None:
            counts = {"in": end.decoded, "done": end.sent, "failed": end.failed, "dropped": end.dropped}
            message = pack_segment(
                self._job.name, self._seq(), time.time(), counts, output=output, difference=difference
            )
            self._publish("segment", message)
        self.suspend()
        return m.StreamWritten(
            worker=self._shell.name,
            stream=self.stream,
            segment=self._segment,
            last=end.last,
            output=output,
            frames=self._frames,
            failed=end.failed,
            dropped=end.dropped,
            successes=self._successes,
            corrupt=end.corrupt,
            interrupted=end.interrupted,
            error=None if self._error is None else str(self._error),
            exit_code=0 if self._error is None else self._error.exit_code,
            statistics=self._tally.statistics(),
            note=note,
        )

    @contextmanager
    def _output_may_fail(self) -> Iterator[None]:
        """A full disk costs the rest of this segment's file, and is told; the stream goes on."""
        try:
            yield
        except OutputError as error:
            self._error = error
            self._tell_error(error)

    def _tell_error(self, error: OutputError) -> None:
        text = f"{self._job.name}: {error}; the stream goes on, its file ends here until the next segment"
        self._shell.tell(m.Note(self._shell.name, self.stream, text))

    @contextmanager
    def _lines_may_fail(self) -> Iterator[None]:
        """JSON lines for which there is no room are dropped, and that is told once."""
        try:
            yield
        except OutputError as error:
            self._shell.tell(m.Note(self._shell.name, self.stream, f"{self._job.name}: {error}"))

    def suspend(self) -> None:
        """Close all; what lies on the disk is for the next one to go on with."""
        if self._sink is not None:
            self._sink.suspend()
        if self._lines is not None:
            self._lines.close()
        self._sink = self._lines = None


def _stamped(pattern: str, formats: Sequence[Format] = ("csv",)) -> str:
    """A path with the moment in it at which what it names is begun, and a number where that second has one already."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (pattern.replace("{start}", f"{stamp}-{number}" if number else stamp) for number in itertools.count())
    if "{start}" not in pattern:
        return pattern
    return next(name for name in names if not _is_taken(Path(name), formats))


def _is_taken(output: Path, formats: Sequence[Format]) -> bool:
    return work_path(output).exists() or any(table_path(output, form).exists() for form in formats)


def _counts(tally: Tally) -> dict[str, int]:
    drops = {f"dropped.{reason}": getattr(tally, reason) for reason in ("superseded", "too_old", "paused")}
    return {"in": tally.decoded, "done": tally.done, "failed": tally.failed, "dropped": tally.dropped, **drops}


def _told(difference: Any) -> str:
    largest = int(np.argmax(difference))
    return (
        f"online against offline intensities: mean absolute difference {float(np.mean(difference)):.3f}, "
        f"largest {AU_INTENSITIES[largest]} {float(difference[largest]):.3f}"
    )
