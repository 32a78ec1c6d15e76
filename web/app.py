"""The page as an application: its files, the status, and the WebSocket that feeds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from auflow.web.access import Door, Guard
from auflow.web.hub import MAX_VIEWERS, Hub, Viewer

__all__ = ["SILENCE_S", "make_app", "status_message"]

SILENCE_S = 30.0  # in which nothing could be sent to a viewer: it is closed then
_STATIC = Path(__file__).parent / "static"
_BETWEEN_S = 0.02  # two messages of a viewer: it has little to say
_NOT_UNDERSTOOD, _TRY_LATER = 1008, 1013


def make_app(hub: Hub, door: Door, cut: Callable[[Any], None], silence_s: float = SILENCE_S) -> Guard:
    """The application.

    Parameters
    ----------
    hub : of the viewers
    door : where the page is served and what opens it
    cut : called with the address (host, port) of a client whose connection is to end now, unsent data or not
    silence_s : how long a viewer may take nothing
    """

    async def page(_request: Request) -> Response:
        return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def status(_request: Request) -> Response:
        told = hub.status is not None
        return Response(status_message(hub), 200 if told else 503, media_type="application/json")

    async def watch(socket: WebSocket) -> None:
        await _Watching(hub, socket, cut, silence_s).run()

    routes = [
        Route("/", page),
        Route("/api/status", status),
        Mount("/static", _Files(directory=_STATIC)),
        WebSocketRoute("/ws", watch),
    ]
    return Guard(Starlette(routes=routes), door)


def status_message(hub: Hub) -> str:
    """The status of the service and of the page, as one JSON object; `status` is null before there is one."""
    page = json.dumps({"viewers": hub.viewers, "dropped": hub.dropped})
    return f'{{"type":"status","status":{hub.status or "null"},"page":{page}}}'


class _Files(StaticFiles):
    """Files that a browser asks for again after each new version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers.setdefault("Cache-Control", "no-cache")
        return answer


class _Watching:
    """One WebSocket from its opening to its end."""

    def __init__(self, hub: Hub, socket: WebSocket, cut: Callable[[Any], None], silence_s: float) -> None:
        self._hub = hub
        self._socket = socket
        self._cut = cut
        self._silence_s = silence_s
        self._mail = asyncio.Event()

    async def run(self) -> None:
        """Feed it until it leaves, or takes nothing any more."""
        await self._socket.accept()
        viewer = self._hub.join(self._mail.set)
        if viewer is None:
            await self._socket.close(_TRY_LATER, f"{MAX_VIEWERS} pages are open already: close one")
            return
        tasks = [asyncio.ensure_future(self._listen(viewer)), asyncio.ensure_future(self._feed(viewer))]
        silent = False
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            silent = any(isinstance(task.exception(), TimeoutError) for task in done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._hub.leave(viewer, closed=silent)
            if silent:
                self._cut(self._socket.client)

    async def _listen(self, viewer: Viewer) -> None:
        """Take what the page wants: `{"watch": NAME}` or, for nothing, `{"watch": null}`."""
        try:
            while True:
                text = await self._socket.receive_text()
                self._hub.watch(viewer, _wanted(text))
                await asyncio.sleep(_BETWEEN_S)
        except (ValueError, KeyError, RecursionError):
            async with asyncio.timeout(self._silence_s):
                await self._socket.close(_NOT_UNDERSTOOD, 'expected {"watch": NAME}')
        except (WebSocketDisconnect, RuntimeError):
            return  # it has left; RuntimeError: while we closed it

    async def _feed(self, viewer: Viewer) -> None:
        """Send what waits, as fast as the page takes it."""
        while True:
            await self._mail.wait()
            self._mail.clear()
            for message in viewer.mailbox.take():
                async with asyncio.timeout(self._silence_s):
                    if isinstance(message, str):
                        await self._socket.send_text(status_message(self._hub))
                    else:
                        await self._socket.send_bytes(message)


def _wanted(text: str) -> str | None:
    wanted = json.loads(text)
    if not isinstance(wanted, dict) or not isinstance(wanted["watch"], (str, type(None))):
        raise ValueError("expected a stream's name or null")
    return wanted["watch"]
