"""What becomes of a live stream's results in the sink: the live bus, JSON lines, and the CSV of each segment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import numpy as np

from auflow.errors import OutputError
from auflow.flow.job import LiveJob, StreamJob
from auflow.flow.process import Shell
from auflow.flow.topology import bus_name
from auflow.stages.records import AU_INTENSITIES, Frame
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

__all__ = ["LiveOutput", "make_publisher"]

PROGRESS_S = 2.0
SHORTEST_S = 1.0  # that a number of frames per second is worth something after


def make_publisher(shell: Shell) -> BusPublisher | None:
    """The sink's end of the live bus, None where the service has none."""
    return BusPublisher(shell.context, shell.endpoint(bus_name())) if shell.config.bus is not None else None


class LiveOutput:
    """The results of one segment of a live stream. Nothing that fails here ends the stream."""

    def __init__(
        self, shell: Shell, kit: ModuleType | Any, start: m.StreamStart, job: StreamJob, publisher: BusPublisher | None
    ) -> None:
        assert job.live is not None
        self._shell = shell
        self._job = job
        self._live: LiveJob = job.live
        self._publisher = publisher
        self._stream, self._segment = start.stream, start.segment
        self._info = start.info
        self._lines: Any = None
        self._tally = RecentTally()
        self._seat = self._live.seat
        before = shell.ring.tally(self._seat)
        self._done, self._published = before.done, before.published
        self._frames = self._successes = self._faces = 0
        self._last: m.FrameReady | None = None
        self._next_progress_s = 0.0
        self._state = -1
        self._error: OutputError | None = None
        self._told_of_checkpoints = False
        output, resume = self._where(start)
        self._told_frames, self._told_s, self._fps = self._frames, time.monotonic(), 0.0
        self._output = output
        self._sink: Any = None
        with self._lines_may_fail():
            self._lines = kit.make_jsonl(_stamped(self._live.jsonl)) if self._live.jsonl else None
        with self._output_may_fail():
            self._sink = kit.make_live_sink(job, start.info, output, resume)

    def _where(self, start: m.StreamStart) -> tuple[str, bytes | None]:
        """The CSV of this segment, and the sink's part of the checkpoint that it goes on from."""
        if start.resume is not None:
            before = decode(start.resume.tally)
            if isinstance(before, m.SinkTally) and before.segment == start.segment:
                self._frames, self._successes = before.frames, before.successes
                return before.output, start.resume.sink
        return _stamped(self._job.output), None

    def add(self, record: m.AuReady, frame: Frame) -> None:
        """Take in one frame's results, publish them."""
        now = time.monotonic()
        ready, self._last = record.frame, record.frame
        if self._publisher is not None or self._lines is not None:
            moment = Moment(ready.index, ready.timestamp_s, ready.captured_s, ready.clock, now - ready.taken_s)
            for message in pack_result(self._job.name, self._published, moment, record.fits, record.aus):
                self._publish("result", message)
        if self._sink is not None and self._error is None:
            with self._output_may_fail():
                self._sink.add(frame, record.fits, record.aus)
        self._tally.written(ready.taken_s, record.fits)
        self._frames += 1
        self._faces = sum(fit.success for fit in record.fits)
        self._successes += self._faces > 0
        self._done += 1
        self._shell.ring.count(self._seat, done=self._done, published=self._published)

    def _publish(self, kind: str, message: bytes) -> None:
        self._published += 1
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
            self._publish("stream", pack_stream(self._job.name, self._published, time.time(), report, counts))
            self._shell.ring.count(self._seat, published=self._published)
        captured_s = self._last.captured_s if self._last else 0.0
        if now - self._told_s >= SHORTEST_S:
            self._fps = (self._frames - self._told_frames) / (now - self._told_s)
            self._told_frames, self._told_s = self._frames, now
        statistics = self._tally.statistics()
        self._shell.tell(
            m.StreamProgress(
                self._shell.name, self._stream, self._faces, self._fps, captured_s, clock, statistics, self._published
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
                self._shell.tell(m.Note(self._shell.name, self._stream, text))
            self._told_of_checkpoints = True

    def finish(self, end: m.StreamEnd) -> m.StreamWritten:
        """Write the segment's CSV; returns what the orchestrator is to be told."""
        output: str | None = None
        note = ""
        if self._sink is not None:
            with self._output_may_fail():
                path = self._sink.finish(end.table, last=end.last)
                output = None if path is None else str(path)
        difference = None if end.table is None else end.table.online_difference
        if output is not None and difference is not None:
            note = _told(difference)
        if self._publisher is not None or self._lines is not None:
            counts = {"in": end.decoded, "done": end.sent, "failed": end.failed, "dropped": end.dropped}
            message = pack_segment(
                self._job.name, self._published, time.time(), counts, output=output, difference=difference
            )
            self._publish("segment", message)
            self._shell.ring.count(self._seat, published=self._published)
        self.suspend()
        return m.StreamWritten(
            worker=self._shell.name,
            stream=self._stream,
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
            text = f"{self._job.name}: {error}; the stream goes on, its file ends here until the next segment"
            self._shell.tell(m.Note(self._shell.name, self._stream, text))

    @contextmanager
    def _lines_may_fail(self) -> Iterator[None]:
        """JSON lines for which there is no room are dropped, and that is told once."""
        try:
            yield
        except OutputError as error:
            self._shell.tell(m.Note(self._shell.name, self._stream, f"{self._job.name}: {error}"))

    def suspend(self) -> None:
        """Close all; what lies on the disk is for the next one to go on with."""
        if self._sink is not None:
            self._sink.suspend()
        if self._lines is not None:
            self._lines.close()
        self._sink = self._lines = None


def _stamped(pattern: str) -> str:
    """A path with the moment in it at which what it names is begun."""
    return pattern.replace("{start}", datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))


def _counts(tally: Tally) -> dict[str, int]:
    drops = {f"dropped.{reason}": getattr(tally, reason) for reason in ("superseded", "too_old", "paused")}
    return {"in": tally.decoded, "done": tally.done, "failed": tally.failed, "dropped": tally.dropped, **drops}


def _told(difference: Any) -> str:
    largest = int(np.argmax(difference))
    return (
        f"online against offline intensities: mean absolute difference {float(np.mean(difference)):.3f}, "
        f"largest {AU_INTENSITIES[largest]} {float(difference[largest]):.3f}"
    )
