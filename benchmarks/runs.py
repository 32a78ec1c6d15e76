"""What whole runs cost: `auflow run` in a process of its own, watched from outside.

wall fps     frames by the time from the command's start to its end
steady fps   frames by the time from the first frame's AUs to the last line of output, CSV included
CPU ms       user and system time of all processes, start-up included, per frame
first AU     from the command's start until the first frame had passed the AU stage
latency      from the decoder's hand to the sink's, per frame
PSS          largest sum over all processes at one moment: pages that are shared count once
busy         share of the steady time in which a process had a core; queued: in which it was ready to run and
             others had them; the rest it waited for another process
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from auflow.benchmarks.clips import copies
from auflow.benchmarks.machine import usable_cores
from auflow.benchmarks.processes import TreeTrace, watch
from auflow.errors import StageError, UsageError

__all__ = [
    "Finished",
    "ProcessCost",
    "RunCost",
    "RunPlan",
    "Told",
    "execute",
    "measure",
    "pinned",
    "plans",
    "read_summary",
    "run_command",
]

TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One way to run."""

    inline: bool = False
    cores: int | None = None  # pinned to so many; None is all
    jobs: int = 1  # copies of the clip, all at the same time
    no_cache: bool = False  # with an empty folder for compiled kernels
    options: tuple[str, ...] = ()  # more words for `auflow run`

    @property
    def name(self) -> str:
        """As in tables."""
        words = ["one process" if self.inline else "processes"]
        words += [f"{self.jobs} at once"] * (self.jobs > 1)
        words += [f"{self.cores} core{'' if self.cores == 1 else 's'}"] * (self.cores is not None)
        words += ["no kernel cache"] * self.no_cache
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """One process of a run; times over the steady part."""

    name: str
    cpu_ms: float  # per frame
    busy: float  # share of the time
    queued: float
    pss_mb: float  # largest
    rss_mb: float


@dataclass(frozen=True, slots=True)
class RunCost:
    """One run, or the medians of several."""

    plan: RunPlan
    frames: int
    wall_s: float
    wall_fps: float
    steady_fps: float
    cpu_ms: float  # per frame
    first_au_s: float
    latency_ms: dict[str, float]  # p50, p95, p99, max
    convergence: dict[str, float | None]  # as in `auflow run --summary`
    pss_mb: float
    processes: tuple[ProcessCost, ...]
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)  # of several runs: least and most


@dataclass(slots=True)
class Finished:
    """A command that has ended."""

    command: Sequence[str]
    code: int
    wall_s: float
    cpu_s: float  # user and system, of it and of every process it waited for
    trace: TreeTrace
    text: str  # what it said on standard error
    spoke_s: float  # monotonic: when it said the last of that

    def require_success(self) -> None:
        """Raise unless the exit code is 0.

        Raises
        ------
        StageError
            with the command and the end of what it said
        """
        if self.code:
            tail = "\n".join(self.text.rstrip().splitlines()[-TAIL_LINES:]) or "(it said nothing)"
            raise StageError(f"{shlex.join(self.command)}\nended with exit code {self.code}:\n{tail}")


def plans(
    *, inline: bool, cores: Sequence[int], jobs: Sequence[int], no_cache: bool, options: Sequence[str] = ()
) -> list[RunPlan]:
    """Every combination that was asked for: without `cores` not pinned at all, one clip at a time and `jobs` at once.

    Raises
    ------
    UsageError
        More cores than this process may use.
    """
    usable = len(usable_cores())
    if cores and (max(cores) > usable or not hasattr(os, "sched_setaffinity")):
        raise UsageError(f"--cores {max(cores)}: this process may use {usable} here; ask for 1 to {usable}")
    extra = tuple(options)
    found = []
    counts: list[int | None] = [*cores] or [None]
    for count in counts:
        found += [RunPlan(cores=count, jobs=number, options=extra) for number in sorted({1, *jobs})]
        found += [RunPlan(inline=True, cores=count, options=extra)] * inline
    return found + [RunPlan(no_cache=True, options=extra)] * no_cache


def measure(clip: Path, plan: RunPlan, *, repeat: int) -> RunCost:
    """Run `repeat` times; the medians of all figures.

    Raises
    ------
    StageError
        A run failed.
    """
    return _median([_measure_once(clip, plan) for _ in range(repeat)])


def _measure_once(clip: Path, plan: RunPlan) -> RunCost:
    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as name:
        folder = Path(name)
        environment = dict(os.environ)
        if plan.no_cache:
            environment["NUMBA_CACHE_DIR"] = str(folder / "kernels")
        inputs = [clip] if plan.jobs == 1 else copies(clip, plan.jobs, folder)
        summary = folder / "summary.json"
        words = ["--summary", str(summary), "--jobs", str(plan.jobs), *["--inline"] * plan.inline, *plan.options]
        done = execute(run_command(inputs, folder / "out", words), cores=plan.cores, environment=environment)
        done.require_success()
        return _cost(plan, done, read_summary(summary))


@dataclass(frozen=True, slots=True)
class Told:
    """What a run says of itself in the file of `--summary`."""

    frames: int
    first_at_s: float  # monotonic: when the first frame had passed the AU stage
    latency_ms: dict[str, float]
    convergence: dict[str, float | None]


def read_summary(path: Path) -> Told:
    """What the run that has just written `path` says of itself.

    Raises
    ------
    StageError
        No frame came out of it.
    """
    totals = json.loads(path.read_text())["totals"]
    if not totals["frames"] or totals["first_result_s"] is None:
        raise StageError("the run gave no frame, so there is no speed to be told; give another clip")
    # It counts from its own begin, which is later than the process's by what Python takes to start. The file was
    # written when `seconds` of it were over.
    to_monotonic_s = time.monotonic() - time.time()
    began_s = path.stat().st_mtime + to_monotonic_s - totals["seconds"]
    first_at_s = began_s + totals["first_result_s"]
    return Told(totals["frames"], first_at_s, totals["latency_ms"], totals["convergence"])


def run_command(inputs: Sequence[Path], output: Path, words: Sequence[str] = ()) -> list[str]:
    """The command line of `auflow run`, by this interpreter and this auflow."""
    # -P: a file of the working folder must not stand in for a module.
    return [sys.executable, "-P", "-m", "auflow", "run", *(str(path) for path in inputs), "-o", str(output), *words]


def execute(
    command: Sequence[str], *, cores: int | None = None, environment: dict[str, str] | None = None, memory: bool = True
) -> Finished:
    """Run a command to its end and watch it.

    Raises
    ------
    UsageError
        There is no such program, or it cannot be started.
    """
    cpu_before_s = _children_cpu_s()
    try:
        with pinned(cores):
            began_s = time.monotonic()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
            )
    except OSError as error:
        raise UsageError(f"{command[0]}: cannot be started: {error.strerror}; check its name and path") from error
    assert process.stderr is not None
    listener = _Listener(process.stderr)
    with process:
        trace = watch(process, memory=memory)
    listener.join()
    wall_s = trace.ended_s - began_s
    trace.began_s = began_s
    # A process that nobody waited for is in the trace alone.
    cpu_s = max(_children_cpu_s() - cpu_before_s, trace.cpu_s)
    return Finished(command, process.returncode, wall_s, cpu_s, trace, listener.text, listener.spoke_s or trace.ended_s)


class _Listener(threading.Thread):
    """Takes in what a process says on standard error, and when."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._lines: list[bytes] = []
        self.spoke_s: float | None = None
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self.spoke_s = time.monotonic()
            self._lines.append(line)

    @property
    def text(self) -> str:
        return b"".join(self._lines).decode(errors="replace")


@contextmanager
def pinned(cores: int | None) -> Iterator[None]:
    """Processes started inside stay on the first `cores` of the usable ones; None leaves them all."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, usable_cores()[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _cost(plan: RunPlan, done: Finished, told: Told) -> RunCost:
    frames = told.frames
    processes = _process_costs(done.trace, told.first_at_s, done.spoke_s, frames)
    if plan.inline:
        processes = tuple(replace(process, name="all stages") for process in processes)
    return RunCost(
        plan=plan,
        frames=frames,
        wall_s=done.wall_s,
        wall_fps=frames / done.wall_s,
        steady_fps=(frames - 1) / max(done.spoke_s - told.first_at_s, 1e-3),
        cpu_ms=1e3 * done.cpu_s / frames,
        first_au_s=told.first_at_s - done.trace.began_s,
        latency_ms=told.latency_ms,
        convergence=told.convergence,
        pss_mb=done.trace.peak_pss_bytes / 1e6,
        processes=processes,
    )


def _process_costs(trace: TreeTrace, start_s: float, end_s: float, frames: int) -> tuple[ProcessCost, ...]:
    """The processes that lived through the steady part, the busiest first."""
    costs = []
    lasted_s = end_s - start_s
    for process in trace.processes.values():
        used = process.between(start_s, end_s)
        if used is None or not process.memory:
            continue
        busy, queued = (seconds / lasted_s for seconds in used)
        pss = max(sample.pss_bytes for sample in process.memory)
        rss = max(sample.rss_bytes for sample in process.memory)
        # A process may have more threads than the one that works: together they may be queued twice.
        queued = min(max(queued, 0.0), max(1 - busy, 0.0))
        costs.append(ProcessCost(process.name, 1e3 * used[0] / frames, busy, queued, pss / 1e6, rss / 1e6))
    return tuple(sorted(costs, key=lambda cost: -cost.cpu_ms))


_SPREAD = ("wall_s", "wall_fps", "steady_fps", "cpu_ms", "first_au_s", "pss_mb")


def _median(runs: Sequence[RunCost]) -> RunCost:
    """The medians of several runs of one plan; convergence and processes are those of the run in the middle."""
    middle = sorted(runs, key=lambda run: run.wall_s)[len(runs) // 2]
    values = {name: [getattr(run, name) for run in runs] for name in _SPREAD}
    latency_ms = {name: statistics.median(run.latency_ms[name] for run in runs) for name in middle.latency_ms}
    ranges = {name: (min(found), max(found)) for name, found in values.items()}
    medians = {name: statistics.median(found) for name, found in values.items()}
    return replace(middle, latency_ms=latency_ms, ranges=ranges, **medians)
