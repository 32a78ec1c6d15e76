"""Whether the service is alive and ready, over HTTP: /healthz, /readyz, /status. For probes, not for the public."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from auflow.errors import UsageError
from auflow.serve.checks import host_and_port
from auflow.serve.keys import Unfit
from auflow.serve.lines import encode_line

__all__ = ["HealthServer", "not_ready"]

_MAX_CONNECTIONS = 16
_SILENCE_S = 5.0  # of a client in the middle of its request
_WHOLE_S = 15.0  # for a request and its answer in all
_TURN_S = 0.2  # how soon it notices that it is to end, or that a client is late
_UP = ("ready", "running")  # of a lane
_Answer = tuple[HTTPStatus, Mapping[str, Any]]


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
    stale_s : without a `tick` for longer the service does not count as alive
    clock : monotonic seconds

    Raises
    ------
    UsageError
        The address is malformed, or cannot be taken.
    """

    def __init__(self, address: str, *, stale_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            where = host_and_port(address)
        except Unfit as error:
            raise UsageError(f"http.address: expected {error}, got {address!r}") from error
        self._clock = clock
        self._stale_s = stale_s
        self._status: Mapping[str, Any] = {"state": "starting"}
        self._ticked_s = clock()
        try:
            self._server = _Server(where, self._answer)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(
                f'http.address: {address} cannot be listened on: {reason}; choose another, or "" for none'
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_TURN_S,), name="health", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """HOST:PORT as it is listened on."""
        host, port = str(self._server.server_address[0]), self._server.server_address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

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
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close_all()
        self._server.server_close()

    def _answer(self, path: str) -> _Answer:
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
        return HTTPStatus.NOT_FOUND, {"error": "there are /healthz, /readyz and /status"}


class _Server(ThreadingHTTPServer):
    """At most so many connections, each for at most so long."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = _MAX_CONNECTIONS

    def __init__(self, where: tuple[str, int], answer: Callable[[str], _Answer]) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.answer = answer
        self.refused = 0
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks the name service for this machine's name, which may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            fits = len(self._open) < _MAX_CONNECTIONS
            if fits:
                self._open[request] = time.monotonic()
        if fits:
            super().process_request(request, client_address)
        else:
            self.refused += 1
            super().shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called by the serving thread in every turn: ends what takes too long."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, since in self._open.items() if now - since > _WHOLE_S]
        self._end(late)

    def close_all(self) -> None:
        """End every connection; its thread notices and leaves."""
        with self._lock:
            connections = list(self._open)
        self._end(connections)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is no error of ours."""

    def _end(self, connections: list[socket.socket]) -> None:
        for connection in connections:
            self.refused += 1
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                continue


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer; a body is not read."""

    server: _Server
    timeout = _SILENCE_S
    server_version = "auflow"
    sys_version = ""

    def do_GET(self) -> None:
        self._send(*self.server.answer(self.path.partition("?")[0]))

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library calls
        """Probes come every few seconds; nobody wants to read of them."""

    def _send(self, code: HTTPStatus, answer: Mapping[str, Any]) -> None:
        body = encode_line(answer)
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
