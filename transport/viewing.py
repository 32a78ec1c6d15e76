"""What the sinks show to the live page: pictures with their results, of streams that somebody is looking at.

    sink  XPUB --ipc, in the run's folder-->  SUB  page

The page's process binds. A sink knows by the subscriptions which streams have viewers; of the others nothing is encoded
or sent. Nobody waits for the page: queues are bounded, and what does not fit is dropped and counted. A topic is the
stream's name and a zero byte, as on the live bus, where pictures never go.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgpack
import numpy as np
import zmq
from numpy.typing import NDArray

from auflow.transport.bus import topic
from auflow.transport.faults import TransportError
from auflow.transport.link import bind
from auflow.transport.refusals import Refusals

__all__ = ["PICTURES_PER_S", "Camera", "Shown", "ShownReceiver", "ShownSender"]

Camera: TypeAlias = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels of the frame

PICTURES_PER_S = 15.0  # of one stream; eyes need no more
MAX_WIDTH_PX = 640
JPEG_QUALITY = 75
PAUSE_S = 1.0  # without pictures, after the page's process was too busy for one
_QUEUE = 64  # frames of one sink that wait for the page's process
_MAX_BYTES = 4 << 20
_MAX_FACES = 64
_AT_ONCE = 64
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame as the page gets it."""

    stream: str
    width_px: int  # of the frame, which landmarks count in; the picture may be smaller
    height_px: int
    camera: Camera | None  # None: guessed by the frame's size
    results: tuple[bytes, ...]  # one message of the live bus for each face, see `auflow.transport.schema`
    jpeg: bytes  # empty for a frame that comes without its picture


class ShownSender:
    """A sink's end; never blocks.

    Parameters
    ----------
    context : of this process
    endpoint : where the page's process listens; it may be bound later, or again
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.sent = 0
        self.dropped = 0  # the queue to the page's process was full
        self._wanted: set[bytes] = set()
        self._due_s: dict[str, float] = {}  # of the next picture
        self.socket = context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # else the subscriptions of a page that has died would stay
        self.socket.setsockopt(zmq.SNDHWM, _QUEUE)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)  # tells of a full queue, where it would drop in silence
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self.socket.connect(endpoint)

    def wants(self, stream: str) -> bool:
        """Whether somebody looks at a stream."""
        while True:
            try:
                request = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return topic(stream) in self._wanted
            (self._wanted.add if request[:1] == b"\1" else self._wanted.discard)(request[1:])

    def show(self, stream: str, results: Sequence[bytes], bgr: NDArray[np.uint8], camera: Camera | None = None) -> bool:
        """Send a frame, with its picture where that is due, or drop it.

        Parameters
        ----------
        stream : one that somebody `wants`
        results : of its faces, packed by `auflow.transport.schema.pack_result`
        bgr : (h, w, 3) uint8, read only here
        camera : what poses are projected by

        Returns
        -------
        whether it was sent
        """
        height, width = bgr.shape[:2]
        jpeg = encode_picture(bgr) if self._is_due(stream) else b""
        head = msgpack.packb([_VERSION, width, height, camera, list(results)])
        try:
            self.socket.send_multipart((topic(stream), head, jpeg), zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1
            self._due_s[stream] = time.monotonic() + PAUSE_S
            return False
        self.sent += 1
        return True

    def _is_due(self, stream: str) -> bool:
        now, period_s = time.monotonic(), 1 / PICTURES_PER_S
        due_s = self._due_s.get(stream, now)
        if now < due_s:
            return False
        # Kept to the beat while it comes in time, so that 15 pictures a second that come unevenly are all shown.
        self._due_s[stream] = due_s + period_s if now - due_s < period_s else now + period_s
        return True

    def close(self) -> None:
        """Close the socket; what waits is not sent any more."""
        self.socket.close()


def encode_picture(bgr: NDArray[np.uint8]) -> bytes:
    """A picture as JPEG, up to 640 pixels wide; empty where it cannot be encoded.

    Parameters
    ----------
    bgr : (h, w, 3) uint8
    """
    import cv2

    height, width = bgr.shape[:2]
    if width > MAX_WIDTH_PX:
        size = MAX_WIDTH_PX, max(1, round(height * MAX_WIDTH_PX / width))
        bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    try:
        encoded, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    except cv2.error:  # higher than JPEG allows: the results are shown without it
        return b""
    return jpeg.tobytes() if encoded else b""


class ShownReceiver:
    """The page's end; the caller polls `socket`.

    Parameters
    ----------
    context : of this process
    endpoint : ipc:// address in the run's folder

    Raises
    ------
    TransportError
        It cannot be bound.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self._refusals = Refusals("the page", None)
        self._streams: frozenset[str] = frozenset()
        self.socket = context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, _QUEUE)
        self.socket.setsockopt(zmq.MAXMSGSIZE, _MAX_BYTES)
        bind(self.socket, endpoint)

    @property
    def refused(self) -> int:
        """How many messages were none of ours."""
        return self._refusals.count

    def want(self, streams: frozenset[str]) -> None:
        """Get the frames of these streams and no others."""
        for stream in streams - self._streams:
            self.socket.setsockopt(zmq.SUBSCRIBE, topic(stream))
        for stream in self._streams - streams:
            self.socket.setsockopt(zmq.UNSUBSCRIBE, topic(stream))
        self._streams = streams

    def receive(self) -> list[Shown]:
        """What has come; does not wait. What is none of ours is counted and dropped."""
        found: list[Shown] = []
        for _ in range(_AT_ONCE):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                found.append(_unpacked(parts))
            except TransportError as error:
                self._refusals.add(str(error))
        return found

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _unpacked(parts: Sequence[bytes]) -> Shown:
    if len(parts) != 3:
        raise TransportError(f"expected a topic, a head and a picture, got {len(parts)} parts")
    name, head, jpeg = parts
    try:
        version, width, height, camera, results = msgpack.unpackb(head, max_array_len=_MAX_FACES, max_map_len=0)
        stream = name.removesuffix(b"\0").decode()
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise TransportError(f"expected a frame for the page, got {type(error).__name__}") from error
    fits = version == _VERSION and type(width) is int and type(height) is int and isinstance(results, list)
    if not fits or not all(type(result) is bytes for result in results):
        raise TransportError(f"expected a frame for the page of version {_VERSION}, got something else")
    return Shown(stream, width, height, _camera(camera), tuple(results), jpeg)


def _camera(values: object) -> Camera | None:
    if not isinstance(values, list) or len(values) != 4 or not all(type(value) is float for value in values):
        return None
    fx, fy, cx, cy = values
    return fx, fy, cx, cy
