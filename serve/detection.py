"""A detection process that the services of other hosts ask (`auflow.transport.remote_detection`)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import zmq

from auflow.stages.settings import StageSettings
from auflow.transport.curve import Gatekeeper
from auflow.transport.keys import load_server_keys
from auflow.transport.link import new_context
from auflow.transport.messages import Boxes, DetectRequest
from auflow.transport.remote_detection import RemoteDetectServer
from auflow.transport.together import Together

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Detector", "serve", "serve_until"]

_Asked: TypeAlias = "tuple[bytes, DetectRequest, NDArray[np.uint8]]"

_log = logging.getLogger("auflow.detect")


class Detector(Protocol):
    """Finds faces (`auflow.stages.detect.MtcnnDetector`)."""

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Boxes (k, 5) of each picture: x, y, w, h in pixels, score."""


class _Ended(BaseException):
    """SIGTERM or Ctrl-C came in the middle of something that need not be finished."""


class _Signals:
    """SIGINT and SIGTERM make `wake` readable, and end what runs within `hurried` at once."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self._hurried = False
        self._before = [signal.signal(number, self._came) for number in self._NUMBERS]
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def _came(self, *_: object) -> None:
        if self._hurried:
            raise _Ended

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """For what leaves nothing half done."""
        self._hurried = True
        try:
            yield
        finally:
            self._hurried = False

    def close(self) -> None:
        """Leave the signals as they were."""
        signal.set_wakeup_fd(-1)
        for number, handler in zip(self._NUMBERS, self._before, strict=True):
            signal.signal(number, handler)
        os.close(self.wake)
        os.close(self._waker)


class _HurriedDetector:
    """A detector that a signal interrupts: a large picture full of faces takes longer than anybody wants to wait."""

    def __init__(self, models_root: Path, settings: StageSettings, signals: _Signals) -> None:
        self._signals = signals
        with signals.hurried():
            from auflow.stages.detect import load_detector

            self._detector = load_detector(models_root, settings)

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Boxes (k, 5) of each picture."""
        with self._signals.hurried():
            return self._detector.detect_many(pictures)


def serve(address: str, keys_dir: Path | None, models_root: Path, settings: StageSettings) -> int:
    """Answer requests until SIGTERM or Ctrl-C, by the detection backend of the settings; the exit code.

    Raises
    ------
    UsageError
        The address is none, or one beyond this machine without keys.
    TransportError
        It is in use.
    ModelError
        A model file is damaged.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    signals = _Signals()
    try:
        serve_until(signals.wake, address, keys_dir, lambda: _HurriedDetector(models_root, settings, signals))
    except _Ended:
        pass  # nobody loses anything: who asked will ask again
    finally:
        signals.close()
    return 0


def serve_until(
    wake: int,
    address: str,
    keys_dir: Path | None,
    make_detector: Callable[[], Detector],
    *,
    told: list[str] | None = None,
) -> None:
    """Answer requests until the descriptor `wake` is readable; the address that was bound is added to `told`."""
    context = new_context()
    gate = server = None
    try:
        if keys_dir is not None:
            gate = Gatekeeper(context, load_server_keys(keys_dir), _log.warning)
        server = RemoteDetectServer(context, address, gate, _log.warning)  # before the networks: they take a while
        detector = make_detector()
        _log.info("finding faces for whoever asks at %s", server.address)
        if told is not None:
            told.append(server.address)
        _work(server, detector, wake)
    finally:
        for end in (server, gate):
            if end is not None:
                end.close()
        context.term()


def _work(server: RemoteDetectServer, detector: Detector, wake: int) -> None:
    together = Together()
    watched: list[tuple[Any, int]] = [(source, zmq.POLLIN) for source in (*server.sockets, wake)]
    while not any(source == wake for source, _ in zmq.zmq_poll(watched)):
        for requests in together.take(server.receive):
            began_s = time.monotonic()
            _answer(server, detector, requests)
            together.took(requests, time.monotonic() - began_s)


def _answer(server: RemoteDetectServer, detector: Detector, requests: Sequence[_Asked]) -> None:
    try:
        found = detector.detect_many([bgr for _, _, bgr in requests])
    except Exception as error:  # noqa: BLE001 - whatever one client's picture does to it, the others go on
        if len(requests) > 1:
            for each in requests:
                _answer(server, detector, [each])
            return
        server.refuse(f"a picture of {requests[0][2].shape} that the detector fails on: {error!r}")
        return
    for (client, request, _), boxes in zip(requests, found, strict=True):
        server.answer(client, Boxes(request.frame.stream, request.frame.index, boxes))
