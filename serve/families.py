"""The orchestrator's own metrics: what the status of a service says, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

import auflow
from auflow import metrics
from auflow.telemetry.families import family_of

__all__ = ["OwnMetrics", "families"]

_UP_STATES = ("streaming", "running")
_COUNTS = (
    (metrics.FRAMES_CORRUPT, "corrupt"),
    (metrics.FRAMES_LOST, "lost"),
    (metrics.RECONNECTS, "reconnects"),
)
_OF_FRAMES = ((metrics.FRAMES, "in"), (metrics.FRAMES_DONE, "done"), (metrics.FRAMES_FAILED, "failed"))


class OwnMetrics(Collector):
    """Tells the last status that the main loop has given.

    Parameters
    ----------
    models : digest of the model files
    """

    def __init__(self, models: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self._models = models
        self._status: Mapping[str, Any] = {}
        self._at_s = 0.0

    def update(self, status: Mapping[str, Any]) -> None:
        """What is told from now on; the caller must not change it any more."""
        self._status, self._at_s = status, time.time()

    def text(self) -> bytes:
        """In Prometheus' text format; in any thread."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Family]:
        """For the registry."""
        build = family_of(metrics.BUILD_INFO, [((auflow.__version__, self._models), 1)])
        return [build, *families(self._status, self._at_s)]


def families(status: Mapping[str, Any], at_s: float) -> list[Family]:
    """The metrics of a status (docs/serve.md) that was taken at `at_s`, Unix time."""
    streams = [stream for stream in status.get("streams", ()) if stream["state"] != "removed"]
    groups = [*status.get("lanes", ()), *status.get("detectors", ())]
    bus = status.get("bus") or {}
    for name, door in (("bus-0", bus), ("web-0", status.get("web") or {})):
        if "state" in door:
            groups.append({"name": name, "state": door["state"], "restarts": door.get("restarts", 0)})
    return [
        family_of(metrics.READY, [((), status.get("state") == "ready")]),
        family_of(metrics.GROUP_UP, [((group["name"],), group["state"] == "running") for group in groups]),
        family_of(metrics.RESTARTS, [((group["name"],), group["restarts"]) for group in groups]),
        family_of(metrics.BUS_PUBLISHED, [((), bus.get("published", 0))]),
        *_of_streams(streams, at_s),
    ]


def _of_streams(streams: Sequence[Mapping[str, Any]], at_s: float) -> list[Family]:
    states = [((stream["name"], state), stream["state"] == state) for stream in streams for state in metrics.STATES]
    last = [
        ((stream["name"],), at_s - stream["last_frame_age_s"])
        for stream in streams
        if stream["last_frame_age_s"] is not None
    ]
    dropped = [
        ((stream["name"], reason), count) for stream in streams for reason, count in stream["frames"]["dropped"].items()
    ]
    return [
        family_of(metrics.STREAM_UP, [((stream["name"],), stream["state"] in _UP_STATES) for stream in streams]),
        family_of(metrics.STREAM_STATE, states),
        family_of(metrics.LAST_FRAME, last),
        *(family_of(metric, [((s["name"],), s["frames"][key]) for s in streams]) for metric, key in _OF_FRAMES),
        family_of(metrics.FRAMES_DROPPED, dropped),
        *(family_of(metric, [((s["name"],), s[key]) for s in streams]) for metric, key in _COUNTS),
    ]
