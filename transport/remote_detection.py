"""Detection on another host: as `auflow.transport.service`, but the pixels travel with the request, over TCP.

Beyond loopback both ends need keys (CurveZMQ). A server answers whoever is admitted; what is no request is counted,
told and dropped, and costs its sender nothing more than that.
"""

from __future__ import annotations

import socket as sockets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import zmq
from numpy.typing import NDArray

from auflow.transport.address import check_address, read_address, remove_socket
from auflow.transport.codec import decode, encode
from auflow.transport.curve import Gatekeeper
from auflow.transport.faults import MessageError, TransportError
from auflow.transport.keys import ClientKeys
from auflow.transport.link import DealerLink, bind, open_socket, suit_tcp
from auflow.transport.messages import Boxes, DetectRequest
from auflow.transport.refusals import Refusals
from auflow.transport.service import DetectClient

__all__ = ["RemoteDetectClient", "RemoteDetectServer"]

MAX_PICTURE_BYTES = 64 << 20  # 22 megapixels; a client can make us hold about four of them
_MAX_HEADER_BYTES = 4096  # it has a dozen numbers
_MAX_BOXES_BYTES = 1 << 20
# Of each client. An honest one has a single question, asked again when the answer is late; what comes beyond stays
# in its own memory. More would not make us faster, and all of them together have to fit into ours.
_WAITING_REQUESTS = 2
_WAITING_ANSWERS = 16  # of each client: then it does not read them
_KEPT_ANSWERS = 1024  # the last one of so many clients
_LOOK_AFTER_S = 5.0


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
        self._answers: OrderedDict[bytes, Boxes] = OrderedDict()  # to each client the last, the latest at the end
        if where.scheme == "ipc":
            _refuse_to_steal(address)
        self.socket = open_socket(context, zmq.ROUTER)
        suit_tcp(self.socket, where)
        for option, value in (
            (zmq.ROUTER_HANDOVER, 1),
            (zmq.MAXMSGSIZE, MAX_PICTURE_BYTES),  # of each part
            (zmq.RCVHWM, _WAITING_REQUESTS),
            (zmq.SNDHWM, _WAITING_ANSWERS),
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
        """Messages that were dropped because they were no requests, or their senders gone."""
        return self._refusals.count

    def receive(self) -> tuple[bytes, DetectRequest, NDArray[np.uint8]] | None:
        """Whom to answer, the request and its picture (h, w, 3), read-only; None when there is nothing to do.

        Takes one message at most, so that a flood of rubbish cannot keep the caller from its other work.
        """
        if self._gate is not None:
            self._gate.answer()
        try:
            parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        found = self._read(parts)
        if found is None:
            return None
        client, request, _ = found
        boxes = self._answers.get(client)
        if boxes is None or (boxes.stream, boxes.index) != (request.frame.stream, request.frame.index):
            return found
        # It was asked again while the picture waited or was worked on; or the answer was lost with a connection.
        self.answer(client, boxes)
        return None

    def _read(self, parts: list[bytes]) -> tuple[bytes, DetectRequest, NDArray[np.uint8]] | None:
        if len(parts) != 3 or len(parts[1]) > _MAX_HEADER_BYTES:
            self.refuse(f"a message of {len(parts)} parts and {sum(map(len, parts))} bytes (no request is like that)")
            return None
        client, payload, pixels = parts
        try:
            request = decode(payload)
        except MessageError as error:
            self.refuse(str(error))
            return None
        if not isinstance(request, DetectRequest):
            self.refuse(f"a {type(request).__name__} (a DetectRequest was expected)")
            return None
        shape = (request.frame.height_px, request.frame.width_px, 3)
        if min(shape) < 1 or shape[0] * shape[1] * 3 != len(pixels):
            self.refuse(f"a picture of {len(pixels)} bytes that should be {shape}")
            return None
        return client, request, np.frombuffer(pixels, np.uint8).reshape(shape)

    def refuse(self, what: str) -> None:
        """Count something that is passed over, and tell of it unless something was told a moment ago."""
        self._refusals.add(what)

    def answer(self, client: bytes, boxes: Boxes) -> None:
        """Send the faces to the one who asked, unless it is gone."""
        self._answers[client] = boxes
        self._answers.move_to_end(client)
        if len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        try:
            self.socket.send_multipart((client, encode(boxes)), zmq.NOBLOCK)
        except zmq.ZMQError:
            self.refuse("an answer: the one who asked is gone or does not read")

    def close(self) -> None:
        """Close the socket; the gate is its owner's."""
        self.socket.close()
        remove_socket(self.address)


def _refuse_to_steal(address: str) -> None:
    """ZeroMQ would take the path of a socket that is in use; raises `TransportError` when somebody listens there."""
    path = address.removeprefix("ipc://")
    with sockets.socket(sockets.AF_UNIX) as knocking:
        try:
            knocking.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            return  # nobody is there, or the path is none: binding it tells
    raise TransportError(f"{address}: expected a path of our own, got one where somebody listens; choose another")


class RemoteDetectClient(DetectClient):
    """A lane's connections to the detection processes of other hosts: each request brings its picture.

    Parameters
    ----------
    name : one that no other client has anywhere
    keys : ours and the servers', for addresses beyond loopback
    warn : called with a sentence when a host is away, at most every 10 s

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
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._keys = keys
        self._context = context
        self._name = name
        self._news = Refusals("detection", warn, now=clock)
        self._away: set[int] = set()  # links without a peer when we last looked
        self._look_after_s = clock() + _LOOK_AFTER_S
        super().__init__(context, endpoints, name, clock=clock, complain=complain)

    def _connect(
        self, _context: zmq.Context[zmq.Socket[bytes]], endpoints: Sequence[str], _name: str
    ) -> list[DealerLink]:
        return [self._link(number, endpoint) for number, endpoint in enumerate(endpoints)]

    def _link(self, number: int, endpoint: str) -> DealerLink:
        # Two addresses may lead to the same host: there, each needs a name of its own.
        name = f"{self._name}/{number}"
        return DealerLink(self._context, endpoint, name, keys=self._keys, max_message_bytes=_MAX_BOXES_BYTES)

    def ask(self, request: DetectRequest, bgr: NDArray[np.uint8]) -> None:
        """Send a request and its picture (h, w, 3) uint8, as soon as there is a host.

        Raises
        ------
        TransportError
            The picture is larger than any host takes.
        """
        if bgr.nbytes > MAX_PICTURE_BYTES:
            raise TransportError(
                f"detection: expected a picture of up to {MAX_PICTURE_BYTES} bytes for another host, got {bgr.shape}; "
                "leave workers.detectors_at out to find its faces on this machine"
            )
        # A copy: who asks may be told by another host before this one has read it, and go on.
        self._pixels = memoryview(bgr.tobytes())
        super().ask(request, bgr)

    def _send(self, request: DetectRequest) -> None:
        there = [(self._next + turn) % len(self._links) for turn in range(len(self._links))]
        self._next = next((number for number in there if self._has_peer(number)), self._next)
        super()._send(request)

    def receive(self, request: DetectRequest) -> Boxes | None:
        """The answer to `request`, None while there is none; asks again, and looks after the hosts, when it is time."""
        if self._clock() >= self._look_after_s:
            self._look_after()
        return super().receive(request)

    def _has_peer(self, number: int) -> bool:
        return bool(self._links[number].socket.poll(0, zmq.POLLOUT))

    def _look_after(self) -> None:
        """Renew the connections that have none for long: where keys were refused, ZeroMQ does not try again."""
        self._look_after_s = self._clock() + _LOOK_AFTER_S
        away = {number for number in range(len(self._links)) if not self._has_peer(number)}
        for number in away & self._away:
            old = self._links[number]
            old.close()
            self._links[number] = self._link(number, old.endpoint)
            self._news.say(f"nobody at {old.endpoint}: does `auflow detect` run there, and does it admit our keys?")
        self._away = away
