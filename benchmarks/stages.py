"""What each stage costs: CPU time of the stages' calls with all of them in this process, one after the other.

Compiling and loading come before. Detection is called from within CLNF and is counted apart from it. The first fit of
a face tries eleven head rotations: it is the largest CLNF call, and the median leaves it out. What is left when the
stages are taken from the whole is the sink and the loop around them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from auflow import inline
from auflow.benchmarks.patching import replaced
from auflow.benchmarks.spread import Spread
from auflow.errors import StageError
from auflow.flow.stagekit import ensure_kernels
from auflow.options import RunOptions
from auflow.report import make_reporter
from auflow.stages import au, clnf
from auflow.stages.decode import open_source as open_real_source
from auflow.stages.settings import StageSettings

__all__ = ["StageCost", "StageCosts", "measure"]

REST = "sink and loop"


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage over a clip."""

    name: str
    ms_per_frame: float
    calls: Spread | None  # milliseconds of a call; None for what is only known as a sum


@dataclass(frozen=True, slots=True)
class StageCosts:
    """All stages over a clip."""

    frames: int
    ms_per_frame: float
    stages: tuple[StageCost, ...]


@dataclass(slots=True)
class _Clock:
    """CPU time of the calls of one stage, less that of the stage it calls."""

    calls_s: list[float] = field(default_factory=list)
    inner: _Clock | None = None

    def watch(self, target: Any, method: str) -> None:
        """From now on count the calls of `target.method`."""
        setattr(target, method, partial(self._call, getattr(target, method)))

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before_s, inner_before_s = time.process_time(), self._inner_s()
        result = function(*args, **kwargs)
        self.calls_s.append(time.process_time() - before_s - (self._inner_s() - inner_before_s))
        return result

    def _inner_s(self) -> float:
        return sum(self.inner.calls_s) if self.inner else 0.0


def measure(clip: Path, models_root: Path, *, repeat: int) -> StageCosts:
    """Run the stages over the clip `repeat` times; the costs of the run that took least.

    Raises
    ------
    StageError
        The run failed.
    """
    ensure_kernels(models_root, StageSettings())
    clnf.warm_up(models_root)  # loads what is compiled
    au.warm_up(models_root)
    return min((_measure_once(clip, models_root) for _ in range(repeat)), key=lambda costs: costs.ms_per_frame)


def _measure_once(clip: Path, models_root: Path) -> StageCosts:
    clocks = {name: _Clock() for name in ("decode", "detect", "clnf", "au", "au, whole video")}
    clocks["clnf"].inner = clocks["detect"]
    loaded_s = [0.0]

    def open_source(path: Path) -> Any:
        source = open_real_source(path)
        clocks["decode"].watch(source, "read_into")
        return source

    def load(*args: Any) -> Any:
        stages = inline.load_stages(*args)
        clocks["detect"].watch(stages.detector, "detect")
        clocks["clnf"].watch(stages.clnf, "process")
        clocks["au"].watch(stages.au, "process_faces")
        clocks["au, whole video"].watch(stages.au, "finish")
        loaded_s[0] = time.process_time()
        return stages

    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as folder, replaced(inline, "open_source", open_source):
        options = RunOptions(inputs=(clip,), output_dir=Path(folder), models_root=models_root, inline=True, quiet=True)
        (summary,) = inline.run(options, make_reporter(quiet=True), load=load)
    if summary.error is not None or not summary.frames:
        raise StageError(f"{clip}: {summary.error or 'no frame came out'}; give another clip")
    total_s = time.process_time() - loaded_s[0]
    return _costs({name: clock.calls_s for name, clock in clocks.items()}, total_s, summary.frames)


def _costs(calls_s: dict[str, Sequence[float]], total_s: float, frames: int) -> StageCosts:
    per_frame = 1e3 / frames
    found = [
        StageCost(name, per_frame * sum(calls), Spread.of([1e3 * call for call in calls]))
        for name, calls in calls_s.items()
        if calls
    ]
    rest_ms = per_frame * total_s - sum(stage.ms_per_frame for stage in found)
    return StageCosts(frames, per_frame * total_s, (*found, StageCost(REST, rest_ms, None)))
