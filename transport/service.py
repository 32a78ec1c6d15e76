"""Detection as a service: many lanes ask, any detection worker answers. A request names a frame by its ring slot.

The service keeps nothing between requests. A client has one request under way and takes the workers in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import zmq

from auflow.transport.codec import decode, encode
from auflow.transport.faults import PeerGoneError, TransportError
from auflow.transport.link import DealerLink, open_socket
from auflow.transport.messages import Boxes, Credit, DetectRequest

__all__ = ["DetectClient", "DetectServer"]


class DetectServer:
    """The socket of one detection worker."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = open_socket(context, zmq.ROUTER)
        self._endpoint = endpoint
        self.clients: set[bytes] = set()  # who has greeted
        self.socket.bind(endpoint)

    def receive(self) -> tuple[bytes, DetectRequest] | None:
        """The next request and whom to answer, None when there is none now."""
        while True:
            try:
                client, payload = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            record = decode(payload)
            if isinstance(record, DetectRequest):
                return client, record
            if not isinstance(record, Credit):
                raise TransportError(f"{self._endpoint}: expected DetectRequest, got {type(record).__name__}")
            self.clients.add(client)

    def answer(self, client: bytes, boxes: Boxes) -> None:
        """Send the faces to the one who asked."""
        try:
            self.socket.send_multipart((client, encode(boxes)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise PeerGoneError(f"{self._endpoint}: the one who asked is gone: {error}") from error

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class DetectClient:
    """A lane's connections to all detection workers."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoints: Sequence[str], name: str) -> None:
        self._links = [DealerLink(context, endpoint, name) for endpoint in endpoints]
        self._next = 0

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """For polling."""
        return [link.socket for link in self._links]

    def open(self) -> None:
        """Greet every worker; all must be connected."""
        for link in self._links:
            link.send(encode(Credit(1)))

    def ask(self, request: DetectRequest) -> None:
        """Send a request to the worker whose turn it is."""
        self._links[self._next].send(encode(request))

    def receive(self, request: DetectRequest) -> Boxes | None:
        """The answer to `request`, None while there is none."""
        payload = self._links[self._next].receive()
        if payload is None:
            return None
        record = decode(payload)
        frame = request.frame
        if not isinstance(record, Boxes) or (record.stream, record.index) != (frame.stream, frame.index):
            raise TransportError(
                f"detection: expected boxes of frame {frame.index} of stream {frame.stream}, got {record}"
            )
        self._next = (self._next + 1) % len(self._links)
        return record

    def close(self) -> None:
        """Close the sockets."""
        for link in self._links:
            link.close()
