"""One edge of the flow: streams of frames in order, bounded by credits, each ended by a count that must agree.

    upstream                              downstream
      <--- Credit(n) ---                    grants room for n frames; the first grant is its greeting
      --- StreamStart, frames, StreamEnd -->
      <--- Ack(stream, frames) ---          after all of the stream was passed on

Only frames cost credit. A stream may start while the one before is not acknowledged yet, so that its frames move
while the receiver still finishes the old one; not more than that, so what is under way is bounded by the credit and
a few messages. The rules are checked at both ends; the link below only carries bytes.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from auflow.transport.codec import decode, encode
from auflow.transport.faults import TransportError
from auflow.transport.link import Link
from auflow.transport.messages import Ack, AuReady, Credit, FitReady, FrameReady, StreamEnd, StreamStart

__all__ = ["EdgeReceiver", "EdgeSender"]

MAX_UNACKNOWLEDGED = 2

FrameT = TypeVar("FrameT", bound=FrameReady | FitReady | AuReady)


class EdgeSender(Generic[FrameT]):
    """The upstream end.

    Parameters
    ----------
    link : the binding end
    name : of the edge, for errors
    """

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name
        self._credit = 0
        self._stream: int | None = None
        self._sent = 0
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
        """Whether a stream may start: there is a receiver, and it is not behind by more than one stream."""
        return self._greeted and self._stream is None and len(self._unacknowledged) < MAX_UNACKNOWLEDGED

    def pump(self) -> None:
        """Take in what the receiver has sent: credits and acknowledgements."""
        while (payload := self._link.receive()) is not None:
            record = decode(payload)
            if isinstance(record, Credit) and record.frames > 0:
                self._credit += record.frames
                self._greeted = True
            elif isinstance(record, Ack):
                self._acknowledged(record)
            else:
                raise TransportError(f"{self._name}: expected Credit or Ack, got {record}")

    def _acknowledged(self, ack: Ack) -> None:
        end = self._unacknowledged.popleft() if self._unacknowledged else None
        if end is None or (ack.stream, ack.frames) != (end.stream, end.frames):
            raise TransportError(f"{self._name}: expected an acknowledgement of {end}, got {ack}")

    def start(self, start: StreamStart) -> None:
        """Open a stream; only when `can_start`."""
        if not self.can_start:
            raise TransportError(
                f"{self._name}: stream {start.stream} may not start: one is open or two are not acknowledged"
            )
        self._stream, self._sent = start.stream, 0
        self._link.send(encode(start))

    def send(self, frame: FrameT) -> None:
        """Send a frame; only with `credit` left."""
        if self._credit < 1:
            raise TransportError(f"{self._name}: expected credit for a frame, got none")
        if self._stream is None:
            raise TransportError(f"{self._name}: expected an open stream, got a frame outside of one")
        self._credit -= 1
        self._sent += 1
        self._link.send(encode(frame))

    def end(self, end: StreamEnd) -> None:
        """Close the stream. Its counts must agree with what was sent."""
        if end.stream != self._stream or end.frames != self._sent or not _adds_up(end):
            raise TransportError(f"{self._name}: stream {self._stream}: sent {self._sent} frames, got {_counts(end)}")
        self._stream = None
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
    """

    def __init__(self, link: Link, name: str, window: int, kind: type[FrameT]) -> None:
        self._link = link
        self._name = name
        self._window = window
        self._kind = kind
        self._granted = 0
        self._owed = 0
        self._stream: int | None = None
        self._received = 0
        self._unfinished: StreamEnd | None = None

    def open(self) -> None:
        """Greet the sender with the whole window; the link must be connected."""
        self._grant(self._window)

    def _grant(self, frames: int) -> None:
        self._granted += frames
        self._link.send(encode(Credit(frames)))

    def receive(self) -> StreamStart | FrameT | StreamEnd | None:
        """The next message in order, None when there is none now.

        Raises
        ------
        TransportError
            A message that does not fit here, more frames than were granted, or counts that do not agree.
        """
        payload = self._link.receive()
        if payload is None:
            return None
        record = decode(payload)
        if isinstance(record, self._kind):
            return self._frame(record)
        if isinstance(record, StreamStart) and self._stream is None and self._unfinished is None:
            self._stream, self._received = record.stream, 0
            return record
        if isinstance(record, StreamEnd) and record.stream == self._stream:
            return self._end(record)
        raise TransportError(
            f"{self._name}: stream {self._stream}: got a {type(record).__name__} that does not fit here"
        )

    def _frame(self, record: FrameT) -> FrameT:
        frame: FrameReady = record if isinstance(record, FrameReady) else record.frame
        if frame.stream != self._stream:
            raise TransportError(f"{self._name}: expected a frame of stream {self._stream}, got one of {frame.stream}")
        if self._granted < 1:
            raise TransportError(f"{self._name}: expected no frame beyond the credit, got frame {frame.index}")
        self._granted -= 1
        self._received += 1
        return record

    def _end(self, end: StreamEnd) -> StreamEnd:
        if end.frames != self._received or not _adds_up(end):
            raise TransportError(
                f"{self._name}: stream {end.stream}: received {self._received} frames, but its end says {_counts(end)}"
            )
        self._stream, self._unfinished = None, end
        return end

    def done(self) -> None:
        """A frame was passed on: grant another. Grants travel in halves of the window to save messages."""
        self._owed += 1
        if 2 * self._owed >= self._window:
            self._grant(self._owed)
            self._owed = 0

    def acknowledge(self) -> None:
        """All of the ended stream was passed on."""
        if self._unfinished is None:
            raise TransportError(f"{self._name}: expected an ended stream to acknowledge, got none")
        self._link.send(encode(Ack(self._unfinished.stream, self._unfinished.frames)))
        self._unfinished = None


def _adds_up(end: StreamEnd) -> bool:
    return end.decoded == end.frames + end.dropped + end.failed


def _counts(end: StreamEnd) -> str:
    return f"{end.decoded} decoded = {end.frames} done + {end.dropped} dropped + {end.failed} failed"
