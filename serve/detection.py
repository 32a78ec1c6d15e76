"""A detection process that the services of other hosts ask (`auflow.transport.remote_detection`)."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import zmq

from auflow.transport.curve import Gatekeeper
from auflow.transport.keys import load_server_keys
from auflow.transport.link import new_context
from auflow.transport.messages import Boxes
from auflow.transport.remote_detection import RemoteDetectServer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Detector", "serve", "serve_until"]

_log = logging.getLogger("auflow.detect")


class Detector(Protocol):
    """Finds faces (`auflow.stages.detect.MtcnnDetector`)."""

    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Boxes (k, 5): x, y, w, h in pixels, score."""


def serve(address: str, keys_dir: Path | None, models_root: Path) -> int:
    """Answer requests until SIGTERM or Ctrl-C; the exit code.

    Raises
    ------
    UsageError
        The address is none, or one beyond this machine without keys.
    TransportError
        It is in use.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)

    def make() -> Detector:
        from auflow.stages.detect import MtcnnDetector

        return MtcnnDetector(models_root)

    try:
        serve_until(wake, address, keys_dir, make)
    finally:
        signal.set_wakeup_fd(-1)
        os.close(wake)
        os.close(waker)
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
    watched: list[tuple[Any, int]] = [(source, zmq.POLLIN) for source in (*server.sockets, wake)]
    while True:
        if any(source == wake for source, _ in zmq.zmq_poll(watched, 1000)):
            return
        while (found := server.receive()) is not None:
            client, request, bgr = found
            boxes = detector.detect(bgr)
            server.answer(client, Boxes(request.frame.stream, request.frame.index, boxes))
            if zmq.zmq_poll([(wake, zmq.POLLIN)], 0):
                return
