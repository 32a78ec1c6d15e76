"""How throughput grows with cores, by a model of the measured stage times.

A frame costs process p of a lane t_p milliseconds of CPU. L lanes have n_p(L) processes of that kind: L of each
stage, one detection process for every four lanes, one orchestrator. On C cores

    fps = 1000 * min( C / sum of t_p,  min over p of n_p(L) / t_p )

The first term: all cores are busy with nothing else. The second: the process that every frame must pass through is
busy all the time. Both are upper bounds. What the cores share is not in it: memory bandwidth, caches, clock rates that
fall when all cores work, hardware threads that are counted as cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auflow.benchmarks.runs import RunCost

__all__ = ["Prediction", "Scaling", "predict", "role_times_ms", "scale"]

CORES = (1, 2, 4, 8, 16, 64)
LANES_PER_DETECTOR = 4
SHARED = {"detect": LANES_PER_DETECTOR, "orchestrator": None}  # lanes per process; None: one for all


@dataclass(frozen=True, slots=True)
class Prediction:
    """Throughput at one number of cores and lanes."""

    cores: int
    lanes: int
    fps: float  # of all lanes
    bound: str  # what bounds it: "cores", or the busiest process
    measured_fps: float | None = None  # steady, where it was measured


@dataclass(frozen=True, slots=True)
class Scaling:
    """The model and its predictions."""

    source: str  # the run that the times are from
    ms: dict[str, float]  # CPU ms per frame of each kind of process
    single: tuple[Prediction, ...]  # one input
    many: tuple[Prediction, ...]  # an input per core, all at once


def role_times_ms(run: RunCost) -> dict[str, float]:
    """CPU ms per frame of each kind of process, over the steady part of a run."""
    times: dict[str, float] = {}
    for process in run.processes:
        role = process.name.rpartition("-")[0] or process.name
        times[role] = times.get(role, 0.0) + process.cpu_ms
    return times


def predict(ms: Mapping[str, float], cores: int, lanes: int) -> Prediction:
    """Frames per second of `lanes` inputs at once on `cores` cores."""
    bounds = {"cores": cores / sum(ms.values())}
    for role, time_ms in ms.items():
        if time_ms > 0:
            bounds[role] = _processes(role, lanes) / time_ms
    bound = min(bounds, key=lambda name: bounds[name])
    return Prediction(cores, lanes, 1e3 * bounds[bound], bound)


def _processes(role: str, lanes: int) -> int:
    if role not in SHARED:
        return lanes
    per = SHARED[role]
    return 1 if per is None else -(-lanes // per)


def scale(run: RunCost, measured: Mapping[tuple[int, int], float], cores: Sequence[int] = CORES) -> Scaling:
    """Predictions from one run of one input, in separate processes.

    Parameters
    ----------
    run : where the stage times are from
    measured : steady fps by (cores, lanes), to hold the predictions against
    """
    ms = role_times_ms(run)

    def held(prediction: Prediction) -> Prediction:
        found = measured.get((prediction.cores, prediction.lanes))
        return Prediction(prediction.cores, prediction.lanes, prediction.fps, prediction.bound, found)

    single = tuple(held(predict(ms, count, 1)) for count in cores)
    many = tuple(held(predict(ms, count, count)) for count in cores if count > 1)
    return Scaling(run.plan.name, ms, single, many)
