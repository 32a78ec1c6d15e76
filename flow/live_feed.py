"""A live source on its way into the ring: one picture with the stages at a time, the newest; drops happen only here."""

from __future__ import annotations

import dataclasses
import time
from types import ModuleType
from typing import Any

from auflow.flow.job import LiveJob, StreamJob
from auflow.flow.outlet import Outlet
from auflow.stages.decode.live import SourceState
from auflow.stages.decode.live.mailbox import LivePicture
from auflow.stages.decode.live.reader import LiveReader
from auflow.stages.records import SourceInfo
from auflow.transport import messages as m
from auflow.transport.codec import decode
from auflow.transport.ring import SOURCE_STATES

__all__ = ["LiveFeed"]


class LiveFeed:
    """One live stream of one lane.

    What becomes of its pictures is counted in the ring, where the counts outlive this process. Pictures that were
    with the stages when the lane died count as failed.
    """

    def __init__(self, outlet: Outlet, kit: ModuleType | Any, stream: int, job: StreamJob) -> None:
        assert job.live is not None
        self._outlet = outlet
        self._job = job
        self._live: LiveJob = job.live
        self.stream = stream
        before = outlet.ring.tally(self._live.seat)
        self._before = dataclasses.replace(before, failed=before.failed + max(0, before.under_way))
        outlet.ring.count(self._live.seat, failed=self._before.failed, sent=0)
        self._is_new = before.decoded == 0  # to this service
        self._resume, self._segment, self._recorded = self._read_checkpoint(kit)
        self._reader: LiveReader = kit.open_live(job, first_index=before.decoded + 1)
        self._reading = False
        self._reason = ""  # of the source's last transition
        self._held: LivePicture | None = None  # taken from the reader, waits for a larger ring
        self._superseded = self._too_old = self._unwanted = 0  # of those taken, dropped after all
        self._size_bytes = 0
        self._info: SourceInfo | None = None  # of the last segment
        self._sent = self._sent_before = self._dropped_before = 0  # all; before this segment
        self._blocked = False
        self._offset_s: float | None = None  # of the reader's time to the stream's
        self.started = False
        self.ended = False
        self._segment_ends_s = self._checkpoint_s = float("inf")
        if self._live.paused:
            self._tell_source(SourceState.PAUSED, "on request")
        else:
            self.pause(False)

    def _read_checkpoint(self, kit: ModuleType | Any) -> tuple[m.StreamState | None, int, bool]:
        """What the stages knew, the number of the segment, and whether it has a CSV."""
        if not self._job.resume:
            return None, 0, False
        found = kit.read_checkpoint(self._job)
        if isinstance(found, str):
            self._outlet.shell.tell(m.Note(self._outlet.shell.name, self.stream, found))
        if not isinstance(found, m.StreamState):
            return None, 0, False
        tally = decode(found.tally)
        assert isinstance(tally, m.SinkTally)
        # Frames of an edge count from its start.
        return dataclasses.replace(found, frames=0), tally.segment, bool(tally.output)

    @property
    def fd(self) -> int | None:
        """Readable when there is something to do; None while a picture could not be taken anyway."""
        return None if self._blocked else self._reader.fileno()

    def work(self) -> bool:
        """Send the newest picture if there is room for it; never waits."""
        if self.ended:
            return False
        self._tell_events()
        self._count()
        now = time.monotonic()
        if self.started and now >= self._segment_ends_s and self._outlet.edge.can_start:
            self._end(last=False)
        self._blocked = self._outlet.under_way(self.stream) > 0 or not self._outlet.has_room(self._size_bytes)
        picture = None if self._blocked else self._next_picture(now)
        if picture is not None:
            self._send(picture)
        elif self._reader.state is SourceState.STOPPED and not self._reader.counts.waiting and self._held is None:
            self._tell_events()  # it may have stopped since the last look: the reason is wanted
            self.end(error=None if self._before.decoded + self._reader.counts.decoded else self._reason)
        if now >= self._checkpoint_s:
            self._checkpoint_s = now + self._live.checkpoint_s
            sent = self._sent - self._sent_before
            self._outlet.edge.snapshot(m.Snapshot(self.stream, sent, b"", b""))
        return picture is not None

    def _next_picture(self, now_s: float) -> LivePicture | None:
        """The newest picture, once the ring is large enough for it and the stream has begun."""
        picture, held = self._reader.take(self._live.max_age_s), self._held
        if picture is None:
            picture = held
        elif held is not None:
            self._superseded += 1
        self._held = None
        if picture is None:
            return None
        if now_s - picture.taken_s > self._live.max_age_s:
            self._too_old += 1
            return None
        self._size_bytes = picture.width_px * picture.height_px * 3
        if not self._outlet.has_room(self._size_bytes) or not (self.started or self._start(picture, now_s)):
            self._blocked, self._held = True, picture
            return None
        return picture

    def _start(self, picture: LivePicture, now_s: float) -> bool:
        if not self._outlet.edge.can_start:
            return False
        shell = self._outlet.shell
        info = SourceInfo(self._job.name, "live", picture.width_px, picture.height_px, 0.0, None)
        start = m.StreamStart(self.stream, info, self._job.to_json(), self._segment, self._resume)
        self._outlet.edge.start(start)
        shell.tell(m.StreamOpened(shell.name, self.stream, info, 0))
        self._info, self._resume = info, None
        if self._is_new and self._recorded:
            # What a service has recorded that is gone is written out first: frames and times begin anew here.
            self._recorded = False
            self._end(last=False)
            return False
        self.started = True
        self._segment_ends_s = now_s + (self._live.rotate_s or float("inf"))
        self._checkpoint_s = now_s  # that of the segment before has gone with its rows
        return True

    def _send(self, picture: LivePicture) -> None:
        ring = self._outlet.ring
        slot = ring.acquire()
        assert slot is not None  # there was room, and only this process takes slots
        size = picture.height_px, picture.width_px
        self._outlet.shell.note(self.stream, picture.index)
        began_s = time.monotonic()
        picture.write_into(ring.array(slot, *size))
        converted_s = time.monotonic() - began_s
        frame = dataclasses.replace(
            self._outlet.frame(self.stream, slot, picture.index, self._stream_time(picture), size),
            taken_s=picture.taken_s,
            captured_s=picture.captured_s,
            clock=str(picture.clock),
        )
        # The decoder's own work was done in the reader's thread, and ended when the picture was there.
        began_s = picture.taken_s - picture.decoding_s
        self._outlet.shell.probe.worked("decode", began_s, picture.taken_s + converted_s, trace=frame.trace)
        self._count()  # first: the sink must not have done more than there was
        self._outlet.send(slot, frame)
        self._sent += 1
        ring.count(self._live.seat, sent=self._sent)
        self._outlet.shell.stream, self._outlet.shell.frames = self.stream, 0

    def _stream_time(self, picture: LivePicture) -> float:
        """The picture's time since the stream began, also when that was in a process that is gone."""
        if self._offset_s is None:
            origin_us = int(1e6 * (picture.taken_s - picture.timestamp_s))
            if self._before.origin_us == 0:
                self._outlet.ring.count(self._live.seat, origin_us=origin_us)
            self._offset_s = max(0.0, (origin_us - (self._before.origin_us or origin_us)) / 1e6)
        return picture.timestamp_s + self._offset_s

    def _tell_events(self) -> None:
        for event in self._reader.events():
            self._tell_source(event.state, event.reason, event.transition)

    def _tell_source(self, state: SourceState, reason: str, transition: bool = True) -> None:
        shell, number = self._outlet.shell, SOURCE_STATES.index(state.value)
        self._outlet.ring.count(self._live.seat, state=number)
        self._reason = reason if transition else self._reason
        shell.tell(m.SourceChanged(shell.name, self.stream, SOURCE_STATES[number], reason, transition))

    def _dropped(self) -> int:
        counts, own = self._reader.counts, self._superseded + self._too_old + self._unwanted
        return counts.superseded + counts.too_old + counts.paused + own

    def _count(self) -> None:
        counts, before = self._reader.counts, self._before
        self._outlet.ring.count(
            self._live.seat,
            decoded=before.decoded + counts.decoded - counts.waiting - (self._held is not None),
            superseded=before.superseded + counts.superseded + self._superseded,
            too_old=before.too_old + counts.too_old + self._too_old,
            paused=before.paused + counts.paused + self._unwanted,
            corrupt=before.corrupt + counts.corrupt,
            lost=before.lost + counts.lost,
            reconnects=before.reconnects + counts.reconnects,
        )

    def pause(self, paused: bool) -> None:
        """Let go of the source, or take it up again."""
        if paused:
            self._reader.pause()
        elif self._reading:
            self._reader.resume()
        else:
            self._reading = True
            self._reader.start()

    def drain(self) -> None:
        """Read no more."""
        self.end(interrupted=True)

    def end(self, *, interrupted: bool = False, error: str | None = None) -> None:
        """The last segment is over."""
        self._reader.stop(0.0)
        self._unwanted += self._held is not None
        self._unwanted += self._reader.take() is not None
        self._held = None
        self._tell_events()
        self._count()
        self.ended = True
        if not self.started and self._info is not None and self._outlet.edge.can_start:
            # Between two segments: the stages have to hear that it is over, with a last one that is empty.
            start = m.StreamStart(self.stream, self._info, self._job.to_json(), self._segment, None)
            self._outlet.edge.start(start)
            self.started = interrupted = True
        if self.started:
            self._end(last=True, interrupted=interrupted, error=error)
        else:
            self._outlet.shell.tell(m.StreamRefused(self._outlet.shell.name, self.stream, error))

    def _end(self, *, last: bool, interrupted: bool = False, error: str | None = None) -> None:
        sent, dropped = self._sent - self._sent_before, self._dropped() - self._dropped_before
        end = m.StreamEnd(
            stream=self.stream,
            sent=sent,
            decoded=sent + dropped,
            dropped=dropped,
            failed=0,
            corrupt=self._reader.counts.corrupt,
            interrupted=interrupted,
            kept=False,
            last=last,
            error=error,
            table=None,
        )
        self._outlet.edge.end(end)
        self._sent_before, self._dropped_before = self._sent, self._dropped()
        self._segment_ends_s = self._checkpoint_s = float("inf")
        self._segment += 1
        self.started = False
        if last:
            self._outlet.shell.tell(m.StreamDecoded(self._outlet.shell.name, self.stream, sent))

    def close(self) -> bool:
        """Let go of the source; False while a connection does not answer, which ends by its time-outs."""
        if not self._reader.stop(0.0):
            return False
        self._reader.close()
        return True
