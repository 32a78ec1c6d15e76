"""One end of a connection that carries whole messages over ZeroMQ; its twin in memory is in `auflow.transport.memory`.

Upstream binds a ROUTER, downstream connects a DEALER. A link has one peer; the service socket of detection, which
has many, is in `auflow.transport.service`. Over `ipc` the run's folder keeps strangers out. Over `tcp` anybody on the
machine, or with keys anybody admitted, can write to the binding end: what is no message of the peer is counted,
dropped and told, and its size is bounded.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

import zmq

from auflow.transport.address import Address, check_address, read_address
from auflow.transport.curve import Gatekeeper, secure_client
from auflow.transport.faults import PeerGoneError, TransportError
from auflow.transport.keys import ClientKeys
from auflow.transport.memory import MemoryLink, memory_links
from auflow.transport.refusals import Refusals

__all__ = [
    "LINGER_MS",
    "DealerLink",
    "Delivery",
    "Link",
    "MemoryLink",
    "RouterLink",
    "bind",
    "memory_links",
    "new_context",
    "open_socket",
    "suit_tcp",
]

LINGER_MS = 500  # a last message gets this long to leave a closing process
MAX_UPWARD_BYTES = 16 << 20  # what comes up an edge is small
MAX_DOWNWARD_BYTES = 256 << 20  # a picture, or the values of a whole stream
_RECEIVE_QUEUE = 32  # messages per TCP connection that wait for us; the rest waits in the sender
_HEARTBEAT_MS = 2_000
_SILENCE_MS = 10_000  # of a TCP peer: then it counts as gone, although nothing has closed the connection
_MAX_PARTS = 2


class Delivery(Protocol):
    """What became of pixels that were sent without a copy."""

    @property
    def done(self) -> bool:
        """Whether they are no longer needed and may be written over."""


class Link(Protocol):
    """What `auflow.transport.edge` needs of a connection."""

    def send(self, payload: bytes, pixels: memoryview | None = None) -> Delivery | None:
        """Queue a message for the peer; raises `TransportError` when there is none."""

    def receive(self) -> bytes | None:
        """The next message, None when there is none now; one that brings pixels is refused."""

    def receive_parts(self) -> tuple[bytes, memoryview | None] | None:
        """The next message and its pixels, None when there is none now."""

    def close(self) -> None:
        """Close this end; messages already sent still arrive."""


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """This process's ZeroMQ context: made after the spawn, never carried across a fork."""
    return zmq.Context(1)


def open_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    """A socket with every option set that decides whether messages can be lost or hang.

    IMMEDIATE: no queue for a peer that is not connected yet. Mandatory routing: a message for a peer that is gone
    is an error and not silence. No high-water mark: credits bound what is under way, and a mark would only drop.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    else:
        # The peer may bind a moment after we connect: try again soon.
        socket.setsockopt(zmq.RECONNECT_IVL, 5)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 20)
    return socket


def bind(socket: zmq.Socket[bytes], address: str) -> None:
    """Bind, or close the socket and say why not; raises `TransportError`."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise TransportError(f"{address}: cannot be bound: {error}; is another auflow using it?") from error


class RouterLink:
    """The binding end. Its peer is the first that speaks; what others send is refused.

    A peer that connects again under its identity takes the place of its former self.

    Parameters
    ----------
    context : of this process
    endpoint : ipc:// or tcp:// address; beyond loopback only with `gate`
    peer : identity of the only one that is taken as the peer; default: whoever speaks first
    gate : admits clients of a tcp address by their keys; the owner's loop polls it too (`sockets`)
    warn : called with a sentence when something was refused, at most every 10 s
    max_message_bytes : a longer message costs its sender the connection

    Raises
    ------
    UsageError
        The address is none, or one beyond this machine without keys.
    TransportError
        It is in use, or cannot be bound here.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        *,
        peer: str = "",
        gate: Gatekeeper | None = None,
        warn: Callable[[str], None] | None = None,
        max_message_bytes: int = MAX_UPWARD_BYTES,
    ) -> None:
        check_address(endpoint, gate)
        address = read_address(endpoint)
        self._gate = gate if address.scheme == "tcp" else None
        self._refusals = Refusals(endpoint, warn)
        self._expected = peer.encode()
        self._peer: bytes | None = None
        self.socket = open_socket(context, zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
        if address.scheme == "tcp":
            suit_tcp(self.socket, address)
        if self._gate is not None:
            self._gate.secure(self.socket)
        bind(self.socket, endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)  # with the port that "*" became

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """For polling."""
        return [self.socket] if self._gate is None else [self.socket, self._gate.socket]

    @property
    def refused(self) -> int:
        """How many messages were dropped: of a second peer, or of another form than ours."""
        return self._refusals.count

    def send(self, payload: bytes, pixels: memoryview | None = None) -> Delivery | None:
        """Queue a message for the peer; `pixels` (C-contiguous) must stay as they are until the delivery is `done`."""
        if self._peer is None:
            raise TransportError(f"{self.endpoint}: expected a peer before the first message, got none")
        try:
            if pixels is None:
                self.socket.send_multipart((self._peer, payload), zmq.NOBLOCK)
                return None
            return self.socket.send_multipart((self._peer, payload, pixels), zmq.NOBLOCK, copy=False, track=True)
        except zmq.ZMQError as error:
            raise PeerGoneError(f"{self.endpoint}: the peer is gone: {error}") from error

    def receive(self) -> bytes | None:
        """The next message of the peer, None when there is none now."""
        while (parts := self.receive_parts()) is not None:
            payload, pixels = parts
            if pixels is None:
                return payload
            self._refusals.add("a message with pixels, where none are expected")
        return None

    def receive_parts(self) -> tuple[bytes, memoryview | None] | None:
        """The next message of the peer and its pixels (read-only), None when there is none now."""
        if self._gate is not None:
            self._gate.answer()
        while True:
            try:
                sender = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return None
            # A message comes as a whole or not at all: its other parts are here.
            payload, pixels, count = _rest(self.socket) if self.socket.getsockopt(zmq.RCVMORE) else (b"", None, 0)
            if not 1 <= count <= _MAX_PARTS:
                self._refusals.add(f"a message of {count} parts (1 or 2 were expected)")
            elif self._peer is None and self._expected in (b"", sender):
                self._peer = sender
                return payload, pixels
            elif sender != self._peer:
                self._refusals.add(f"a second peer, {sender[:32]!r}")
            else:
                return payload, pixels

    def close(self) -> None:
        """Close the socket; the gate is its owner's."""
        self.socket.close()


class DealerLink:
    """The connecting end; `identity` names it to the binding end.

    It connects again by itself, but not after its keys were refused: then libzmq gives up, and sending is an error.

    Parameters
    ----------
    context : of this process
    endpoint : ipc:// or tcp:// address; beyond loopback only with `keys`
    identity : the binding end knows us by it when we connect again; default: a random one
    keys : ours and the server's, for a tcp address
    warn : called with a sentence when something was refused, at most every 10 s
    max_message_bytes : over tcp, a longer message costs the binding end the connection

    Raises
    ------
    UsageError
        The address is none, or one beyond this machine without keys.
    TransportError
        Nothing can be connected there: a path that is too long, a host that is none.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        identity: str = "",
        *,
        keys: ClientKeys | None = None,
        warn: Callable[[str], None] | None = None,
        max_message_bytes: int = MAX_DOWNWARD_BYTES,
    ) -> None:
        check_address(endpoint, keys)
        address = read_address(endpoint)
        self._refusals = Refusals(endpoint, warn)
        self.endpoint = endpoint
        self.socket = open_socket(context, zmq.DEALER)
        self.socket.setsockopt(zmq.IDENTITY, (identity or secrets.token_hex(8)).encode())
        if address.scheme == "tcp":
            suit_tcp(self.socket, address)
            self.socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
            self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
            self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            if keys is not None:
                secure_client(self.socket, keys)
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.socket.close(0)
            raise TransportError(f"{endpoint}: cannot connect: {error}") from error

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """For polling."""
        return [self.socket]

    @property
    def refused(self) -> int:
        """How many messages of another form than ours were dropped."""
        return self._refusals.count

    def send(self, payload: bytes, pixels: memoryview | None = None) -> Delivery | None:
        """Queue a message for the peer; `pixels` (C-contiguous) must stay as they are until the delivery is `done`."""
        try:
            if pixels is None:
                self.socket.send(payload, zmq.NOBLOCK)
                return None
            return self.socket.send_multipart((payload, pixels), zmq.NOBLOCK, copy=False, track=True)
        except zmq.ZMQError as error:
            raise PeerGoneError(f"{self.endpoint}: not connected: {error}") from error

    def receive(self) -> bytes | None:
        """The next message, None when there is none now."""
        while (parts := self.receive_parts()) is not None:
            payload, pixels = parts
            if pixels is None:
                return payload
            self._refusals.add("a message with pixels, where none are expected")
        return None

    def receive_parts(self) -> tuple[bytes, memoryview | None] | None:
        """The next message and its pixels (read-only), None when there is none now."""
        while True:
            try:
                payload, pixels, count = _rest(self.socket)
            except zmq.Again:
                return None
            if count <= _MAX_PARTS:
                return payload, pixels
            self._refusals.add(f"a message of {count} parts (1 or 2 were expected)")

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def suit_tcp(socket: zmq.Socket[bytes], address: Address) -> None:
    """Let go of who says nothing, and bound what waits; before the socket binds or connects."""
    socket.setsockopt(zmq.IPV6, int(address.ipv6))
    socket.setsockopt(zmq.RCVHWM, _RECEIVE_QUEUE)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5_000)  # who connects and says nothing is let go
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)


def _rest(socket: zmq.Socket[bytes]) -> tuple[bytes, memoryview | None, int]:
    """Payload, pixels and number of the parts that are left of a message; parts beyond ours are thrown away."""
    payload = socket.recv(zmq.NOBLOCK)
    pixels: memoryview | None = None
    count = 1
    while socket.getsockopt(zmq.RCVMORE):
        part = socket.recv(zmq.NOBLOCK, copy=False)
        count += 1
        if count == _MAX_PARTS:
            pixels = part.buffer.toreadonly()
    return payload, pixels, count
