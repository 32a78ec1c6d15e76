"""One end of a connection that carries whole messages: ZeroMQ over `ipc`, and its twin in memory for tests.

Upstream binds a ROUTER, downstream connects a DEALER. A link has one peer; the service socket of detection, which
has many, is in `auflow.transport.service`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import zmq

from auflow.transport.faults import PeerGoneError, TransportError

__all__ = ["LINGER_MS", "DealerLink", "Link", "MemoryLink", "RouterLink", "memory_links", "new_context", "open_socket"]

LINGER_MS = 500  # a last message gets this long to leave a closing process


class Link(Protocol):
    """What `auflow.transport.edge` needs of a connection."""

    def send(self, payload: bytes) -> None:
        """Queue a message for the peer; raises `TransportError` when there is none."""

    def receive(self) -> bytes | None:
        """The next message, None when there is none now."""

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


class RouterLink:
    """The binding end. Its peer is the first that speaks; a second one is an error."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = open_socket(context, zmq.ROUTER)
        self._endpoint = endpoint
        self._peer: bytes | None = None
        self.socket.bind(endpoint)

    def send(self, payload: bytes) -> None:
        """Queue a message for the peer."""
        if self._peer is None:
            raise TransportError(f"{self._endpoint}: expected a peer before the first message, got none")
        try:
            self.socket.send_multipart((self._peer, payload), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise PeerGoneError(f"{self._endpoint}: the peer is gone: {error}") from error

    def receive(self) -> bytes | None:
        """The next message of the peer, None when there is none now."""
        try:
            parts = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        if len(parts) != 2 or self._peer not in (None, parts[0]):
            raise TransportError(f"{self._endpoint}: expected 2 parts from one peer, got {len(parts)} or a second peer")
        self._peer = parts[0]
        return parts[1]

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class DealerLink:
    """The connecting end; `identity` names it to the binding end."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, identity: str = "") -> None:
        self.socket = open_socket(context, zmq.DEALER)
        if identity:
            self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        self._endpoint = endpoint
        self.socket.connect(endpoint)

    def send(self, payload: bytes) -> None:
        """Queue a message for the peer."""
        try:
            self.socket.send(payload, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise PeerGoneError(f"{self._endpoint}: not connected: {error}") from error

    def receive(self) -> bytes | None:
        """The next message, None when there is none now."""
        try:
            return self.socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class MemoryLink:
    """One end of a pair in memory; bytes, order and errors as over ZeroMQ."""

    def __init__(self, inbox: deque[bytes], outbox: deque[bytes], *, binds: bool) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._knows_peer = not binds

    def send(self, payload: bytes) -> None:
        """Queue a message for the peer."""
        if not self._knows_peer:
            raise TransportError("memory: expected a peer before the first message, got none")
        self._outbox.append(payload)

    def receive(self) -> bytes | None:
        """The next message, None when there is none now."""
        if not self._inbox:
            return None
        self._knows_peer = True
        return self._inbox.popleft()

    def close(self) -> None:
        """Nothing to close."""


def memory_links() -> tuple[MemoryLink, MemoryLink]:
    """A connected pair: the binding (upstream) end and the connecting (downstream) end."""
    down: deque[bytes] = deque()
    up: deque[bytes] = deque()
    return MemoryLink(up, down, binds=True), MemoryLink(down, up, binds=False)
