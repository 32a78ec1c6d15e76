"""The live bus: sinks publish to a forwarder on the machine, and the forwarder to whoever listens outside.

    sink  PUB --ipc-->  XSUB [forwarder] XPUB  --tcp or ipc-->  SUB  listener

Nobody waits for anybody. Each connection has a bounded queue: a listener that is slow loses messages, and sees it in
`seq`. A topic is the stream's name, a zero byte, and the type of the message: no name is the beginning of another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import zmq

from auflow.transport.address import check_address, read_address, remove_socket
from auflow.transport.curve import Gatekeeper
from auflow.transport.faults import TransportError
from auflow.transport.link import bind
from auflow.transport.refusals import Refusals

__all__ = ["BusForwarder", "BusPublisher", "topic"]

_PUBLISHER_QUEUE = 1000  # messages of one sink that wait while the forwarder is busy or being made anew
_LISTENER_QUEUE = 1000  # messages of 1.5 kB that wait for one slow listener
_MAX_INNER_BYTES = 16 << 20
_MAX_SUBSCRIPTION_BYTES = 1024
_MAX_TOPICS = 10_000  # that all listeners together can ask for
_REBIND_S = 2.0
_AT_ONCE = 500  # messages of one direction per call, so that the caller's loop goes on under load


def topic(stream: str, kind: str = "") -> bytes:
    """The topic of messages of `kind` ("result", "stream", "segment"); without it, the prefix that all share.

    Raises
    ------
    TransportError
        The name has a zero byte in it.
    """
    if "\0" in stream:
        raise TransportError(f"{stream!r}: expected a stream's name without a zero byte")
    return f"{stream}\0{kind}".encode("utf-8", "surrogateescape")


class BusPublisher:
    """A sink's end; never blocks.

    Parameters
    ----------
    context : of this process
    endpoint : the forwarder's inner address; it may be bound later, or again
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.published = 0
        self.dropped = 0  # could not be sent: the queue to the forwarder was full
        self.socket = context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.LINGER, 200)
        self.socket.setsockopt(zmq.SNDHWM, _PUBLISHER_QUEUE)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)  # tells of a full queue, where it would drop in silence
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self.socket.connect(endpoint)

    def publish(self, topic: bytes, payload: bytes) -> bool:
        """Send or drop. What nobody has asked for goes nowhere and counts as published."""
        try:
            self.socket.send_multipart((topic, payload), zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1
            return False
        self.published += 1
        return True

    def close(self) -> None:
        """Close the socket; what waits gets a moment to leave."""
        self.socket.close()


class BusForwarder:
    """The process between the sinks and the world; the caller polls `sockets` and calls `forward`.

    Parameters
    ----------
    context : of this process
    inner : ipc:// address for the sinks
    outer : ipc:// or tcp:// address for listeners; beyond loopback only with `gate`
    gate : admits listeners of a tcp address by their keys
    warn : called with a sentence when something was refused, at most every 10 s

    Raises
    ------
    UsageError
        An address is none, or one beyond this machine without keys.
    TransportError
        An address is in use or cannot be bound.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        inner: str,
        outer: str,
        gate: Gatekeeper | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        check_address(outer, gate)
        self.forwarded = 0
        self._context = context
        self._gate = gate if read_address(outer).scheme == "tcp" else None
        self._refusals = Refusals("bus", warn)
        self._topics: set[bytes] = set()
        self._inner = context.socket(zmq.XSUB)
        self._inner.setsockopt(zmq.LINGER, 0)
        self._inner.setsockopt(zmq.RCVHWM, _PUBLISHER_QUEUE)
        self._inner.setsockopt(zmq.MAXMSGSIZE, _MAX_INNER_BYTES)
        bind(self._inner, inner)
        try:
            self._outer = self._open(outer)
        except TransportError:
            self._inner.close()
            raise
        self.address = self._outer.getsockopt_string(zmq.LAST_ENDPOINT)  # with the port that "*" became

    def _open(self, outer: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.XPUB)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.SNDHWM, _LISTENER_QUEUE)
        socket.setsockopt(zmq.XPUB_NODROP, 0)  # who is slow loses; nobody waits
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)  # all that a listener has to say
        socket.setsockopt(zmq.HANDSHAKE_IVL, 5_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15_000)
        socket.setsockopt(zmq.IPV6, int(read_address(outer).ipv6))
        if self._gate is not None:
            self._gate.secure(socket)
        bind(socket, outer)
        return socket

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """For polling, all for reading; ask again after each `forward`."""
        gate = [] if self._gate is None else [self._gate.socket]
        return [self._inner, self._outer, *gate]

    @property
    def topics(self) -> int:
        """How many different subscriptions there are now."""
        return len(self._topics)

    @property
    def refused(self) -> int:
        """How many messages were dropped because they were none of ours."""
        return self._refusals.count

    def forward(self) -> int:
        """Pass on what is there, and what listeners have asked for.

        Returns
        -------
        how many messages went out; those of a listener whose queue was full among them
        """
        if self._gate is not None:
            self._gate.answer()
        self._take_subscriptions()
        count = 0
        for _ in range(_AT_ONCE):
            try:
                parts = self._inner.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if len(parts) != 2:
                self._refusals.add(f"a message of {len(parts)} parts from a sink (2 were expected)")
                continue
            self._outer.send_multipart(parts, zmq.NOBLOCK)
            count += 1
        self.forwarded += count
        return count

    def _take_subscriptions(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                parts = self._outer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(parts) != 1 or parts[0][:1] not in (b"\0", b"\1"):
                self._refusals.add("a message that a listener sent (it can only subscribe)")
                continue
            self._subscribe(parts[0])
            if len(self._topics) > _MAX_TOPICS:
                self._start_over()
                return

    def _subscribe(self, request: bytes) -> None:
        change = self._topics.add if request[:1] == b"\1" else self._topics.discard
        change(request[1:])
        with suppress(zmq.Again):  # a sink that is this far behind hears it when it connects again
            self._inner.send(request, zmq.NOBLOCK)

    def _start_over(self) -> None:
        """Let go of all listeners: a queue per topic has no bound, and honest ones are back in a moment."""
        self._refusals.add(f"more than {_MAX_TOPICS} topics: all listeners have to connect again")
        for wanted in self._topics:
            with suppress(zmq.Again):
                self._inner.send(b"\0" + wanted, zmq.NOBLOCK)
        self._topics.clear()
        self._outer.unbind(self.address)
        self._outer.close(0)
        self._outer = self._reopened()

    def _reopened(self) -> zmq.Socket[bytes]:
        # libzmq lets go of the address in a thread of its own, a moment later.
        deadline_s = time.monotonic() + _REBIND_S
        while True:
            try:
                return self._open(self.address)
            except TransportError:
                if time.monotonic() >= deadline_s:
                    raise
            time.sleep(0.01)

    def close(self) -> None:
        """Close the sockets; the gate is its owner's."""
        self._inner.close()
        self._outer.close()
        remove_socket(self.address)
