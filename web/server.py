"""The page's server, in a thread of its own with its own event loop; the caller's thread hands things over and watches.

The caller must call `check` now and then: a thread that has died or hangs is an error there.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from auflow.errors import StageError, UsageError
from auflow.web.access import Door
from auflow.web.app import SILENCE_S, make_app
from auflow.web.hub import MAX_VIEWERS, Frame, Hub

__all__ = ["PageServer", "listen"]

HANG_S = 10.0  # without a sign of life from the loop
_PING_S = 1.0
_START_S = 20.0
_CLOSE_S = 1.0
_WAITING = 256  # frames that were handed over and not taken yet
_MAX_MESSAGE_BYTES = 1024  # of a viewer: the name of a stream
_MAX_CONNECTIONS = MAX_VIEWERS + 64
_KEEP_ALIVE_S = 5


def listen(host: str, port: int) -> socket.socket:
    """The page's listening socket.

    Raises
    ------
    UsageError
        The address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_MAX_CONNECTIONS)
    except OSError as error:
        listener.close()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        reason = error.strerror or error
        raise UsageError(
            f'web.address: {where} cannot be listened on: {reason}; choose another, or "" for none'
        ) from error
    return listener


class PageServer:
    """Serves the page until closed.

    Parameters
    ----------
    listener : bound and listening; closed here
    door : where that is and what opens it
    wanted_changed : called from the server's thread with the streams that somebody looks at
    silence_s : how long a viewer may take nothing
    hang_s : how long the loop may give no sign of life
    """

    def __init__(
        self,
        listener: socket.socket,
        door: Door,
        wanted_changed: Callable[[frozenset[str]], None] = lambda _: None,
        *,
        silence_s: float = SILENCE_S,
        hang_s: float = HANG_S,
    ) -> None:
        self._hub = Hub(wanted_changed)
        self._listener = listener
        self._hang_s = hang_s
        config = uvicorn.Config(
            make_app(self._hub, door, self._cut, silence_s),
            http="h11",
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            log_level="error",  # what clients do wrong is theirs to know
            access_log=False,  # it would have the token in it
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._error: BaseException | None = None
        self._handed = self._taken = self._too_many = 0
        self._pinged_s = self._heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()
        self._await_start()

    def _run(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._server.serve(sockets=[self._listener]))
        except BaseException as error:  # noqa: BLE001 - whatever it is, `check` tells it in the other thread
            self._error = error
        finally:
            self._loop.close()

    def _await_start(self) -> None:
        deadline_s = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline_s:
                raise StageError(f"the page's server did not start: {self._error or 'no sign of life'}")
            time.sleep(0.005)
        self._heard_s = time.monotonic()

    @property
    def viewers(self) -> int:
        """How many pages are open."""
        return self._hub.viewers

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages that were dropped, by reason; "busy": before they came to any viewer."""
        return {**self._hub.dropped, "busy": self._too_many}

    def show(self, frame: Frame) -> None:
        """Hand a frame over; never waits."""
        if self._handed - self._taken >= _WAITING:
            self._too_many += 1
            return
        self._handed += 1
        self._call(self._take, frame)

    def _take(self, frame: Frame) -> None:
        self._taken += 1
        self._hub.show(frame)

    def tell_status(self, status: str) -> None:
        """Hand over how the service is, as JSON; never waits."""
        self._call(self._hub.tell_status, status)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed, which `check` tells
            return

    def check(self) -> None:
        """Raise `StageError` when the server's thread has died or hangs."""
        now = time.monotonic()
        if not self._thread.is_alive():
            raise StageError(f"the page's server has ended: {self._error or 'without a reason'}")
        if now - self._heard_s > self._hang_s:
            raise StageError(f"the page's server gave no sign of life for {self._hang_s:g} s")
        if now - self._pinged_s >= _PING_S:
            self._pinged_s = now
            self._call(self._pong)

    def _pong(self) -> None:
        self._heard_s = time.monotonic()

    def _cut(self, client: Any) -> None:
        """End a connection whose client takes nothing: closing would wait until it has taken the rest."""
        for connection in list(self._server.server_state.connections):
            transport = connection.transport
            if transport is not None and transport.get_extra_info("peername", ())[:2] == tuple(client or ()):
                transport.abort()

    def close(self) -> None:
        """Stop serving; viewers see the connection end. May be called again."""
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(_CLOSE_S)
        self._listener.close()
