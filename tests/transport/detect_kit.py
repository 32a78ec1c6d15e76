"""A detection process in a thread: the real loop and sockets, and a detector that the test chooses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.serve.detection import serve_until
from auflow.transport import messages as m
from auflow.transport.link import new_context
from auflow.transport.remote_detection import RemoteDetectClient

Detect = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
HEIGHT, WIDTH = 6, 8


def first_pixel(bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One box with what tells pictures apart."""
    return np.array([[*bgr[0, 0], bgr.shape[0], bgr.shape[1]]], np.float32)


class Server:
    """`auflow detect` without its process; `seen` are the pictures' first pixels in their order."""

    def __init__(self, address: str, keys: Path | None = None, detect: Detect = first_pixel) -> None:
        self._wanted, self._keys, self._detect = address, keys, detect
        self._told: list[str] = []
        self.seen: list[int] = []
        self.together: list[int] = []  # how many pictures each call had
        self.failed: BaseException | None = None
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self._told or self.failed)
        self.address = self._told[0] if self._told else address

    def _run(self) -> None:
        try:
            serve_until(self._wake, self._wanted, self._keys, lambda: self, told=self._told)
        except BaseException as error:
            self.failed = error
            raise

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """What the service calls."""
        self.together.append(len(pictures))
        self.seen += [int(bgr[0, 0, 0]) for bgr in pictures]
        return [self._detect(bgr) for bgr in pictures]

    def close(self) -> None:
        """End it; may be called again."""
        if self._thread.is_alive():
            os.write(self._waker, b"x")
            self._thread.join()
        for descriptor in (self._wake, self._waker):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake = self._waker = -1

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Asker:
    """A lane's client, and what its work loop does with it."""

    def __init__(self, *addresses: str, name: str = "clnf-0", **options: Any) -> None:
        self.context: Any = new_context()
        self.news: list[str] = []
        self.client = RemoteDetectClient(self.context, addresses, name, warn=self.news.append, **options)

    def begin(self, index: int, clock: str = "file") -> m.DetectRequest:
        """Ask about a picture whose first pixel is `index`."""
        request = m.DetectRequest(0, m.FrameReady(0, index, 0.0, 0, 1, HEIGHT, WIDTH, 0.0, clock=clock))
        self.client.ask(request, picture(index))
        return request

    def await_answer(self, request: m.DetectRequest, limit_s: float = 20.0) -> NDArray[np.float32]:
        """As the work loop does."""
        deadline = time.monotonic() + limit_s
        while (answer := self.client.receive(request)) is None:
            assert time.monotonic() < deadline, f"no answer within {limit_s} s"
            if self.client.sockets:
                self.client.sockets[0].poll(min(20, int(self.client.wait_s * 1000) + 1))
        assert answer.index == request.frame.index
        return answer.boxes

    def asks(self, index: int) -> None:
        """A question and its right answer."""
        assert self.await_answer(self.begin(index)).tolist() == first_pixel(picture(index)).tolist()

    def close(self) -> None:
        """Close the client and its context."""
        self.client.close()
        self.context.term()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def picture(index: int) -> NDArray[np.uint8]:
    """(6, 8, 3), no two the same."""
    return np.full((HEIGHT, WIDTH, 3), (index, 2, 3), np.uint8)


def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.002)
