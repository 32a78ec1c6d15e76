"""What a work loop tells of its frames: to the worker's metrics, to the run's timeline, and of some frames to a trace.

Each may be off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.metrics import Metric

if TYPE_CHECKING:
    from auflow.stages.records import AuFrame, FaceFit
    from auflow.telemetry.http import SmallServer
    from auflow.telemetry.meter import Meter
    from auflow.telemetry.timeline import TimelineWriter
    from auflow.telemetry.tracing import Sampler, Tracer

__all__ = ["MODEL_DIGITS", "Probe", "Telemetry", "make_probe"]

MODEL_DIGITS = 12  # of the digest of the model files, in a label; Parquet and JSON lines have all of them


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the workers of a run are asked to measure."""

    metrics: bool = False
    models: str = ""  # digest of the model files
    trace_every: int = 0  # one frame in so many is traced; 0: none
    trace_endpoint: str = ""  # of the collector of traces; "": as OpenTelemetry's environment variables say
    timeline: str = ""  # folder of the records that a timeline is made of; "": none
    timeline_records: int = 0  # that each worker may write


class Probe:
    """One worker's; does nothing where nothing is asked for.

    Parameters
    ----------
    meter : counts
    sampler : says which frames are traced
    tracer : tells of them
    timeline : notes when each piece of work began and ended
    """

    def __init__(
        self,
        meter: Meter | None = None,
        sampler: Sampler | None = None,
        tracer: Tracer | None = None,
        timeline: TimelineWriter | None = None,
    ) -> None:
        self.meter = meter
        self._timeline = timeline
        self._sampler = sampler
        self._tracer = tracer
        self._server: SmallServer | None = None

    def listen(self) -> int:
        """Answer at a free port of this machine from now on; the port, 0 where there is nothing to tell."""
        if self.meter is not None and self._server is None:
            from auflow.telemetry.http import SmallServer, metrics_at

            self._server = SmallServer(("127.0.0.1", 0), metrics_at({"/metrics": self.meter.text}), "metrics")
        return self._server.port if self._server is not None else 0

    def traceparent(self) -> str:
        """Of a frame that begins here; "" where it is not traced."""
        return self._sampler.traceparent() if self._sampler is not None else ""

    def expect(self, stage: str, *, waits: bool = True) -> None:
        """This worker is to work on frames as that stage, which `waits` for the one before."""
        if self.meter is not None:
            self.meter.expect(stage, waits=waits)

    def worked(
        self,
        stage: str,
        began_s: float,
        ended_s: float,
        *,
        since_s: float = 0.0,
        trace: str = "",
        stream: int = -1,
        frame: int = 0,
        batch: int = 1,
    ) -> None:
        """A stage worked on one frame.

        Parameters
        ----------
        began_s, ended_s : monotonic
        since_s : monotonic: when the stage before had handed the frame over; 0 where there is none
        trace : the frame's traceparent
        stream, frame : which it is
        batch : frames that were worked on together; the times are a share of theirs
        """
        if self.meter is not None:
            self.meter.worked(stage, ended_s - began_s)
            if since_s:
                self.meter.waited(stage, max(0.0, began_s - since_s))
        if self._timeline is not None:
            self._timeline.add("frame", began_s, ended_s, since_s=since_s, stream=stream, frame=frame, batch=batch)
        if trace and self._tracer is not None:
            self._tracer.span(stage, trace, began_s, ended_s, {"auflow.waited_s": began_s - since_s} if since_s else {})

    def noting(self, kind: str, stream: int = -1, frame: int = 0) -> AbstractContextManager[None]:
        """What is done inside is not a frame's, or is a wait in the middle of it: for the timeline only.

        `kind` is one of `auflow.telemetry.timeline.KINDS`.
        """
        return nullcontext() if self._timeline is None else self._timeline.noting(kind, stream, frame)

    def fitted(self, fits: Sequence[FaceFit]) -> None:
        """A frame's faces were fitted."""
        if self.meter is not None:
            self.meter.fitted(fits)

    def result(
        self,
        stream: str,
        taken_s: float,
        done_s: float,
        fits: Sequence[FaceFit],
        aus: Sequence[AuFrame],
        detections: int = 0,
    ) -> None:
        """A frame's results are there, in which faces were looked for `detections` times; monotonic times."""
        if self.meter is not None:
            self.meter.result(stream, done_s - taken_s, fits, aus, detections)

    def traced(self, stream: str, index: int, trace: str, taken_s: float, done_s: float) -> None:
        """A frame has come to its end."""
        if trace and self._tracer is not None:
            self._tracer.root(trace, taken_s, done_s, {"auflow.stream": stream, "auflow.frame": index})

    def ended(self, stream: str) -> None:
        """A stream gives no more results."""
        if self.meter is not None:
            self.meter.ended(stream)

    def gauge(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """A value to be read when somebody asks, in another thread."""
        if self.meter is not None:
            self.meter.gauge(metric, read, **labels)

    def counter(self, metric: Metric, read: Callable[[], float]) -> None:
        """A count that is kept elsewhere."""
        if self.meter is not None:
            self.meter.counter(metric, read)

    def counts(self, metric: Metric, read: Callable[[], Mapping[str, float]]) -> None:
        """Counts of a metric with one label, by its values, that are kept elsewhere."""
        if self.meter is not None:
            self.meter.counts(metric, read)

    def close(self) -> None:
        """Answer no more; what is left of the traces gets a moment to leave."""
        if self._server is not None:
            self._server.close()
        if self._tracer is not None:
            self._tracer.close()
        if self._timeline is not None:
            self._timeline.close()


def make_probe(asked: Telemetry, worker: str, warn: Callable[[str], None], *, life: int = 0) -> Probe:
    """The probe of the worker of that name, in its start `life`; libraries are loaded for what is asked for only."""
    meter = None
    if asked.metrics:
        from auflow.telemetry.meter import Meter

        meter = Meter(asked.models)
    timeline = None
    if asked.timeline:
        from auflow.telemetry.timeline import TimelineWriter

        timeline = TimelineWriter(Path(asked.timeline), worker, life, asked.timeline_records, warn)
    if not asked.trace_every:
        return Probe(meter, timeline=timeline)
    from auflow.telemetry.tracing import Sampler, Tracer

    tracer = Tracer(worker, asked.trace_endpoint, {"process.pid": os.getpid()}, warn)
    return Probe(meter, Sampler(asked.trace_every), tracer, timeline)
