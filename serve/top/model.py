"""What is shown, out of the looks at a service: rates, quantiles, shares since the look before. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auflow import metrics
from auflow.metrics import STAGES
from auflow.serve.top.figures import Growth, Histogram, Samples, grown, growth
from auflow.serve.top.looks import CPU, MEMORY, Look
from auflow.serve.top.noticed import UP, Noticed, Warned
from auflow.telemetry.targets import ORCHESTRATOR

__all__ = ["Counts", "Group", "Head", "History", "Stage", "Stream", "View", "total"]

_BARS = 24  # looks that a sparkline shows


@dataclass(frozen=True, slots=True)
class Head:
    """The service as a whole."""

    state: str = "-"
    version: str = "-"
    uptime_s: float | None = None
    up: int = 0  # streams
    streams: int = 0
    in_per_s: float | None = None
    out_per_s: float | None = None
    cpu: float | None = None  # of all processes together; 1 is one core
    memory_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames of a stream: how many, or how many a second."""

    came: float
    done: float
    dropped: dict[str, float]  # by reason
    failed: float


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream; what is measured is so since the look before."""

    name: str
    state: str
    since_s: float | None  # in this state
    counts: Counts
    rates: Counts | None  # per second
    age_p50_s: float | None
    age_p99_s: float | None
    reconnects: int
    faces: int | None  # in the last frame
    confidence: float | None
    trend: tuple[float | None, ...]  # results a second, of the last looks
    ages: tuple[float | None, ...]  # medians of the last looks, s


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, in all lanes."""

    name: str
    per_s: float | None
    work: Histogram
    wait: Histogram
    busy: float | None  # 1: its processes do nothing but work on frames
    busiest: tuple[str, float] | None  # of several processes
    queue: int | None  # frames that wait or are in work
    credits: int | None  # fewest of any lane: frames it may still hand on


@dataclass(frozen=True, slots=True)
class Group:
    """Processes that live and die together."""

    name: str
    state: str
    restarts: int | None
    cpu: float | None  # 1 is one core
    memory_mb: float | None
    slots_free: int | None
    slots: int | None
    workers: tuple[tuple[str, float | None], ...]  # name without the number, CPU


@dataclass(frozen=True, slots=True)
class View:
    """All that is shown."""

    head: Head = Head()
    streams: tuple[Stream, ...] = ()
    stages: tuple[Stage, ...] = ()
    stages_fault: str = ""  # why there are none
    groups: tuple[Group, ...] = ()
    warnings: tuple[Warned, ...] = ()  # the newest first
    seconds: float | None = None  # between the two looks
    gone: str = ""  # why no service answers
    gone_s: float = 0.0  # for how long


class History:
    """Takes looks, says what they mean. What came before a service was started again does not count."""

    def __init__(self) -> None:
        self._before: Look | None = None  # the last with a status
        self._told: dict[str, tuple[float, Samples]] = {}  # by worker: when it told its metrics last
        self._trends: dict[str, tuple[deque[float | None], deque[float | None]]] = {}
        self._noticed = Noticed()
        self._gone_since_s: float | None = None

    def take(self, look: Look) -> View:
        """What to show after another look."""
        if look.status is None:
            return self._gone(look)
        self._gone_since_s = None
        if self._before is not None and _uptime(look) < _uptime(self._before):
            self._forget()
            self._noticed.add(look.unix_s, "service", "was started again")
        before = self._before
        told = self._growths(look)
        streams = [self._stream(stream, look, told) for stream in _list(look.status, "streams")]
        groups = _groups(look, before, told)
        self._noticed.watch(look.unix_s, look.status, _all_groups(look.status))
        self._before = look
        return View(
            _head(look.status, streams, groups),
            tuple(streams),
            tuple(_stage(name, told) for name in STAGES) if look.metrics else (),
            look.metrics_fault,
            tuple(groups),
            self._noticed.newest_first(),
            look.at_s - before.at_s if before is not None else None,
        )

    def _gone(self, look: Look) -> View:
        if self._gone_since_s is None:
            self._gone_since_s = look.at_s
            self._noticed.add(look.unix_s, "service", look.fault)
        gone_s = look.at_s - self._gone_since_s
        return View(warnings=self._noticed.newest_first(), gone=look.fault, gone_s=gone_s)

    def _forget(self) -> None:
        self._before = None
        self._told.clear()
        self._trends.clear()

    def _growths(self, look: Look) -> dict[str, Growth]:
        """By worker. One that did not answer for a while is compared with what it told last."""
        found = {}
        for worker, samples in look.metrics.items():
            if worker in self._told:
                since_s, old = self._told[worker]
                found[worker] = growth(samples, old, look.at_s - since_s)
            else:  # it may have counted for days before we came
                found[worker] = growth(samples, samples, 0.0)
            self._told[worker] = look.at_s, samples
        return found

    def _stream(self, told: Mapping[str, Any], look: Look, growths: Mapping[str, Growth]) -> Stream:
        before, name = self._before, str(told.get("name", "-"))
        old = next((s for s in _list(before.status, "streams") if s.get("name") == name), None) if before else None
        counts, rates = _counts(told), None
        if before is not None and old is not None and look.at_s > before.at_s:
            rates = _per_second(counts, _counts(old), look.at_s - before.at_s)
        ages, faces, confidence = _measured(name, growths)
        is_up = told.get("state") in UP
        p50_s, p99_s = (
            _or(ages.quantile(percent / 100), _s(told.get(f"age_p{percent}_ms"))) if is_up else None
            for percent in (50, 99)
        )
        trend, medians = self._trends.setdefault(name, (deque(maxlen=_BARS), deque(maxlen=_BARS)))
        trend.append(rates.done if rates else None)
        medians.append(p50_s)
        return Stream(
            name,
            str(told.get("state", "-")),
            told.get("since_s"),
            counts,
            rates,
            p50_s,
            p99_s,
            int(told.get("reconnects") or 0),
            (told.get("faces") if faces is None else faces) if is_up else None,
            confidence,
            tuple(trend),
            tuple(medians),
        )


def total(values: Sequence[float | None]) -> float | None:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _counts(stream: Mapping[str, Any]) -> Counts:
    frames = stream.get("frames") or {}
    came, done, failed = (frames.get(key) or 0 for key in ("in", "done", "failed"))
    return Counts(came, done, dict(frames.get("dropped") or {}), failed)


def _per_second(now: Counts, then: Counts, seconds: float) -> Counts:
    dropped = {why: grown(count, then.dropped.get(why, 0)) / seconds for why, count in now.dropped.items()}
    came, done, failed = (
        grown(new, old) / seconds
        for new, old in ((now.came, then.came), (now.done, then.done), (now.failed, then.failed))
    )
    return Counts(came, done, dropped, failed)


def _measured(stream: str, growths: Mapping[str, Growth]) -> tuple[Histogram, int | None, float | None]:
    """Of the process that writes the stream: ages, faces in the last frame, mean confidence."""
    ages, faces, rows, confidence = Histogram(), None, 0.0, 0.0
    for told in growths.values():
        came = told.histogram(metrics.FRAME_AGE, stream=stream)
        if came is not None:
            ages += came
            tracked = told.gauge(metrics.FACES_TRACKED, stream=stream)
            faces = faces if tracked is None else int(tracked)
            rows += told.counter(f"{metrics.FACE_CONFIDENCE.name}_count", stream=stream) or 0.0
            confidence += told.counter(f"{metrics.FACE_CONFIDENCE.name}_sum", stream=stream) or 0.0
    return ages, faces, confidence / rows if rows else None


def _stage(name: str, growths: Mapping[str, Growth]) -> Stage:
    work, wait, per_s, busy = Histogram(), Histogram(), [], {}
    for worker, told in growths.items():
        came = told.histogram(metrics.STAGE_DURATION, stage=name)
        if came is None or told.seconds <= 0.0:
            continue
        work += came
        wait += told.histogram(metrics.QUEUE_WAIT, stage=name) or Histogram()
        per_s.append(came.count / told.seconds)
        busy[worker] = min(1.0, came.total_s / told.seconds)
    queue = total([told.gauge(metrics.QUEUE_DEPTH, stage=name) for told in growths.values()])
    room = [told.gauge(metrics.CREDITS, stage=name) for told in growths.values()]
    least = min((value for value in room if value is not None), default=None)
    return Stage(
        name,
        total(per_s),
        work,
        wait,
        sum(busy.values()) / len(busy) if busy else None,
        max(busy.items(), key=lambda item: item[1]) if len(busy) > 1 else None,
        None if queue is None else int(queue),
        None if least is None else int(least),
    )


def _groups(look: Look, before: Look | None, growths: Mapping[str, Growth]) -> list[Group]:
    old = {}
    if before is not None:
        workers = [worker for group in _all_groups(before.status) for worker in _list(group, "workers")]
        old = {(worker.get("name"), worker.get("pid")): worker.get("cpu_s") for worker in workers}
    seconds = look.at_s - before.at_s if before is not None else 0.0
    told = [_group(group, old, seconds, growths) for group in _all_groups(look.status)]
    if ORCHESTRATOR in growths:
        cpu, memory_mb = _of_process(growths[ORCHESTRATOR])
        told.append(Group("service", "running", None, cpu, memory_mb, None, None, ()))
    return told


def _group(
    told: Mapping[str, Any],
    old_cpu_s: Mapping[tuple[Any, Any], Any],
    seconds: float,
    growths: Mapping[str, Growth],
) -> Group:
    workers, memory_mb, free, slots = [], [], None, None
    for worker in _list(told, "workers"):
        name = str(worker.get("name", "-"))
        cpu, measured_mb = _of_process(growths.get(name))
        now_s, then_s = worker.get("cpu_s"), old_cpu_s.get((name, worker.get("pid")))
        if now_s is not None and then_s is not None and seconds > 0:
            cpu = (now_s - then_s) / seconds
        workers.append((name.rpartition("-")[0] or name, cpu))
        memory_mb.append(_or(worker.get("pss_mb"), measured_mb))
        if name in growths:
            free = _or(growths[name].gauge(metrics.RING_SLOTS_FREE), free)
            slots = _or(growths[name].gauge(metrics.RING_SLOTS), slots)
    return Group(
        str(told.get("name", "-")),
        str(told.get("state", "-")),
        told.get("restarts"),
        total([cpu for _, cpu in workers]),
        total(memory_mb),
        None if free is None else int(free),
        None if slots is None else int(slots),
        tuple(workers),
    )


def _of_process(told: Growth | None) -> tuple[float | None, float | None]:
    """CPU (1 is one core) and memory in MB, as a process tells them itself."""
    if told is None:
        return None, None
    took_s, held = told.counter(CPU), told.gauges.get((MEMORY, ()))
    cpu = took_s / told.seconds if took_s is not None and told.seconds > 0 else None
    return cpu, None if held is None else held / (1 << 20)


def _all_groups(status: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Lanes, detectors and the bus, whose only process the status does not list."""
    if status is None:
        return []
    bus = status.get("bus") or {}
    own = [{"name": "bus-0", **bus, "workers": [{"name": "bus-0"}]}] if "state" in bus else []
    return [*_list(status, "lanes"), *_list(status, "detectors"), *own]


def _head(status: Mapping[str, Any], streams: Sequence[Stream], groups: Sequence[Group]) -> Head:
    return Head(
        str(status.get("state", "-")),
        str(status.get("version", "-")),
        status.get("uptime_s"),
        sum(stream.state in UP for stream in streams),
        len(streams),
        total([stream.rates.came for stream in streams if stream.rates]),
        total([stream.rates.done for stream in streams if stream.rates]),
        total([group.cpu for group in groups]),
        total([group.memory_mb for group in groups]),
    )


def _uptime(look: Look) -> float:
    uptime_s = (look.status or {}).get("uptime_s")
    return uptime_s if isinstance(uptime_s, (int, float)) else math.inf


def _list(item: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    return list((item or {}).get(name) or ())


def _s(milliseconds: object) -> float | None:
    return milliseconds / 1e3 if isinstance(milliseconds, (int, float)) else None


def _or(first: float | None, second: float | None) -> float | None:
    return second if first is None else first
