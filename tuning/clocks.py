"""A clock around each stage: how long it had the frame, and how much CPU time that took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.inline import Stages
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo

__all__ = ["Lap", "StageClock", "clocked"]


@dataclass(frozen=True, slots=True)
class Lap:
    """Seconds."""

    cpu_s: float = 0.0  # of all threads of this process
    wall_s: float = 0.0

    @classmethod
    def now(cls) -> Lap:
        """The clocks as they stand."""
        return cls(time.process_time(), time.perf_counter())

    def __add__(self, other: Lap) -> Lap:
        return Lap(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    def __sub__(self, other: Lap) -> Lap:
        return Lap(self.cpu_s - other.cpu_s, self.wall_s - other.wall_s)


@dataclass(slots=True)
class StageClock:
    """What each stage took since `clear`."""

    laps: dict[str, Lap] = field(default_factory=dict)

    def clear(self) -> None:
        """Begin at zero."""
        self.laps = {}

    def of(self, stage: str) -> Lap:
        """What a stage took."""
        return self.laps.get(stage, Lap())

    def timed(self, stage: str, call: Callable[[], Any]) -> Any:
        """What the call returns; what it takes counts for the stage."""
        before = Lap.now()
        try:
            return call()
        finally:
            self.laps[stage] = self.of(stage) + (Lap.now() - before)


def clocked(stages: Stages, clock: StageClock) -> Stages:
    """The same stages, whose work is timed. A look for faces counts as detection, not as part of the fit."""
    return Stages(stages.detector, _Clnf(stages.clnf, clock), _Au(stages.au, clock))


class _Clnf:
    def __init__(self, inner: Any, clock: StageClock) -> None:
        self._inner, self._clock = inner, clock

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        looked = self._clock.of("detect")
        fits: tuple[FaceFit, ...] = self._clock.timed(
            "clnf", lambda: self._inner.process(frame, lambda: self._clock.timed("detect", detect))
        )
        self._clock.laps["clnf"] = self._clock.of("clnf") - (self._clock.of("detect") - looked)
        return fits

    def reset(self, info: SourceInfo) -> None:
        self._inner.reset(info)


class _Au:
    def __init__(self, inner: Any, clock: StageClock) -> None:
        self._inner, self._clock = inner, clock

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        found: tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]] = self._clock.timed(
            "au", lambda: self._inner.process_faces(frame, fits)
        )
        return found

    def finish(self) -> AuTable:
        table: AuTable = self._clock.timed("au", self._inner.finish)
        return table

    def reset(self) -> None:
        self._inner.reset()
