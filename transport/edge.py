"""One edge of the flow: streams of frames in order, bounded by credits, each ended by a count that must agree.

    upstream                              downstream
      <--- Credit(n) ---                    grants room for n frames; the first grant is its greeting
      --- StreamStart, frames, Snapshots, StreamEnd -->
      <--- Ack(stream, sent) ---            after all of the stream was passed on

Several streams may be open at once; each is in order. Only frames cost credit. A stream may start while ended ones
are not acknowledged yet, so that its frames move while the receiver still finishes the old one; no more than
`MAX_UNACKNOWLEDGED` of them, so what is under way is bounded by the credit and a few messages. The rules are checked at
both ends; the link below only carries bytes. Bytes that are no message are counted, told and dropped: if one of them
was a frame, the counts at the end of its stream do not agree, and that is a fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from auflow.transport.codec import decode, encode
from auflow.transport.faults import MessageError, TransportError
from auflow.transport.link import Link
from auflow.transport.messages import Ack, AuReady, Credit, FitReady, FrameReady, Snapshot, StreamEnd, StreamStart

__all__ = ["EdgeReceiver", "EdgeSender", "decode_or_drop"]

MAX_UNACKNOWLEDGED = 2

FrameT = TypeVar("FrameT", bound=FrameReady | FitReady | AuReady)
Complain = Callable[[str], None]


def decode_or_drop(payload: bytes, complain: Complain) -> object | None:
    """The message in `payload`; None, after telling, where there is none in it."""
    try:
        return decode(payload)
    except MessageError as error:
        complain(str(error))
        return None


def _ignore(_text: str) -> None:
    """Nobody wants to know."""


class EdgeSender(Generic[FrameT]):
    """The upstream end.

    Parameters
    ----------
    link : the binding end
    name : of the edge, for errors
    complain : told of each message that is none
    """

    def __init__(self, link: Link, name: str, complain: Complain = _ignore) -> None:
        self._link = link
        self._name = name
        self._complain = complain
        self._credit = 0
        self._sent: dict[int, int] = {}  # frames of each open stream
        self._unacknowledged: deque[StreamEnd] = deque()
        self._greeted = False

    @property
    def connected(self) -> bool:
        """Whether the receiver has granted its first credit."""
        return self._greeted

    @property
    def credit(self) -> int:
        """How many frames may be sent now."""
        return self._credit

    @property
    def can_start(self) -> bool:
        """Whether a stream may start: there is a receiver, and it is not behind by too many."""
        return self._greeted and len(self._unacknowledged) < MAX_UNACKNOWLEDGED

    def pump(self) -> None:
        """Take in what the receiver has sent: credits and acknowledgements."""
        while (payload := self._link.receive()) is not None:
            record = decode_or_drop(payload, self._complain)
            if isinstance(record, Credit) and record.frames > 0:
                self._credit += record.frames
                self._greeted = True
            elif isinstance(record, Ack):
                self._acknowledged(record)
            elif record is not None:
                raise TransportError(f"{self._name}: expected Credit or Ack, got {record}")

    def _acknowledged(self, ack: Ack) -> None:
        end = self._unacknowledged.popleft() if self._unacknowledged else None
        if end is None or (ack.stream, ack.sent) != (end.stream, end.sent):
            raise TransportError(f"{self._name}: expected an acknowledgement of {end}, got {ack}")

    def start(self, start: StreamStart) -> None:
        """Open a stream; only when `can_start`."""
        if not self.can_start or start.stream in self._sent:
            raise TransportError(
                f"{self._name}: stream {start.stream} may not start: it is open, or "
                f"{len(self._unacknowledged)} are not acknowledged"
            )
        self._sent[start.stream] = start.resume.frames if start.resume else 0
        self._link.send(encode(start))

    def send(self, frame: FrameT) -> None:
        """Send a frame; only with `credit` left."""
        if self._credit < 1:
            raise TransportError(f"{self._name}: expected credit for a frame, got none")
        stream = _header(frame).stream
        if stream not in self._sent:
            raise TransportError(f"{self._name}: expected a frame of an open stream, got one of {stream}")
        self._credit -= 1
        self._sent[stream] += 1
        self._link.send(encode(frame))

    def snapshot(self, snapshot: Snapshot) -> None:
        """Send a marker between two frames of an open stream."""
        if self._sent.get(snapshot.stream) != snapshot.frames:
            raise TransportError(
                f"{self._name}: expected a snapshot after {self._sent.get(snapshot.stream)} frames of stream "
                f"{snapshot.stream}, got one after {snapshot.frames}"
            )
        self._link.send(encode(snapshot))

    def end(self, end: StreamEnd) -> None:
        """Close the stream. Its counts must agree with what was sent."""
        sent = self._sent.get(end.stream)
        if end.sent != sent or not _adds_up(end):
            raise TransportError(f"{self._name}: stream {end.stream}: sent {sent} frames, got {_counts(end)}")
        del self._sent[end.stream]
        self._unacknowledged.append(end)
        self._link.send(encode(end))


class EdgeReceiver(Generic[FrameT]):
    """The downstream end.

    Parameters
    ----------
    link : the connecting end
    name : of the edge, for errors
    window : how many frames may be under way, at least 1
    kind : the record of a frame on this edge
    complain : told of each message that is none
    """

    def __init__(self, link: Link, name: str, window: int, kind: type[FrameT], complain: Complain = _ignore) -> None:
        self._link = link
        self._name = name
        self._window = window
        self._kind = kind
        self._complain = complain
        self._granted = 0
        self._owed = 0
        self._received: dict[int, int] = {}  # frames of each open stream
        self._unfinished: deque[StreamEnd] = deque()

    def open(self) -> None:
        """Greet the sender with the whole window; the link must be connected."""
        self._grant(self._window)

    def _grant(self, frames: int) -> None:
        self._granted += frames
        self._link.send(encode(Credit(frames)))

    def receive(self) -> StreamStart | FrameT | Snapshot | StreamEnd | None:
        """The next message in order, None when there is none now.

        Raises
        ------
        TransportError
            A message that does not fit here, more frames than were granted, or counts that do not agree.
        """
        while (payload := self._link.receive()) is not None:
            record = decode_or_drop(payload, self._complain)
            if record is not None:
                return self._checked(record)
        return None

    def _checked(self, record: object) -> StreamStart | FrameT | Snapshot | StreamEnd:
        if isinstance(record, self._kind):
            return self._frame(record)
        if isinstance(record, StreamStart) and record.stream not in self._received:
            self._received[record.stream] = record.resume.frames if record.resume else 0
            return record
        if isinstance(record, Snapshot) and self._received.get(record.stream) == record.frames:
            return record
        if isinstance(record, StreamEnd) and record.stream in self._received:
            return self._end(record)
        raise TransportError(
            f"{self._name}: streams {sorted(self._received)}: got a {type(record).__name__} that does not fit here"
        )

    def _frame(self, record: FrameT) -> FrameT:
        frame = _header(record)
        if frame.stream not in self._received:
            raise TransportError(
                f"{self._name}: expected a frame of one of the streams {sorted(self._received)}, "
                f"got one of {frame.stream}"
            )
        if self._granted < 1:
            raise TransportError(f"{self._name}: expected no frame beyond the credit, got frame {frame.index}")
        self._granted -= 1
        self._received[frame.stream] += 1
        return record

    def _end(self, end: StreamEnd) -> StreamEnd:
        received = self._received[end.stream]
        if end.sent != received or not _adds_up(end):
            raise TransportError(
                f"{self._name}: stream {end.stream}: received {received} frames, but its end says {_counts(end)}"
            )
        del self._received[end.stream]
        self._unfinished.append(end)
        return end

    def done(self) -> None:
        """A frame was passed on: grant another. Grants travel in halves of the window to save messages."""
        self._owed += 1
        if 2 * self._owed >= self._window:
            self._grant(self._owed)
            self._owed = 0

    def acknowledge(self) -> None:
        """All of the stream that has ended first was passed on."""
        if not self._unfinished:
            raise TransportError(f"{self._name}: expected an ended stream to acknowledge, got none")
        end = self._unfinished.popleft()
        self._link.send(encode(Ack(end.stream, end.sent)))


def _header(frame: FrameReady | FitReady | AuReady) -> FrameReady:
    return frame if isinstance(frame, FrameReady) else frame.frame


def _adds_up(end: StreamEnd) -> bool:
    return end.decoded == end.sent + end.dropped and 0 <= end.failed <= end.sent


def _counts(end: StreamEnd) -> str:
    return f"{end.decoded} decoded = {end.sent} sent ({end.failed} of them failed) + {end.dropped} dropped"
