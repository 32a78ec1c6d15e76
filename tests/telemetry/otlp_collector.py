"""A collector of traces: OTLP over HTTP, as little of it as the tests need."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "Received"]


class Received(NamedTuple):
    """One span."""

    name: str
    trace: str  # hexadecimal, as all ids
    span: str
    parent: str  # "" for the root
    began_ns: int  # Unix time
    ended_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """Listens at a free port; keeps what comes.

    Parameters
    ----------
    status : that it answers with; what comes with another one than 200 is not kept
    delay_s : that it takes to answer
    """

    def __init__(self, status: int = 200, delay_s: float = 0.0) -> None:
        self.status, self.delay_s = status, delay_s
        self.spans: list[Received] = []
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """A request; the status of the answer."""
        self.requests += 1
        self.headers.append(headers)
        time.sleep(self.delay_s)
        if path != "/v1/traces":
            return 404
        if self.status == 200:
            self.spans += _spans(body)
        return self.status

    def wait_for(self, count: int, timeout_s: float = 20.0) -> list[Received]:
        """Until so many spans have come."""
        deadline_s = time.monotonic() + timeout_s
        while len(self.spans) < count:
            assert time.monotonic() < deadline_s, f"expected {count} spans, got {len(self.spans)}"
            time.sleep(0.02)
        return self.spans

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, where: tuple[str, int], collector: Collector) -> None:
        self.collector = collector
        super().__init__(where, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.collector.take(self.path, dict(self.headers), body)
        try:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except OSError:  # the exporter did not wait
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library calls
        pass


def _spans(body: bytes) -> list[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Received(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _plain(span.attributes),
            _plain(group.resource.attributes),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
