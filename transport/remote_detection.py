"""Detection on another host: as `auflow.transport.service`, but the pixels travel with the request, over TCP.

Beyond loopback both ends need keys (CurveZMQ). A server answers whoever is admitted; what is no request is counted,
told and dropped, and costs its sender nothing more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import zmq
from numpy.typing import NDArray

from auflow.transport.address import check_address, read_address
from auflow.transport.codec import decode, encode
from auflow.transport.curve import Gatekeeper
from auflow.transport.faults import MessageError
from auflow.transport.keys import ClientKeys
from auflow.transport.link import DealerLink, bind, open_socket
from auflow.transport.messages import Boxes, DetectRequest
from auflow.transport.refusals import Refusals
from auflow.transport.service import DetectClient

__all__ = ["RemoteDetectClient", "RemoteDetectServer"]

MAX_REQUEST_BYTES = 64 << 20  # a picture of 21 megapixels
_MAX_BOXES_BYTES = 1 << 20
_WAITING_REQUESTS = 64  # of one client
_HEARTBEAT_MS, _SILENCE_MS = 2_000, 10_000


class RemoteDetectServer:
    """The socket of a detection process that others on the network ask.

    Parameters
    ----------
    context : of this process
    address : tcp:// or ipc://; beyond loopback only with `gate`
    gate : admits clients by their keys
    warn : called with a sentence when something was refused, at most every 10 s

    Raises
    ------
    UsageError
        The address is none, or one beyond this machine without keys.
    TransportError
        It cannot be bound.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        gate: Gatekeeper | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        check_address(address, gate)
        where = read_address(address)
        self._gate = gate if where.scheme == "tcp" else None
        self._refusals = Refusals("detection", warn)
        self.socket = open_socket(context, zmq.ROUTER)
        for option, value in (
            (zmq.ROUTER_HANDOVER, 1),
            (zmq.MAXMSGSIZE, MAX_REQUEST_BYTES),
            (zmq.RCVHWM, _WAITING_REQUESTS),
            (zmq.HANDSHAKE_IVL, 5_000),
            (zmq.HEARTBEAT_IVL, _HEARTBEAT_MS),
            (zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS),
            (zmq.IPV6, int(where.ipv6)),
        ):
            self.socket.setsockopt(option, value)
        if self._gate is not None:
            self._gate.secure(self.socket)
        bind(self.socket, address)
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)  # with the port that "*" became

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """For polling."""
        return [self.socket] if self._gate is None else [self.socket, self._gate.socket]

    @property
    def refused(self) -> int:
        """Messages that were dropped because they were no requests."""
        return self._refusals.count

    def receive(self) -> tuple[bytes, DetectRequest, NDArray[np.uint8]] | None:
        """Whom to answer, the request and its picture (h, w, 3); None when there is none now."""
        if self._gate is not None:
            self._gate.answer()
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            found = self._read(parts)
            if found is not None:
                return found

    def _read(self, parts: list[bytes]) -> tuple[bytes, DetectRequest, NDArray[np.uint8]] | None:
        if len(parts) != 3:
            self._refusals.add(f"a message of {len(parts)} parts (3 were expected)")
            return None
        client, payload, pixels = parts
        try:
            request = decode(payload)
        except MessageError as error:
            self._refusals.add(str(error))
            return None
        if not isinstance(request, DetectRequest):
            self._refusals.add(f"a {type(request).__name__} (a DetectRequest was expected)")
            return None
        shape = (request.frame.height_px, request.frame.width_px, 3)
        if min(shape) < 1 or shape[0] * shape[1] * 3 != len(pixels):
            self._refusals.add(f"a picture of {len(pixels)} bytes that should be {shape}")
            return None
        return client, request, np.frombuffer(pixels, np.uint8).reshape(shape)

    def answer(self, client: bytes, boxes: Boxes) -> None:
        """Send the faces to the one who asked, unless it is gone."""
        try:
            self.socket.send_multipart((client, encode(boxes)), zmq.NOBLOCK)
        except zmq.ZMQError:
            self._refusals.add("an answer: the one who asked is gone")

    def close(self) -> None:
        """Close the socket; the gate is its owner's."""
        self.socket.close()


class RemoteDetectClient(DetectClient):
    """A lane's connections to the detection processes of other hosts: each request brings its picture.

    Parameters
    ----------
    keys : ours and the servers', for addresses beyond loopback

    Raises
    ------
    UsageError
        An address is none, or one beyond this machine without keys.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoints: Sequence[str],
        name: str,
        *,
        keys: ClientKeys | None = None,
        clock: Callable[[], float] = time.monotonic,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._keys = keys
        super().__init__(context, endpoints, name, clock=clock, complain=complain)

    def _connect(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoints: Sequence[str], name: str
    ) -> list[DealerLink]:
        return [
            DealerLink(context, endpoint, name, keys=self._keys, max_message_bytes=_MAX_BOXES_BYTES)
            for endpoint in endpoints
        ]

    def ask(self, request: DetectRequest, bgr: NDArray[np.uint8]) -> None:
        """Send a request and its picture (h, w, 3) uint8, as soon as there is a host."""
        # A copy: who asks may be told by another host before this one has read it, and go on.
        self._pixels = memoryview(bgr.tobytes())
        super().ask(request, bgr)
