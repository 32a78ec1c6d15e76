"""Spans as OpenTelemetry makes and sends them. Importing this loads its libraries; `auflow.telemetry.tracing` does."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Sequence

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import auflow
from auflow.telemetry.tracing import Attributes, Span

__all__ = ["SpanSender"]

_PATH = "/v1/traces"  # of OTLP over HTTP
_CLOCK_S = 30.0  # how long the distance of the two clocks is taken for constant


class SpanSender:
    """Makes spans with the ids that they should have, and sends them; for one thread, `close` for any.

    Parameters
    ----------
    endpoint : http://HOST:PORT of the collector; "": as OpenTelemetry's environment variables say
    resource : attributes of this process
    """

    def __init__(self, endpoint: str, resource: Attributes) -> None:
        # They tell of each attempt and each loss; whoever uses this counts losses, and tells them in its own way.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        session = requests.Session()
        session.trust_env = False  # no proxies between us and a collector
        url = f"{endpoint.rstrip('/').removesuffix(_PATH)}{_PATH}" if endpoint else None
        self._exporter: SpanExporter = OTLPSpanExporter(url, session=session)
        self._ids, self._ended, self._clock = _ChosenIds(), _Ended(), _Clock()
        told = {
            "service.name": "auflow",
            "service.version": auflow.__version__,
            "service.instance.id": str(uuid.uuid4()),
            **resource,
        }
        # What is sampled has been decided; the environment's sampler must not decide again.
        self._provider = TracerProvider(
            ALWAYS_ON, Resource.create(told), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(self._ended)
        self._tracer = self._provider.get_tracer("auflow", auflow.__version__)
        self._closed = False

    def send(self, spans: Sequence[Span]) -> bool:
        """Whether the collector took them all. May take OTEL_EXPORTER_OTLP_TIMEOUT (10 s)."""
        try:
            for span in spans:
                self._make(span)
            made = self._ended.take()
            return not made or self._exporter.export(made) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - whatever a version of the exporter raises: these spans are lost, no others
            self._ended.take()
            return False

    def close(self) -> None:
        """Give up what is being tried; may be called again."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def _make(self, span: Span) -> None:
        self._ids.next_trace, self._ids.next_span = span.trace_id, span.span_id
        # A context of its own: with none given, the library takes the one that is current in this thread.
        parent = SpanContext(span.trace_id, span.parent_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        context = set_span_in_context(NonRecordingSpan(parent))
        began_ns, ended_ns = self._clock.unix_ns(span.began_s), self._clock.unix_ns(span.ended_s)
        made = self._tracer.start_span(span.name, context, attributes=dict(span.attributes), start_time=began_ns)
        made.end(max(began_ns, ended_ns))


class _ChosenIds(IdGenerator):
    """The ids that the traceparent says; a new one for a span that has none."""

    next_trace = 0
    next_span = 0

    def generate_trace_id(self) -> int:
        """For a root."""
        return self.next_trace

    def generate_span_id(self) -> int:
        """For the span that is being made."""
        return self.next_span or random.SystemRandom().randint(1, (1 << 64) - 1)


class _Ended(SpanProcessor):
    """Keeps the spans that have ended until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the library."""
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        """All there are."""
        spans, self._spans = self._spans, []
        return spans


class _Clock:
    """Unix time of moments on the monotonic clock, which all processes of a host share."""

    def __init__(self) -> None:
        self._offset_ns, self._until_s = 0, 0.0

    def unix_ns(self, moment_s: float) -> int:
        """Of a moment not long ago."""
        now_s = time.monotonic()
        if now_s >= self._until_s:
            self._offset_ns, self._until_s = min(_distances())[1], now_s + _CLOCK_S
        return round(moment_s * 1e9) + self._offset_ns


def _distances() -> list[tuple[int, int]]:
    """How far the clocks are apart, by several looks: how long each took, and what it said, in ns."""
    looks = []
    for _ in range(3):
        before, unix, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        looks.append((after - before, unix - (before + after) // 2))
    return looks
