"""CurveZMQ on sockets: encryption, a server that is who it says, and clients that the server knows.

libzmq asks about every client that wants in over an `inproc` socket (ZAP, ZeroMQ's RFC 27). `Gatekeeper` answers
from the caller's own poll loop, so there is no thread to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq
from zmq.utils import z85

from auflow.transport.keys import ClientKeys, ServerKeys, admitted_clients
from auflow.transport.refusals import Refusals

__all__ = ["Gatekeeper", "secure_client"]

_ZAP = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_DOMAIN = b"auflow"
# How old may be what was read from the clients' folder; bounds what a stranger who knocks can make us read.
_MAX_AGE_S = 1.0
_MAX_AGE_UNKNOWN_S = 0.05  # for a key that is not in it: it may have been made a moment ago


class Gatekeeper:
    """Admits the clients that `keys.folder` knows to the server sockets of a context. One per context.

    While nobody calls `answer`, nobody new gets in, and connections of a server socket that was closed linger on.

    Parameters
    ----------
    context : of the sockets
    keys : the server's
    warn : called with a sentence when somebody was refused, at most every 10 s
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: ServerKeys,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.keys = keys
        self._refusals = Refusals("keys", warn)
        self._admitted: dict[bytes, str] = {}
        self._read_s = -_MAX_AGE_S
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ZAP)

    @property
    def refused(self) -> int:
        """How many handshakes were refused."""
        return self._refusals.count

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Make `socket` a CURVE server; before it binds."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.keys.secret)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.keys.public)
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)

    def answer(self) -> None:
        """Decide about all who knock now; call it whenever `socket` can be read."""
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._decide(parts)

    def _decide(self, parts: list[bytes]) -> None:
        # route, empty, version, request, domain, address, identity, mechanism, credentials...
        if len(parts) < 8:
            self._refusals.add("an unreadable question")
            return
        route, request, domain, address, mechanism = parts[0], parts[3], parts[4], parts[5], parts[7]
        name = self._name_of(parts[8]) if len(parts) == 9 and len(parts[8]) == 32 else None
        if (parts[2], domain, mechanism) == (_VERSION, _DOMAIN, b"CURVE") and name is not None:
            status, text, user = b"200", b"OK", name.encode()
        else:
            self._refusals.add(f"a client with an unknown key from {address.decode('ascii', 'replace')}")
            status, text, user = b"400", b"unknown key", b""
        self.socket.send_multipart((route, b"", _VERSION, request, status, text, user, b""), zmq.NOBLOCK)

    def _name_of(self, key: bytes) -> str | None:
        text = z85.encode(key)
        now_s = time.monotonic()
        if now_s - self._read_s >= (_MAX_AGE_S if text in self._admitted else _MAX_AGE_UNKNOWN_S):
            self._admitted, faults = admitted_clients(self.keys.folder)
            self._read_s = now_s
            for fault in faults:
                self._refusals.say(fault)
        return self._admitted.get(text)

    def close(self) -> None:
        """Close the socket; who knocks from now on is not answered."""
        self.socket.close()


def secure_client(socket: zmq.Socket[bytes], keys: ClientKeys) -> None:
    """Make `socket` a CURVE client; before it connects."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
