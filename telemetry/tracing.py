"""Traces of some frames: which, and how each process tells of its part without ever waiting for the collector.

A frame's traceparent (W3C Trace Context) goes with it through the stages. Each process makes its own spans: "frame",
the root, from the frame's arrival to its result, and below it "decode", "clnf", "detect", "au" and "sink".
OpenTelemetry is imported in a thread, and only where there is a `Tracer`.
"""

from __future__ import annotations

import importlib.util
import random
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from auflow.errors import UsageError

if TYPE_CHECKING:
    from auflow.telemetry.otel import SpanSender

__all__ = ["Attributes", "Sampler", "Span", "Tracer", "require_otel"]

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

MOST_WAITING = 2048  # spans; those that come when so many wait are dropped
BATCH = 256  # spans that are sent at once
EVERY_S = 1.0  # they wait no longer to be sent
CLOSE_S = 1.0
COMPLAIN_EVERY_S = 60.0
_LAST_WORDS_S = 0.1  # of `CLOSE_S`: for a thread whose exporter has been shut down to notice

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")
_USER = re.compile(r"//[^/]*@")  # of an address, with a password
_LIBRARIES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "requests")


def require_otel() -> None:
    """Call before a service starts that is to trace.

    Raises
    ------
    UsageError
        The libraries that send traces are missing.
    """
    for library in _LIBRARIES:
        try:
            found = importlib.util.find_spec(library) is not None
        except ModuleNotFoundError:  # not even the package around it
            found = False
        if not found:
            raise UsageError(
                f"traces need {library.partition('.')[0]}, which is not installed: `pip install 'auflow[otel]'`, "
                "or set telemetry.trace_every to 0"
            )


class Sampler:
    """Chooses one frame out of each `every`, at a place that changes: streams that take turns all have theirs.

    Parameters
    ----------
    every : 1 traces each frame, 0 none
    """

    def __init__(self, every: int) -> None:
        self._every = max(0, every)
        self._left = self._every  # of this block of frames
        self._chosen = self._place()  # traced when so many are left

    def traceparent(self) -> str:
        """For the next frame: a new `00-TRACE-SPAN-01`, whose span is the trace's root; "" where it is not traced."""
        if not self._every:
            return ""
        chosen = self._left == self._chosen
        self._left -= 1
        if not self._left:
            self._left, self._chosen = self._every, self._place()
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01" if chosen else ""

    def _place(self) -> int:
        return random.randint(1, self._every) if self._every else 0


class Span(NamedTuple):
    """One step of one frame; times are of this host's monotonic clock."""

    name: str
    trace_id: int
    span_id: int  # 0: any new one
    parent_id: int  # 0 for the root
    began_s: float
    ended_s: float
    attributes: Attributes


class _Told(NamedTuple):
    """What the work loop hands over. All that could go wrong with it is done in the thread."""

    name: str
    traceparent: str
    began_s: float
    ended_s: float
    attributes: Attributes
    is_root: bool


class Tracer:
    """One process's spans on their way to a collector, by OTLP over HTTP, in a thread of its own.

    Make it in the process that uses it, after any fork. `span`, `root` and `close` belong to one thread, the work loop;
    they never block and raise nothing of their own. What cannot be sent is dropped and counted.

    Parameters
    ----------
    worker : name of the process
    endpoint : http://HOST:PORT of the collector; "": as OpenTelemetry's environment variables say
    attributes : further ones of the process
    warn : called by `span` and `root`, at most once a minute, when spans have been lost

    Raises
    ------
    UsageError
        The libraries are missing.
    """

    def __init__(
        self, worker: str, endpoint: str = "", attributes: Attributes | None = None, warn: Callable[[str], None] = print
    ) -> None:
        require_otel()
        self._endpoint = endpoint
        self._resource = {**(attributes or {}), "auflow.worker": worker}
        self._warn = warn
        self._waiting: deque[_Told] = deque()
        self._overflowed = 0  # written by the work loop only
        self._lock = threading.Lock()  # of what follows
        self._lost = 0
        self._under_way = 0  # spans that are being sent
        self._given_up = False
        self._complain_from_s = 0.0
        self._complained = 0
        self._awake, self._closing = threading.Event(), False
        self._sender: SpanSender | None = None
        self._fault = ""  # why nothing is sent at all
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Spans that did not reach the collector, as far as is known."""
        return self._overflowed + self._lost

    def span(
        self, name: str, traceparent: str, began_s: float, ended_s: float, attributes: Attributes | None = None
    ) -> None:
        """A step of a frame, below the root span that `traceparent` names; monotonic times."""
        self._put(_Told(name, traceparent, began_s, ended_s, attributes or {}, False))

    def root(self, traceparent: str, began_s: float, ended_s: float, attributes: Attributes | None = None) -> None:
        """The whole way of a frame: the span that `traceparent` names; monotonic times."""
        self._put(_Told("frame", traceparent, began_s, ended_s, attributes or {}, True))

    def close(self) -> None:
        """Send what waits, for a second at most; what is left then is dropped. May be called again."""
        if self._closing:
            return
        self._closing = True
        self._awake.set()
        self._thread.join(CLOSE_S - _LAST_WORDS_S)
        if self._thread.is_alive() and self._sender is not None:
            self._sender.close()  # ends its waiting for another attempt
            self._thread.join(_LAST_WORDS_S)
        with self._lock:
            self._lost += len(self._waiting) + self._under_way
            self._waiting.clear()
            self._given_up = True

    def _put(self, told: _Told) -> None:
        if self._closing or self._fault or len(self._waiting) >= MOST_WAITING:
            self._overflowed += 1
        else:
            self._waiting.append(told)
            if len(self._waiting) == BATCH:
                self._awake.set()
        # Here and not in the thread: a warning goes over a socket of the work loop.
        if self.dropped != self._complained and (now_s := time.monotonic()) >= self._complain_from_s:
            self._complained, self._complain_from_s = self.dropped, now_s + COMPLAIN_EVERY_S
            self._warn(
                f"{self._complained} spans of traces have been lost: {_shown(self._endpoint)} is away, slow or refuses "
                f"them{self._fault}; results do not depend on it"
            )

    def _run(self) -> None:
        from auflow.telemetry.otel import SpanSender

        try:
            self._sender = sender = SpanSender(self._endpoint, self._resource)
        except Exception as error:  # noqa: BLE001 - of the environment's settings, say: no work should end for that
            self._fault = f" ({type(error).__name__}: {error})"
            return
        while True:
            self._awake.wait(EVERY_S)
            self._awake.clear()
            last = self._closing
            while batch := self._take():
                self._settle(len(batch), _sent(sender, batch))
            if last:
                break
        sender.close()

    def _take(self) -> list[_Told]:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._under_way = len(batch)
        return batch

    def _settle(self, count: int, arrived: int) -> None:
        with self._lock:
            self._under_way = 0
            if not self._given_up:
                self._lost += count - arrived


def _sent(sender: SpanSender, batch: list[_Told]) -> int:
    spans = [span for told in batch if (span := _span_of(told)) is not None]
    return len(spans) if sender.send(spans) else 0


def _span_of(told: _Told) -> Span | None:
    found = _TRACEPARENT.fullmatch(told.traceparent)
    if found is None:
        return None
    trace_id, root_id = (int(word, 16) for word in found.groups())
    own_id, parent_id = (root_id, 0) if told.is_root else (0, root_id)
    return Span(told.name, trace_id, own_id, parent_id, told.began_s, told.ended_s, told.attributes)


def _shown(endpoint: str) -> str:
    """A collector's address without any password."""
    if not endpoint:
        return "the collector that OTEL_EXPORTER_OTLP_ENDPOINT names"
    return f"the collector at {_USER.sub('//', endpoint)}"
