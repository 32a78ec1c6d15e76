"""A file (or folder of pictures, or pipe) on its way into the ring: lossless, resumable, with checkpoints."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from auflow.errors import InputError
from auflow.flow.job import StreamJob
from auflow.flow.outlet import Outlet
from auflow.transport import messages as m
from auflow.transport.codec import decode

__all__ = ["FileFeed"]

SKIP_AT_ONCE = 100  # pictures between two heartbeats
CHECKPOINT_SHARE = 0.02  # of the time so far: a checkpoint of a long stream takes longer, and may be further away


class FileFeed:
    """One file of one lane.

    Parameters
    ----------
    outlet : of the lane
    kit : makes the source
    stream, job : what is to be read

    Raises
    ------
    InputError
        It cannot be opened.
    """

    fd = None  # nothing to poll: a file always has something

    def __init__(self, outlet: Outlet, kit: ModuleType | Any, stream: int, job: StreamJob) -> None:
        self._outlet = outlet
        self._kit = kit
        self.stream = stream
        self._job = job
        self._source = kit.open_source(Path(job.source), stopped=self._is_drained if job.once else None)
        self._resume = self._read_checkpoint()
        self._skipped = 0
        self._sent = 0
        self._failed = 0
        self.started = False
        self.ended = False
        self._began_s = self._last_checkpoint_s = time.monotonic()

    def _is_drained(self) -> bool:
        """Show a sign of life while nothing comes through a pipe; whether to wait no longer."""
        shell = self._outlet.shell
        shell.wait((), 0.0)
        return any(isinstance(order, m.Drain) for order in shell.orders)

    def _read_checkpoint(self) -> m.StreamState | None:
        if not self._job.resume:
            return None
        found = self._kit.read_checkpoint(self._job)
        if isinstance(found, str):
            self._outlet.shell.tell(m.Note(self._outlet.shell.name, self.stream, found))
            return None
        state: m.StreamState | None = found
        return state

    def work(self) -> bool:
        """One piece of work; False when it has to wait."""
        if self.ended:
            return False
        try:
            return self._read_frame() if self.started else self._start()
        except InputError as error:
            self.end(error=str(error))
            return True

    def _start(self) -> bool:
        info, shell = self._source.info, self._outlet.shell
        goal = self._resume.frames if self._resume else 0
        if self._skipped < goal:
            return self._skip(min(SKIP_AT_ONCE, goal - self._skipped))
        size = info.width_px * info.height_px * 3
        if not self._outlet.edge.can_start or not self._outlet.has_room(size):
            return False
        self._outlet.edge.start(m.StreamStart(self.stream, info, self._job.to_json(), 0, self._resume))
        shell.tell(m.StreamOpened(shell.name, self.stream, info, goal))
        self._sent, self.started = goal, True
        self._failed = self._failed_before()
        self._began_s = self._last_checkpoint_s = time.monotonic()
        return True

    def _failed_before(self) -> int:
        """Frames before the checkpoint that nobody looked at: those it says, not those that were found out since."""
        before = decode(self._resume.tally) if self._resume else None
        return before.failed if isinstance(before, m.SinkTally) else 0

    def _skip(self, frames: int) -> bool:
        self._outlet.shell.note(self.stream, self._skipped + 1)
        if self._source.skip(frames) < frames:
            raise InputError(
                f"{self._job.name}: ends before frame {self._skipped + frames}, which was reached before the "
                f"interruption; it has changed meanwhile: run it anew, without --resume"
            )
        self._skipped += frames
        self._outlet.shell.progress += 1
        return True

    def _read_frame(self) -> bool:
        info, outlet = self._source.info, self._outlet
        if not outlet.has_room(info.width_px * info.height_px * 3):
            return False
        slot = outlet.ring.acquire()
        if slot is None:
            return False
        outlet.shell.note(self.stream, self._sent + 1)
        pixels = outlet.ring.array(slot, info.height_px, info.width_px)
        began_s = time.monotonic()
        try:
            got = self._source.read_into(pixels)
        except InputError:
            outlet.give_back(slot)
            raise
        if got is None:
            outlet.give_back(slot)
            self.end(interrupted=self._job.once and self._is_drained())
            return True
        index, timestamp_s = got
        frame = outlet.frame(self.stream, slot, index, timestamp_s, (info.height_px, info.width_px))
        outlet.shell.probe.worked("decode", began_s, frame.taken_s, trace=frame.trace, stream=self.stream, frame=index)
        if frame.index in self._job.quarantined:
            self._keep_picture(frame.index, pixels)
            frame = dataclasses.replace(frame, failed=True)
            self._failed += 1
        outlet.send(slot, frame)
        self._sent += 1
        outlet.shell.stream, outlet.shell.frames = self.stream, self._sent
        self._mark_checkpoint()
        return True

    def _keep_picture(self, index: int, pixels: Any) -> None:
        path = self._kit.keep_picture(self._job, index, pixels)
        text = f"{self._job.name}: frame {index} ended a worker twice; it counts as failed, its picture is {path}"
        self._outlet.shell.tell(m.Note(self._outlet.shell.name, self.stream, text))

    def _mark_checkpoint(self) -> None:
        """Send a checkpoint marker when it is time."""
        job, now = self._job, time.monotonic()
        rest_s = job.checkpoint_s + CHECKPOINT_SHARE * (now - self._began_s)
        # A pipe cannot be read from there again, an encoder of video cannot be gone on with.
        if not job.once and not job.settings.overlay and now - self._last_checkpoint_s > rest_s:
            self._last_checkpoint_s = now
            self._snapshot()

    def _snapshot(self) -> None:
        self._outlet.edge.snapshot(m.Snapshot(self.stream, self._sent, b"", b""))

    def drain(self) -> None:
        """Read no more: the end of what is done, or, of a job that is kept, the place to go on from."""
        if self._job.keep and self.started:
            self._snapshot()
        self.end(interrupted=True, kept=self._job.keep)

    def end(self, *, interrupted: bool = False, kept: bool = False, error: str | None = None) -> None:
        """Send the end of the stream; before it has begun, tell the orchestrator only."""
        shell, self.ended = self._outlet.shell, True
        if not self.started:
            shell.tell(m.StreamRefused(shell.name, self.stream, error))
            return
        end = m.StreamEnd(
            stream=self.stream,
            sent=self._sent,
            decoded=self._sent,
            dropped=0,
            failed=self._failed,
            corrupt=self._source.corrupt_frames,
            interrupted=interrupted,
            kept=kept,
            last=True,
            error=error,
            table=None,
        )
        self._outlet.edge.end(end)
        shell.tell(m.StreamDecoded(shell.name, self.stream, end.sent))

    def pause(self, _paused: bool) -> None:
        """A file waits for the stages anyway."""

    def close(self) -> bool:
        """Close the input; True: that is done."""
        self._source.close()
        return True
