"""A bus whose forwarder runs in a thread, as the worker's loop would run it, and what its tests wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from auflow.transport.bus import BusForwarder, BusPublisher, topic
from auflow.transport.curve import Gatekeeper
from auflow.transport.keys import ServerKeys


def until(condition: Callable[[], object], limit_s: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.002)


class Bus:
    """A forwarder and the loop around it."""

    def __init__(self, inner: str, outer: str = "tcp://127.0.0.1:*", keys: ServerKeys | None = None) -> None:
        self.context: Any = zmq.Context(1)
        self.said: list[str] = []
        self.gate = None if keys is None else Gatekeeper(self.context, keys, self.said.append)
        self.forwarder = BusForwarder(self.context, inner, outer, self.gate, self.said.append)
        self.address = self.forwarder.address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            poller = zmq.Poller()
            for socket in self.forwarder.sockets:
                poller.register(socket, zmq.POLLIN)
            poller.poll(20)
            self.forwarder.forward()

    def close(self) -> None:
        """End the loop, then close everything; may be called again."""
        self._stop.set()
        self._thread.join()
        self.forwarder.close()
        if self.gate is not None:
            self.gate.close()
        self.context.term()

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Publisher(BusPublisher):
    """A publisher with a context of its own, as in another process."""

    def __init__(self, endpoint: str) -> None:
        self._own: Any = zmq.Context(1)
        super().__init__(self._own, endpoint)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._own.term()


class Subscriber:
    """A plain SUB socket."""

    def __init__(self, address: str, prefix: bytes = b"", hwm: int = 1000) -> None:
        self._own: Any = zmq.Context(1)
        self.socket = self._own.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, hwm)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.subscribe(prefix)
        self.socket.connect(address)

    def next(self, limit_s: float = 10.0) -> list[bytes]:
        """The next message's parts."""
        assert self.socket.poll(int(limit_s * 1000)), f"nothing came within {limit_s} s"
        return self.socket.recv_multipart()  # type: ignore[no-any-return]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._own.term()


def heard(publisher: BusPublisher, subscriber: Subscriber, stream: str = "probe", limit_s: float = 10.0) -> None:
    """Publish until the subscriber hears it: subscriptions travel a moment. What was sent meanwhile is taken off."""
    deadline = time.monotonic() + limit_s
    while not subscriber.socket.poll(10):
        assert time.monotonic() < deadline, f"the subscriber heard nothing within {limit_s} s"
        publisher.publish(topic(stream, "stream"), b"probe")
    publisher.publish(topic(stream, "stream"), b"last probe")
    while subscriber.next()[1] != b"last probe":
        pass


def rss_kb() -> int:
    """This process's resident memory."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])
