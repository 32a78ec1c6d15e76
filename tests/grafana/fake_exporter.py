"""A service that is not there: tells every metric of metrics.py with values that follow from the time alone.

`python -m auflow.tests.grafana.fake_exporter 8717` serves it, for looking at the dashboards without a camera.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)

from auflow.grafana.expressions import PROCESS, PROCESS_START
from auflow.metrics import ALL, STAGES, STATES, STREAM_STATE, STREAM_UP, Kind, Metric

__all__ = ["Exporter", "FakeService", "main"]

VALUES = {
    "stage": STAGES,
    "stream": ("door", "desk"),
    "state": STATES,
    "reason": ("superseded", "too_old", "paused"),
    "group": ("lane-0", "detect-0", "bus-0"),
    "au": ("AU01", "AU02", "AU12", "AU45"),
    "version": ("0.1.0",),
    "models": ("0123456789ab",),
}
WORKERS = ("orchestrator", "decode-0", "clnf-0")
ONE_HOT = {STREAM_STATE.name, STREAM_UP.name}
PER_SECOND = 30.0
STARTED_S = 1.0e9


class FakeService:
    """A collector: `clock` tells the seconds that it has been running for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def collect(self) -> Iterator[Any]:
        """All metrics of all workers, as the one target for all tells them."""
        now_s = self._clock()
        for metric in (*ALL, *PROCESS):
            yield _family(metric, now_s)


def _family(metric: Metric, now_s: float) -> Any:
    labels = ("worker", *metric.labels)
    kinds = {
        Kind.COUNTER: CounterMetricFamily,
        Kind.GAUGE: GaugeMetricFamily,
        Kind.HISTOGRAM: HistogramMetricFamily,
        Kind.SUMMARY: SummaryMetricFamily,
    }
    family = kinds[metric.kind](metric.name, metric.meaning, labels=labels)
    for worker in WORKERS if metric in PROCESS or metric.name == "auflow_build_info" else WORKERS[1:2]:
        for values in product(*(VALUES[label] for label in metric.labels)):
            _add(family, metric, [worker, *values], now_s)
    return family


def _add(family: Any, metric: Metric, labels: list[str], now_s: float) -> None:
    seen = PER_SECOND * now_s
    if metric.kind is Kind.HISTOGRAM:
        edges = [*metric.buckets, float("inf")]
        share = [(at + 1) / len(edges) for at in range(len(edges))]
        buckets = [(str(edge), seen * part) for edge, part in zip(edges, share, strict=True)]
        family.add_metric(labels, [("+Inf" if name == "inf" else name, count) for name, count in buckets], seen * 0.02)
    elif metric.kind is Kind.SUMMARY:
        family.add_metric(labels, count_value=seen, sum_value=seen * 0.8)
    elif metric.name == PROCESS_START.name:
        family.add_metric(labels, STARTED_S)
    elif metric.name == STREAM_STATE.name:
        family.add_metric(labels, float(labels[2] == "streaming"))
    else:
        family.add_metric(labels, seen if metric.kind is Kind.COUNTER else 1.0)


class Exporter:
    """Serves a fake service over HTTP on a loopback port, in a thread; a context manager."""

    def __init__(self, port: int = 0) -> None:
        registry = CollectorRegistry()
        began_s = time.monotonic()
        registry.register(FakeService(lambda: time.monotonic() - began_s))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = generate_latest(registry)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Exporter:
        from threading import Thread

        self._thread = Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def main() -> int:
    """Serve until Ctrl-C."""
    with Exporter(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as exporter:
        print(f"http://{exporter.address}/metrics", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
