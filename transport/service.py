"""Detection as a service: many lanes ask, any detection worker answers. A request names a frame by its ring slot.

The service keeps nothing between requests. A client has one request under way and takes the workers in turn. Who
gets no answer asks again, the next worker: one may have died with the request, or be on its way back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import zmq
from numpy.typing import NDArray

from auflow.transport.codec import encode
from auflow.transport.edge import decode_or_drop
from auflow.transport.faults import PeerGoneError
from auflow.transport.link import DealerLink, open_socket
from auflow.transport.messages import Boxes, DetectRequest

__all__ = ["DetectClient", "DetectServer"]

FIRST_PATIENCE_S = 0.5  # then doubled: a large picture on a busy machine takes its time
NOBODY_THERE_S = 0.02


class DetectServer:
    """The socket of one detection worker."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, complain: Callable[[str], None] = lambda _: None
    ) -> None:
        self.socket = open_socket(context, zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a lane that was started anew has its old name
        self._complain = complain
        self.socket.bind(endpoint)

    def receive(self) -> tuple[bytes, DetectRequest] | None:
        """The next request and whom to answer, None when there is none now."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            record = decode_or_drop(parts[-1], self._complain)
            if len(parts) == 2 and isinstance(record, DetectRequest):
                return parts[0], record
            if record is not None:
                self._complain(f"detection: expected DetectRequest, got {type(record).__name__}")

    def answer(self, client: bytes, boxes: Boxes) -> None:
        """Send the faces to the one who asked, unless it is gone."""
        try:
            self.socket.send_multipart((client, encode(boxes)), zmq.NOBLOCK)
        except zmq.ZMQError:
            self._complain("detection: the one who asked is gone")

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class DetectClient:
    """A lane's connections to all detection workers.

    Parameters
    ----------
    clock : seconds, monotonic
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoints: Sequence[str],
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._links = self._connect(context, endpoints, name)
        self._next = 0
        self._clock = clock
        self._complain = complain
        self._ask_again_s = 0.0
        self._patience_s = 0.0
        self._pixels: memoryview | None = None  # that travel with the request
        self.repeated = 0  # requests that had to be asked again

    def _connect(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoints: Sequence[str], name: str
    ) -> list[DealerLink]:
        return [DealerLink(context, endpoint, name) for endpoint in endpoints]

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """For polling."""
        return [link.socket for link in self._links]

    def ask(self, request: DetectRequest, _bgr: NDArray[np.uint8]) -> None:
        """Send a request to the worker whose turn it is, as soon as there is one; it finds the picture in the ring."""
        self._patience_s = FIRST_PATIENCE_S
        self._send(request)

    def _send(self, request: DetectRequest) -> None:
        try:
            self._links[self._next].send(encode(request), self._pixels)
            self._ask_again_s = self._clock() + self._patience_s
            self._patience_s *= 2
        except PeerGoneError:
            self._ask_again_s = self._clock() + NOBODY_THERE_S

    @property
    def wait_s(self) -> float:
        """How long to wait for an answer before `receive` is called again."""
        return max(0.0, self._ask_again_s - self._clock())

    def receive(self, request: DetectRequest) -> Boxes | None:
        """The answer to `request`, None while there is none; asks again when it is time."""
        frame = request.frame
        for link in self._links:
            while (payload := link.receive()) is not None:
                record = decode_or_drop(payload, self._complain)
                # An answer to an earlier request was asked for twice.
                if isinstance(record, Boxes) and (record.stream, record.index) == (frame.stream, frame.index):
                    self._next = (self._next + 1) % len(self._links)
                    return record
        if self._clock() >= self._ask_again_s:
            self.repeated += 1
            self._next = (self._next + 1) % len(self._links)
            self._send(request)
        return None

    def close(self) -> None:
        """Close the sockets."""
        for link in self._links:
            link.close()
