"""One connection to a live source, in a thread of its own: opens, decodes, delivers, closes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import av

from auflow.errors import InputError
from auflow.stages.decode.live.machine import Happened
from auflow.stages.decode.live.opening import Opened, explain, open_live
from auflow.stages.decode.live.spec import LiveSpec

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Decoded", "Listener", "Session"]

# A decoder that finds nothing in so many pieces of data in a row will find nothing any more.
MAX_DAMAGED_IN_A_ROW = 1000
# AVProducerReferenceTime of libavutil: the unix time in microseconds first.
WALLCLOCK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded picture with what is known of its time."""

    frame: VideoFrame
    pts_s: float | None
    arrived_s: float  # monotonic
    decoding_s: float = 0.0


class Listener(Protocol):
    """Hears what happens, in the session's thread."""

    def opened(self, session: Session, facts: str) -> None:
        """Connected; `facts` tells decoder and size."""

    def sender_time(self, session: Session, pts_s: float, unix_s: float) -> None:
        """The sender's wall clock at a time stamp."""

    def restarted(self, session: Session) -> None:
        """The time stamps begin anew: a file is read again."""

    def picture(self, session: Session, decoded: Decoded) -> None:
        """A picture."""

    def damaged(self, session: Session) -> None:
        """Data that gave no picture, or only a repaired one."""

    def ended(self, session: Session, kind: Happened, reason: str) -> None:
        """The last call: nothing is open any more."""


class Session:
    """A connection. `stop` asks it to end; it does at its next packet or time-out."""

    def __init__(self, spec: LiveSpec, listener: Listener) -> None:
        self._spec = spec
        self._listener = listener
        self._stop = threading.Event()
        self._open = False
        self._damaged = 0  # in a row
        self._thread = threading.Thread(target=self._run, name=f"live {spec.name}", daemon=True)

    def start(self) -> None:
        """Connect."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended within so long."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def _run(self) -> None:
        kind, reason, began_s = Happened.READ_FAILED, "", time.monotonic()
        try:
            kind, reason = self._receive()
        # What a camera sends must not end the program, whatever it makes FFmpeg or PyAV raise.
        except Exception as error:  # noqa: BLE001
            late = not self._open and time.monotonic() - began_s >= self._spec.open_timeout_s
            reason, refused = explain(self._spec, error, late=late)
            kind = Happened.READ_FAILED if self._open else Happened.REFUSED if refused else Happened.OPEN_FAILED
        self._listener.ended(self, kind, reason)

    def _receive(self) -> tuple[Happened, str]:
        opened = open_live(self._spec, self._stop.is_set)
        try:
            if self._stop.is_set():
                return Happened.END, ""
            self._open = True
            self._listener.opened(self, opened.facts)
            while self._read_through(opened) and self._spec.loop and not self._stop.is_set():
                opened.container.seek(0)
                self._listener.restarted(self)
        finally:
            opened.container.close()
        return Happened.END, "the source ended" if self._spec.finite else "the server ended the stream"

    def _read_through(self, opened: Opened) -> bool:
        """Read to the end; whether there was a picture."""
        began_s, first_s, count = time.monotonic(), None, 0
        for packet in self._packets(opened):
            self._reference(packet, opened.time_base)
            began_decoding_s = time.monotonic()
            frames = self._decode(packet)
            decoding_s = (time.monotonic() - began_decoding_s) / max(1, len(frames))
            for frame in frames:
                pts_s = float(frame.pts * opened.time_base) if opened.timed and frame.pts is not None else None
                if self._spec.kind == "file" and pts_s is not None:
                    first_s = pts_s if first_s is None else first_s
                    self._stop.wait(began_s + pts_s - first_s - time.monotonic())
                if self._stop.is_set():
                    return False
                count += 1
                self._listener.picture(self, Decoded(frame, pts_s, time.monotonic(), decoding_s))
        return count > 0

    def _packets(self, opened: Opened) -> Iterator[Packet[VideoStream]]:
        while True:
            try:
                for packet in opened.container.demux(opened.stream):
                    if self._stop.is_set():
                        return
                    yield packet
                return
            except av.error.InvalidDataError:
                # A generator that raised is finished; a new one goes on from where the data was read to.
                self._count_damage()

    def _decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            self._count_damage()
            return []
        for frame in frames:
            self._damaged = 0
            if frame.is_corrupt:
                self._listener.damaged(self)
        return frames

    def _count_damage(self) -> None:
        self._damaged += 1
        self._listener.damaged(self)
        if self._damaged >= MAX_DAMAGED_IN_A_ROW:
            raise InputError(f"{self._damaged} damaged pieces of data in a row")

    def _reference(self, packet: Packet[VideoStream], time_base: Fraction) -> None:
        # FFmpeg attaches it to the packets of RTP streams from their first sender report on.
        if packet.pts is not None and packet.has_sidedata("prft"):
            wallclock_us = bytes(packet.get_sidedata("prft"))[:WALLCLOCK_BYTES]
            unix_s = int.from_bytes(wallclock_us, sys.byteorder, signed=True) / 1e6
            self._listener.sender_time(self, float(packet.pts * time_base), unix_s)
