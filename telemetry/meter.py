"""What a worker measures, as Prometheus reads it, by the names of `auflow.metrics`; a registry for each process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

import auflow
from auflow import metrics
from auflow.metrics import Metric
from auflow.stages.records import AU_INTENSITIES, AuFrame, FaceFit
from auflow.stages.statistics import Coherence
from auflow.telemetry.families import family_of

__all__ = ["Meter"]

MOST_STREAMS = 64  # whose figures are kept; those that ended first are forgotten


class Meter:
    """The metrics of one worker; those that its role never feeds are not shown.

    Parameters
    ----------
    models : digest of the model files

    All methods but `text` belong to the work loop; `text` may be called in any thread.
    """

    def __init__(self, models: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the samples, and no rate needs them
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._made: dict[str, Histogram | Counter | Gauge] = {}
        self._children: dict[tuple[str, str], Histogram] = {}  # looked up once: that takes as long as to observe
        self._faces = _Faces()
        self._open: dict[str, bool] = {}  # streams in the order of their coming, and whether they go on
        self.gauge(metrics.BUILD_INFO, lambda: 1.0, version=auflow.__version__, models=models)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def expect(self, stage: str, *, waits: bool) -> None:
        """Show a stage from the start, with nothing done: a rate needs a zero to begin from."""
        self._histogram(metrics.STAGE_DURATION, stage)
        if waits:
            self._histogram(metrics.QUEUE_WAIT, stage)

    def worked(self, stage: str, took_s: float) -> None:
        """A stage worked on one frame."""
        self._histogram(metrics.STAGE_DURATION, stage).observe(took_s)

    def waited(self, stage: str, waited_s: float) -> None:
        """A frame waited for a stage."""
        self._histogram(metrics.QUEUE_WAIT, stage).observe(waited_s)

    def fitted(self, fits: Iterable[FaceFit]) -> None:
        """A frame's faces were fitted."""
        optimisations, converged = self._counter(metrics.CLNF_OPTIMISATIONS), self._counter(metrics.CLNF_CONVERGED)
        for fit in fits:
            if fit.optimisations:  # else the face was not fitted in this frame
                self._histogram(metrics.CLNF_ITERATIONS).observe(fit.iterations)
                optimisations.inc(fit.optimisations)
                converged.inc(fit.converged)

    def result(
        self, stream: str, age_s: float, fits: Sequence[FaceFit], aus: Sequence[AuFrame], detections: int = 0
    ) -> None:
        """A frame's results are there; faces were looked for in it `detections` times."""
        if stream not in self._open:
            self._take_in(stream)
        self._histogram(metrics.FRAME_AGE, stream).observe(age_s)
        self._faces.add(stream, fits, aus, detections)

    def _take_in(self, stream: str) -> None:
        if not self._open:
            self.registry.register(self._faces)
        while len(self._open) >= MOST_STREAMS:
            gone = next((name for name, goes_on in self._open.items() if not goes_on), None) or next(iter(self._open))
            del self._open[gone]
            self._faces.streams.pop(gone, None)
            if self._children.pop((metrics.FRAME_AGE.name, gone), None) is not None:
                self._made[metrics.FRAME_AGE.name].remove(gone)
        self._open[stream] = True

    def ended(self, stream: str) -> None:
        """A stream gives no more results."""
        if stream in self._open:
            self._open[stream] = False
            self._faces.streams[stream].tracked = 0

    def gauge(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """A value that `read` tells whenever it is asked for, in another thread."""
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = Gauge(metric.name, metric.meaning, metric.labels, registry=self.registry)
        assert isinstance(made, Gauge)
        (made.labels(**labels) if labels else made).set_function(read)

    def counter(self, metric: Metric, read: Callable[[], float]) -> None:
        """A count that somebody else keeps; `read` tells it, in another thread."""
        self.registry.register(_Counts(metric, lambda: [((), read())]))

    def counts(self, metric: Metric, read: Callable[[], Mapping[str, float]]) -> None:
        """Counts of a metric with one label, by its values, that somebody else keeps."""
        self.registry.register(_Counts(metric, lambda: [((label,), count) for label, count in read().items()]))

    def _histogram(self, metric: Metric, label: str = "") -> Histogram:
        child = self._children.get((metric.name, label))
        if child is None:
            made = self._made.get(metric.name)
            if made is None:
                made = self._made[metric.name] = Histogram(
                    metric.name, metric.meaning, metric.labels, registry=self.registry, buckets=metric.buckets
                )
            assert isinstance(made, Histogram)
            child = self._children[metric.name, label] = made.labels(label) if label else made
        return child

    def _counter(self, metric: Metric) -> Counter:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = Counter(metric.name, metric.meaning, registry=self.registry)
        assert isinstance(made, Counter)
        return made


class _Counts(Collector):
    """A counter that is read where it is kept."""

    def __init__(self, metric: Metric, read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]) -> None:
        self._metric, self._read = metric, read

    def collect(self) -> Iterable[Family]:
        return [family_of(self._metric, self._read())]


@dataclass(slots=True)
class _Sums:
    """Of the faces of one stream."""

    tracked: int = 0  # in the last frame
    rows: int = 0
    confidence: float = 0.0
    faces: int = 0  # of the rows, those with a face
    work: Coherence = field(default_factory=Coherence)
    intensities: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(AU_INTENSITIES)))


class _Faces(Collector):
    """Sums over faces: one addition of 17 numbers a face, where 17 summaries would each take as long."""

    def __init__(self) -> None:
        self.streams: dict[str, _Sums] = {}

    def add(self, stream: str, fits: Sequence[FaceFit], aus: Sequence[AuFrame], detections: int) -> None:
        """The faces of one frame."""
        sums = self.streams.setdefault(stream, _Sums())
        sums.work += Coherence.of(fits, aus, detections)
        sums.tracked = 0
        for fit, au in zip(fits, aus, strict=True):
            sums.rows += 1
            sums.confidence += fit.confidence
            if fit.success:
                sums.tracked += 1
                sums.faces += 1
                sums.intensities += np.clip(au.intensities, 0.0, 5.0) if au.online is None else au.online

    def collect(self) -> Iterable[Family]:
        tracked, confidence, intensity = metrics.FACES_TRACKED, metrics.FACE_CONFIDENCE, metrics.AU_INTENSITY
        now = GaugeMetricFamily(tracked.name, tracked.meaning, labels=tracked.labels)
        rows = SummaryMetricFamily(confidence.name, confidence.meaning, labels=confidence.labels)
        aus = SummaryMetricFamily(intensity.name, intensity.meaning, labels=intensity.labels)
        for stream, sums in list(self.streams.items()):
            now.add_metric([stream], sums.tracked)
            rows.add_metric([stream], sums.rows, sums.confidence)
            for name, total in zip(AU_INTENSITIES, sums.intensities.tolist(), strict=True):
                aus.add_metric([stream, name], sums.faces, total)
        return [now, rows, aus, *self._work()]

    def _work(self) -> Iterable[Family]:
        work = {stream: sums.work for stream, sums in list(self.streams.items())}
        counts = {
            metrics.DETECTIONS: attrgetter("detections"),
            metrics.DESCRIPTORS: attrgetter("faces"),
            metrics.DESCRIPTORS_REUSED: attrgetter("reused"),
        }
        for metric, count in counts.items():
            yield family_of(metric, [((stream,), count(done)) for stream, done in work.items()])
