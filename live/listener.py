"""A subscriber of the live bus: messages of one stream or of all, and what its connection is going through."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from auflow.errors import UsageError
from auflow.transport.address import check_address, read_address
from auflow.transport.bus import topic
from auflow.transport.curve import secure_client
from auflow.transport.keys import ClientKeys, load_client_keys

__all__ = ["Listener"]

_QUEUE = 1000  # messages that wait for us; beyond that the bus drops for us
_MAX_BYTES = 16 << 20
_STRANGE = "the other end asks for keys (--keys) or takes none, or is no live bus"
_CONNECTED = "connected"
_EVENTS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: _CONNECTED,
    zmq.EVENT_CONNECT_RETRIED: "nobody answers there yet; trying again",
    zmq.EVENT_DISCONNECTED: "the connection is gone; trying again",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "these keys are not admitted (or the server's key is another one)",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: _STRANGE,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: _STRANGE,
}
# After these libzmq gives up, and we try again: the keys may be admitted later, another server may come.
_GIVEN_UP = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)
_AGAIN_S = 2.0


class Listener:
    """The connecting end of the bus.

    Parameters
    ----------
    address : tcp:// or ipc:// address of the bus
    stream : listen to this one only; None for all
    keys : folder of the client's keys, for an address beyond this machine

    Raises
    ------
    UsageError
        The address is none, or beyond this machine without keys; keys that cannot be used.
    """

    def __init__(self, address: str, stream: str | None = None, keys: Path | None = None) -> None:
        own = load_client_keys(keys) if keys is not None else None
        check_address(address, own)
        self.address = address
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1)
        self._socket = self._context.socket(zmq.SUB)
        self._monitor = self._socket.get_monitor_socket(sum(_EVENTS))
        self._suit(own)
        self._socket.subscribe(topic(stream) if stream is not None else b"")
        self._said = ""
        self._again_s: float | None = None
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"{address}: expected the address of a bus, cannot connect: {error}") from error

    def _suit(self, keys: ClientKeys | None) -> None:
        socket = self._socket
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, _QUEUE)
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15_000)
        where = read_address(self.address)
        socket.setsockopt(zmq.IPV6, int(where.ipv6))
        if keys is not None and where.scheme == "tcp":
            secure_client(socket, keys)

    def receive(self, timeout_s: float) -> bytes | None:
        """The next message's payload, None when none came in time (or something that is no message)."""
        if self._again_s is not None and time.monotonic() >= self._again_s:
            self._again_s = None
            with suppress(zmq.ZMQError):  # where libzmq has let go of it by itself
                self._socket.disconnect(self.address)
            self._socket.connect(self.address)
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        parts = self._socket.recv_multipart(zmq.NOBLOCK)
        return parts[1] if len(parts) == 2 else None

    def news(self) -> list[str]:
        """What has become of the connection since the last call; the same is not said twice in a row."""
        sentences = []
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            if event["event"] in _GIVEN_UP and self._again_s is None:
                self._again_s = time.monotonic() + _AGAIN_S
            if event["event"] == zmq.EVENT_DISCONNECTED and self._said != _CONNECTED:
                continue  # the end of an attempt that has been told
            if event["event"] == zmq.EVENT_CONNECT_RETRIED and self._said:
                continue
            sentence = _EVENTS.get(int(event["event"]))
            if sentence is not None and sentence != self._said:
                self._said = sentence
                sentences.append(f"{self.address}: {sentence}")
        return sentences

    def close(self) -> None:
        """Leave."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
        self._context.term()
