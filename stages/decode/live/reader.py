"""A live source kept open by threads, with a mailbox of its newest picture."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from av.video.reformatter import VideoReformatter

from auflow.stages.decode.live.clock import Gaps, StreamClock
from auflow.stages.decode.live.machine import (
    Action,
    Close,
    Event,
    Happened,
    Open,
    Patience,
    SourceMachine,
    SourceState,
    Tell,
)
from auflow.stages.decode.live.mailbox import LiveCounts, LivePicture, Mailbox
from auflow.stages.decode.live.session import Decoded, Session
from auflow.stages.decode.live.spec import LiveSpec
from auflow.stages.decode.pixels import turn_deg

__all__ = ["LiveReader", "SourceEvent", "patience_of"]

# Events that no one fetches do not fill the memory; the oldest go.
MAX_EVENTS = 1000
LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """A transition of a source, or a fact about it; without any secret."""

    at_s: float  # monotonic
    state: SourceState
    reason: str
    transition: bool = True  # False: the state is as it was, and `reason` tells a fact


def patience_of(spec: LiveSpec) -> Patience:
    """The waits that belong to a source: a pipe may be silent for ever."""
    endless = spec.kind == "pipe"
    return Patience(
        stalled_after_s=spec.stalled_after_s,
        picture_timeout_s=float("inf") if endless else spec.read_timeout_s,
        first_picture_timeout_s=float("inf") if endless else spec.first_picture_timeout_s,
    )


class LiveReader:
    """One live source.

    One thread keeps the time; each connection is a thread of its own, which may outlive its being given up by the
    time-outs of the source. `take`, `events` and `LivePicture.write_into` belong to one thread, that of the caller.

    Parameters
    ----------
    first_index : of the first picture
    patience : the waits, from the source's time-outs when None
    random_unit : uniform numbers in [0, 1), for the jitter
    """

    def __init__(
        self,
        spec: LiveSpec,
        *,
        first_index: int = 1,
        patience: Patience | None = None,
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        self._spec = spec
        self._index = first_index - 1
        self._machine = SourceMachine(patience or patience_of(spec), finite=spec.finite, random=random_unit)
        self._changed = threading.Condition(threading.RLock())  # guards all that follows
        self._mailbox = Mailbox()
        self._events: deque[SourceEvent] = deque(maxlen=MAX_EVENTS)
        self._clock, self._gaps = StreamClock(), Gaps()
        self._session: Session | None = None
        self._ending: list[Session] = []
        self._connections = self._refused = self._faults = self._corrupt = self._lost = 0
        self._size: tuple[int, int] | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._awake = False
        self._reformatter = VideoReformatter()
        self._keeper = threading.Thread(target=self._keep_time, name=f"live {spec.name} timer", daemon=True)

    @property
    def spec(self) -> LiveSpec:
        """What is read."""
        return self._spec

    @property
    def state(self) -> SourceState:
        """Where the source stands."""
        return self._machine.state

    @property
    def counts(self) -> LiveCounts:
        """What became of the pictures, all of one moment."""
        with self._changed:
            box = self._mailbox
            return LiveCounts(
                decoded=box.decoded,
                taken=box.taken,
                superseded=box.superseded,
                too_old=box.too_old,
                paused=box.paused,
                waiting=int(box.waiting),
                corrupt=self._corrupt,
                lost=self._lost,
                reconnects=max(0, self._connections - 1),
                refused=self._refused,
                faults=self._faults,
            )

    def fileno(self) -> int:
        """A descriptor that is readable while a picture or an event waits; never read it."""
        return self._wake_read

    def start(self) -> None:
        """Connect, and stay connected."""
        self._keeper.start()
        self._feed(Happened.START)

    def take(self, max_age_s: float | None = None) -> LivePicture | None:
        """The newest picture, once; one that arrived longer ago than `max_age_s` is dropped and counted."""
        with self._changed:
            picture = self._mailbox.take(time.monotonic(), max_age_s)
            self._signal()
            return picture

    def events(self) -> list[SourceEvent]:
        """What has happened since the last call."""
        with self._changed:
            happened = list(self._events)
            self._events.clear()
            self._signal()
            return happened

    def pause(self) -> None:
        """Disconnect: a paused camera costs nothing. What waits in the mailbox counts as paused."""
        self._feed(Happened.PAUSE)

    def resume(self) -> None:
        """Connect again after a pause."""
        self._feed(Happened.RESUME)

    def stop(self, timeout_s: float) -> bool:
        """Disconnect for good; True when all threads have ended, which they do within the source's time-outs.

        Pictures and events that wait can still be fetched after it. Call it again to wait longer.
        """
        deadline_s = time.monotonic() + timeout_s
        self._feed(Happened.STOP)
        if self._keeper.ident is not None:
            self._keeper.join(max(0.0, deadline_s - time.monotonic()))
        with self._changed:
            ending = list(self._ending)
        ended = [session.join(deadline_s - time.monotonic()) for session in ending]
        return all(ended) and not self._keeper.is_alive()

    def close(self) -> None:
        """Give the descriptor back, after `stop`."""
        with self._changed:
            for fd in {self._wake_read, self._wake_write} - {-1}:
                os.close(fd)
            self._wake_read = self._wake_write = -1

    # What a session says comes in its own thread.

    def opened(self, session: Session, facts: str) -> None:
        """See `session.Listener`."""
        with self._changed:
            if session is not self._session:
                return
            self._connections += 1
            self._clock.connected()
            self._gaps.connected()
            self._feed(Happened.OPENED)
            self._note(facts)

    def restarted(self, session: Session) -> None:
        """See `session.Listener`."""
        with self._changed:
            if session is self._session:
                self._clock.connected()
                self._gaps.connected()

    def sender_time(self, session: Session, pts_s: float, unix_s: float) -> None:
        """See `session.Listener`."""
        with self._changed:
            if session is self._session:
                self._clock.sender_time(pts_s, unix_s)

    def damaged(self, session: Session) -> None:
        """See `session.Listener`."""
        with self._changed:
            self._corrupt += session is self._session

    def picture(self, session: Session, decoded: Decoded) -> None:
        """See `session.Listener`."""
        with self._changed:
            self._index += 1
            if session is not self._session:
                self._mailbox.refuse(paused=self._machine.state is SourceState.PAUSED)
                return
            self._lost += self._gaps.missing(decoded.pts_s)
            self._mailbox.put(self._dated(decoded))
            self._feed(Happened.PICTURE)
            self._signal()

    def ended(self, session: Session, kind: Happened, reason: str) -> None:
        """See `session.Listener`."""
        with self._changed:
            if session in self._ending:
                self._ending.remove(session)
            if session is not self._session:
                return
            self._refused += kind in (Happened.OPEN_FAILED, Happened.REFUSED)
            self._feed(kind, reason)

    def _dated(self, decoded: Decoded) -> LivePicture:
        frame = decoded.frame
        width, height = frame.width, frame.height
        clockwise_deg = turn_deg(frame)
        if clockwise_deg in (90, 270):
            width, height = height, width
        if self._size not in (None, (width, height)):
            self._note(f"pictures are {width}x{height} now")
        self._size = (width, height)
        stamp = self._clock.stamp(decoded.pts_s, arrived_s=decoded.arrived_s, arrived_unix_s=time.time())
        return LivePicture(
            index=self._index,
            timestamp_s=stamp.timestamp_s,
            captured_s=stamp.captured_s,
            clock=stamp.clock,
            taken_s=decoded.arrived_s,
            decoding_s=decoded.decoding_s,
            width_px=width,
            height_px=height,
            _frame=frame,
            _clockwise_deg=clockwise_deg,
            _reformatter=self._reformatter,
        )

    def _keep_time(self) -> None:
        with self._changed:
            while self._machine.state is not SourceState.STOPPED:
                deadline_s = self._machine.deadline_s
                wait_s = LONGEST_WAIT_S if deadline_s is None else deadline_s - time.monotonic()
                if wait_s > 0:
                    self._changed.wait(min(wait_s, LONGEST_WAIT_S))
                else:
                    self._feed(Happened.TIMER)

    def _feed(self, kind: Happened, reason: str = "") -> None:
        with self._changed:
            connected = self._session is not None
            for action in self._machine.handle(Event(kind, time.monotonic(), reason)):
                self._do(action)
            if kind is not Happened.PICTURE:  # a picture only moves the deadline away
                self._changed.notify_all()
            if kind in (Happened.READ_FAILED, Happened.END, Happened.TIMER) and connected and self._session is None:
                self._faults += self._machine.state is SourceState.BACKING_OFF

    def _do(self, action: Action) -> None:
        if isinstance(action, Open):
            self._connect()
        elif isinstance(action, Close):
            if self._session is not None:
                self._session.stop()
            self._session = None
        else:
            self._tell(action)
            self._changed.notify_all()

    def _connect(self) -> None:
        session = self._session = Session(self._spec, self)
        self._ending.append(session)
        try:
            session.start()
        except RuntimeError as error:  # the system has no thread left for us; later it may
            self.ended(session, Happened.OPEN_FAILED, str(error))

    def _tell(self, action: Tell) -> None:
        if action.state is SourceState.PAUSED:
            self._mailbox.pause()
        self._events.append(SourceEvent(time.monotonic(), action.state, action.reason))
        self._signal()

    def _note(self, fact: str) -> None:
        at_s, state = time.monotonic(), self._machine.state
        self._events.append(SourceEvent(at_s, state, fact, transition=False))
        self._signal()

    def _signal(self) -> None:
        """Make the descriptor readable exactly while something waits."""
        wanted = self._mailbox.waiting or bool(self._events)
        if wanted == self._awake or self._wake_read < 0:
            return
        self._awake = wanted
        with contextlib.suppress(BlockingIOError):
            if wanted:
                os.write(self._wake_write, b"\0")
            else:
                os.read(self._wake_read, 1)
