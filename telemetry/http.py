"""A small HTTP server in a thread, for probes and scrapers: GET only, at most so many connections, each for so long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["Answer", "SmallServer", "metrics_answer", "metrics_at"]

MAX_CONNECTIONS = 16
SILENCE_S = 5.0  # of a client in the middle of its request
WHOLE_S = 15.0  # for a request and its answer in all
TURN_S = 0.2  # how soon it notices that it is to end, or that a client is late


class Answer(NamedTuple):
    """What a path leads to."""

    code: HTTPStatus
    content_type: str
    body: bytes


def metrics_answer(text: bytes) -> Answer:
    """Metrics in Prometheus' text format."""
    return Answer(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", text)


def metrics_at(pages: Mapping[str, Callable[[], bytes]]) -> Callable[[str], Answer]:
    """For a `SmallServer` that has nothing but metrics: what makes their text, by path."""

    def answer(path: str) -> Answer:
        if path in pages:
            return metrics_answer(pages[path]())
        text = f"there is {' and '.join(pages)}\n"
        return Answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", text.encode())

    return answer


class SmallServer:
    """Serves what `answer` says, from threads of its own.

    Parameters
    ----------
    where : (host, port); port 0 is any free one
    answer : called with each path (without its query) in a thread of its own; must not block for long
    name : of the thread

    Raises
    ------
    OSError
        The address cannot be taken.
    """

    def __init__(self, where: tuple[str, int], answer: Callable[[str], Answer], name: str) -> None:
        self._server = _Server(where, answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(TURN_S,), name=name, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """HOST:PORT as it is listened on."""
        host = str(self._server.server_address[0])
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def refused(self) -> int:
        """Connections that were closed unheard, because too many were open or they took too long."""
        return self._server.refused

    def close(self) -> None:
        """Stop listening and end the thread; may be called again."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close_all()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """At most so many connections, each for at most so long."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, where: tuple[str, int], answer: Callable[[str], Answer]) -> None:
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
            fits = len(self._open) < MAX_CONNECTIONS
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
            late = [request for request, since in self._open.items() if now - since > WHOLE_S]
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
    timeout = SILENCE_S
    server_version = "auflow"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self.server.answer(self.path.partition("?")[0])
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library calls
        """Probes come every few seconds; nobody wants to read of them."""
