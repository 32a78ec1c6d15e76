"""Whether the service is alive and ready, over HTTP, and its metrics. For probes and scrapers, not for the public."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from auflow.errors import UsageError
from auflow.serve.checks import host_and_port
from auflow.serve.keys import Unfit
from auflow.serve.lines import encode_line
from auflow.telemetry.http import Answer, SmallServer

__all__ = ["HealthServer", "not_ready"]

_UP = ("ready", "running")  # of a lane


def not_ready(status: Mapping[str, Any]) -> list[str]:
    """Why a service of this status is not ready; nothing when it is."""
    state = status.get("state", "starting")
    if state == "ready":
        return []
    groups = [*status.get("lanes", ()), *status.get("detectors", ())]
    bus = status.get("bus") or {}
    web = status.get("web") or {}
    for name, group in (("the bus", bus), ("the live page", web)):
        groups += [{"name": name, "state": group["state"]}] if "state" in group else []
    down = [f"{group.get('name')} is {group.get('state')}" for group in groups if group.get("state") not in _UP]
    return [f"the service is {state}", *down]


class HealthServer:
    """Serves the last status that the main loop has told; never asks it anything.

    Parameters
    ----------
    address : HOST:PORT; port 0 is any free one
    pages : what else there is, by its path: called in a thread of the server
    stale_s : without a `tick` for longer the service does not count as alive
    clock : monotonic seconds

    Raises
    ------
    UsageError
        The address is malformed, or cannot be taken.
    """

    def __init__(
        self,
        address: str,
        pages: Mapping[str, Callable[[], Answer]] | None = None,
        *,
        stale_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            where = host_and_port(address)
        except Unfit as error:
            raise UsageError(f"http.address: expected {error}, got {address!r}") from error
        self._clock = clock
        self._stale_s = stale_s
        self._pages = dict(pages or {})
        self._status: Mapping[str, Any] = {"state": "starting"}
        self._ticked_s = clock()
        try:
            self._server = SmallServer(where, self._answer, "health")
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(
                f'http.address: {address} cannot be listened on: {reason}; choose another, or "" for none'
            ) from error

    @property
    def address(self) -> str:
        """HOST:PORT as it is listened on."""
        return self._server.address

    @property
    def refused(self) -> int:
        """Connections that were closed unheard, because too many were open or they took too long."""
        return self._server.refused

    def update(self, status: Mapping[str, Any]) -> None:
        """What is told from now on; the caller must not change it any more. Counts as a tick."""
        self._status = status
        self.tick()

    def tick(self) -> None:
        """The main loop is alive."""
        self._ticked_s = self._clock()

    def close(self) -> None:
        """Stop listening and end the thread; may be called again."""
        self._server.close()

    def _answer(self, path: str) -> Answer:
        if path in self._pages:
            return self._pages[path]()
        code, content = self._told(path)
        return Answer(code, "application/json", encode_line(content))

    def _told(self, path: str) -> tuple[HTTPStatus, Mapping[str, Any]]:
        status = self._status
        if path == "/status":
            return HTTPStatus.OK, status
        if path == "/healthz":
            silent_s = self._clock() - self._ticked_s
            if silent_s <= self._stale_s:
                return HTTPStatus.OK, {"alive": True}
            return HTTPStatus.SERVICE_UNAVAILABLE, {
                "alive": False,
                "reasons": [f"the main loop has been silent for {silent_s:.0f} s, more than {self._stale_s:g} s"],
            }
        if path == "/readyz":
            reasons = not_ready(status)
            code = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return code, {"ready": not reasons, "reasons": reasons}
        there = ["/healthz", "/readyz", "/status", *self._pages]
        return HTTPStatus.NOT_FOUND, {"error": f"there are {', '.join(there[:-1])} and {there[-1]}"}
