"""The work loop of the live page: what the sinks show, and how the service is, to the browsers that look.

The page's server has a thread of its own; this one talks to the other processes and sees to it that the server lives.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from auflow import metrics
from auflow.errors import UsageError
from auflow.flow.process import Shell, WorkerRole
from auflow.flow.topology import web_name
from auflow.transport import messages as m
from auflow.transport.faults import TransportError
from auflow.transport.schema import unpack_message
from auflow.transport.viewing import Shown, ShownReceiver
from auflow.web.access import Door
from auflow.web.hub import Frame
from auflow.web.server import PageServer, listen

__all__ = ["WebRole", "frame_of"]


class WebRole(WorkerRole):
    """Shows streams to browsers; keeps nothing."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._wake, self._waker = os.pipe()
        for fd in (self._wake, self._waker):
            os.set_blocking(fd, False)
        self._wanted: frozenset[str] = frozenset()  # written by the server's thread
        self._shown: ShownReceiver | None = None
        self._server: PageServer | None = None

    def setup(self) -> None:
        """Open both sides."""
        web = self.shell.config.web
        assert web is not None
        self._shown = ShownReceiver(self.shell.context, self.shell.endpoint(web_name()))
        try:
            listener = listen(web.host, web.port)
        except UsageError as error:
            if self.shell.config.incarnation > 0:
                raise TransportError(str(error)) from error  # it was ours before: it will be free again
            raise
        door = Door(web.host, web.port, _token(web.token_env, web.token_file))
        self._server = server = PageServer(listener, door, self._want)
        self.shell.probe.gauge(metrics.WEB_VIEWERS, lambda: server.viewers)
        self.shell.probe.counts(
            metrics.WEB_DROPPED,
            lambda: {reason: count for reason, count in server.dropped.items() if reason != "closed"},
        )

    def _want(self, streams: frozenset[str]) -> None:
        """Called from the server's thread."""
        self._wanted = streams
        with suppress(BlockingIOError):  # it is awake then
            os.write(self._waker, b"\0")

    def connect(self) -> None:
        """Nobody need be there: sinks and browsers come and go."""

    def step(self) -> None:
        """Hand over what is there."""
        assert self._shown is not None
        assert self._server is not None
        self.shell.wait((self._shown.socket, self._wake))
        with suppress(BlockingIOError):
            os.read(self._wake, 512)
        self._shown.want(self._wanted)
        for shown in self._shown.receive():
            self._show(shown)
        while self.shell.orders:
            order = self.shell.orders.popleft()
            if isinstance(order, m.ServiceStatus):
                self._server.tell_status(order.text)
        self._server.check()

    def _show(self, shown: Shown) -> None:
        assert self._server is not None
        try:
            frame = frame_of(shown)
        except TransportError as error:
            self.shell.complain(str(error))
            return
        self._server.show(frame)
        self.shell.progress += 1

    def close(self) -> None:
        """Close both sides."""
        if self._server is not None:
            self._server.close()
        if self._shown is not None:
            self._shown.close()


def frame_of(shown: Shown) -> Frame:
    """A frame as browsers take it. Without a picture it needs no landmarks: they are drawn on one.

    Raises
    ------
    TransportError
        Its results are none.
    """
    results: list[dict[str, Any]] = [unpack_message(result) for result in shown.results]
    if not shown.jpeg:
        for result in results:
            result.pop("landmarks", None)
    head = {
        "type": "frame",
        "stream": shown.stream,
        "width_px": shown.width_px,
        "height_px": shown.height_px,
        "camera": shown.camera,
        "results": results,
    }
    try:
        text = json.dumps(head, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TransportError(f"{shown.stream}: expected results of numbers and text, got {error}") from error
    return Frame(shown.stream, text.encode(), shown.jpeg)


def _token(variable: str, file: str) -> str:
    """The token as the service was given it, or has made it."""
    if variable:
        return os.environ.get(variable, "")
    return Path(file).read_text().strip() if file else ""
