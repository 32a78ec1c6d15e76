"""`auflow run --metrics HOST:PORT`: the metrics of a run, of all its processes, for as long as it lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

import auflow
from auflow import metrics
from auflow.errors import UsageError
from auflow.report import Reporter, StreamSummary
from auflow.telemetry.families import family_of
from auflow.telemetry.gather import fetch_all, merged
from auflow.telemetry.http import SmallServer, metrics_at
from auflow.telemetry.targets import ORCHESTRATOR

if TYPE_CHECKING:
    from auflow.stages.records import SourceInfo

__all__ = ["RunMetrics"]

_FILES = "files"  # all inputs together: there may be thousands


class RunMetrics(Collector):
    """Passes everything on to `reporter`, counts it, and answers at an address of this machine.

    Parameters
    ----------
    address : (host, port)
    models : digest of the model files
    reporter : the user's
    ports : asked for the workers that tell metrics, and at which port

    Raises
    ------
    UsageError
        The address cannot be taken.
    """

    def __init__(
        self, address: tuple[str, int], models: str, reporter: Reporter, ports: Callable[[], Mapping[str, int]]
    ) -> None:
        self._reporter = reporter
        self._ports = ports
        self._models = models
        self._running: dict[str, int] = {}  # frames of each input that is under way
        self._frames = self._failed = self._corrupt = 0  # of those that have ended
        self._ended: Counter[str] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        try:
            self._server = SmallServer(address, metrics_at({"/metrics": self._text}), "metrics")
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"--metrics: {address[0]}:{address[1]} cannot be listened on: {reason}") from error

    @property
    def address(self) -> str:
        """HOST:PORT as it is listened on."""
        return self._server.address

    def _text(self) -> bytes:
        own = {ORCHESTRATOR: generate_latest(self._registry).decode()}
        return merged(own | fetch_all(dict(self._ports())))

    def collect(self) -> Iterable[Family]:
        """For the registry; called in a thread of the server."""
        done = self._frames + sum(list(self._running.values()))
        return [
            family_of(metrics.BUILD_INFO, [((auflow.__version__, self._models), 1)]),
            family_of(metrics.FRAMES_DONE, [((_FILES,), done - self._failed)]),
            family_of(metrics.FRAMES_FAILED, [((_FILES,), self._failed)]),
            family_of(metrics.FRAMES_CORRUPT, [((_FILES,), self._corrupt)]),
            family_of(
                metrics.INPUTS, [((state,), self._ended[state]) for state in ("complete", "interrupted", "failed")]
            ),
            family_of(metrics.INPUTS_RUNNING, [((), len(self._running))]),
        ]

    # Reporter

    def stream_started(self, info: SourceInfo) -> None:
        """An input was opened."""
        self._running[info.path] = 0
        self._reporter.stream_started(info)

    def advanced(self, path: str, frames: int) -> None:
        """So many frames of an input are done."""
        self._running[path] = frames
        self._reporter.advanced(path, frames)

    def stream_finished(self, summary: StreamSummary) -> None:
        """An input ended."""
        self._running.pop(summary.path, None)
        self._frames += summary.frames
        self._failed += summary.failed_frames
        self._corrupt += summary.corrupt_frames
        state = "failed" if summary.error is not None else "interrupted" if summary.interrupted else "complete"
        self._ended[state] += 1
        self._reporter.stream_finished(summary)

    def note(self, text: str) -> None:
        """Passed on."""
        self._reporter.note(text)

    def warning(self, text: str) -> None:
        """Passed on."""
        self._reporter.warning(text)

    def close(self) -> None:
        """Answer no more; the reporter is closed by whoever made it."""
        self._server.close()
