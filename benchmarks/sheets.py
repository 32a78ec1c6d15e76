"""What was measured as tables to read, and as single figures that are compared with earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auflow.benchmarks.tables import Table, amount

if TYPE_CHECKING:
    from auflow.benchmarks.arithmetic import Peaks
    from auflow.benchmarks.kernels import KernelCost
    from auflow.benchmarks.memory import MemoryCheck
    from auflow.benchmarks.model import Scaling
    from auflow.benchmarks.runs import RunCost
    from auflow.benchmarks.spread import Spread
    from auflow.benchmarks.stages import StageCosts
    from auflow.benchmarks.versus import Side, Versus

__all__ = [
    "Figure",
    "kernel_figures",
    "kernel_table",
    "memory_figures",
    "memory_table",
    "process_table",
    "run_figures",
    "run_table",
    "scaling_table",
    "stage_figures",
    "stage_table",
    "versus_figures",
    "versus_table",
]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number whose change over time counts."""

    name: str
    value: float
    unit: str

    @property
    def more_is_better(self) -> bool:
        """Rates and ratios; of times and sizes less is better."""
        return self.unit in ("fps", "times")


def kernel_table(costs: Sequence[KernelCost], peaks: Peaks) -> Table:
    """Microseconds per call, and how near to the core's peak."""
    rows = []
    for cost in costs:
        rate, traffic = cost.gflop_per_s, cost.gigabytes_per_s
        share = "-" if rate is None else f"{rate / peaks.gflop_per_s:.0%}"
        times = (amount(cost.us.least, 1), amount(cost.us.median, 1))
        rows.append((cost.name, *times, f"{cost.calls:,}", amount(rate, 1), share, amount(traffic, 1)))
    head = ("kernel", "us, least", "median", "calls", "GFLOP/s", "of peak", "GB/s")
    peak = f"peak of one core: {peaks.gflop_per_s:.0f} GFLOP/s (sgemm), {peaks.gigabytes_per_s:.1f} GB/s (copy)"
    return Table(head, rows, (peak,))


def kernel_figures(costs: Sequence[KernelCost]) -> list[Figure]:
    """The least time of each."""
    return [Figure(cost.name, cost.us.least, "us") for cost in costs]


def stage_table(costs: StageCosts) -> Table:
    """CPU milliseconds of the stages in one process."""
    rows = []
    for stage in costs.stages:
        calls = stage.calls
        row = [stage.name, amount(stage.ms_per_frame, 3), f"{stage.ms_per_frame / costs.ms_per_frame:.1%}"]
        row += ["-"] * 4 if calls is None else [f"{calls.count:,}"]
        row += [] if calls is None else [amount(value, 3) for value in (calls.median, calls.p95, calls.most)]
        rows.append(tuple(row))
    rows.append(("all", amount(costs.ms_per_frame, 3), "100.0%", "-", "-", "-", "-"))
    head = ("stage, in one process", "CPU ms a frame", "share", "calls", "ms a call", "p95", "largest")
    return Table(head, rows)


def stage_figures(costs: StageCosts) -> list[Figure]:
    """CPU time per frame of each, and of all."""
    found = [Figure(f"stage {stage.name}", stage.ms_per_frame, "ms") for stage in costs.stages]
    return [*found, Figure("all stages", costs.ms_per_frame, "ms")]


def run_table(runs: Sequence[RunCost]) -> Table:
    """Whole runs: medians; for CPU time also the range."""
    rows = []
    for run in runs:
        low, high = run.ranges.get("cpu_ms", (run.cpu_ms, run.cpu_ms))
        latency = [amount(run.latency_ms[name], 1) for name in ("p50", "p95", "p99")]
        row = (run.plan.name, f"{run.frames:,}", amount(run.wall_fps, 1), amount(run.steady_fps, 1))
        rows.append(
            (*row, amount(run.cpu_ms), f"{low:.2f}-{high:.2f}", amount(run.first_au_s), *latency, amount(run.pss_mb, 0))
        )
    head = ("whole run", "frames", "wall fps", "steady fps", "CPU ms a frame", "range", "first AU s")
    return Table((*head, "latency ms p50", "p95", "p99", "PSS MB"), rows, _convergence(runs))


def _convergence(runs: Sequence[RunCost]) -> tuple[str, ...]:
    told = runs[0].convergence
    share, iterations = told.get("optimisations_converged_share"), told.get("iterations_per_fit")
    if share is None or iterations is None:
        return ()
    whole = told.get("fits_converged_share") or 0.0
    return (
        f"convergence: {share:.1%} of the optimisations, {whole:.1%} of the fits; {iterations:.1f} iterations a fit",
    )


def run_figures(runs: Sequence[RunCost]) -> list[Figure]:
    """Speed, CPU time, start and memory of each way to run."""
    found = []
    for run in runs:
        name = run.plan.name
        if not run.plan.no_cache:
            found += [Figure(f"{name}: steady", run.steady_fps, "fps"), Figure(f"{name}: wall", run.wall_fps, "fps")]
            found += [Figure(f"{name}: CPU a frame", run.cpu_ms, "ms"), Figure(f"{name}: PSS", run.pss_mb, "MB")]
            found += [Figure(f"{name}: latency p95", run.latency_ms["p95"], "ms")]
        found.append(Figure(f"{name}: first AU", run.first_au_s, "s"))
    return found


def process_table(run: RunCost) -> Table:
    """Who waits for whom: the processes of one run over its steady part."""
    rows = []
    for process in run.processes:
        idle = max(1 - process.busy - process.queued, 0.0)
        shares = [f"{share:.0%}" for share in (process.busy, process.queued, idle)]
        rows.append(
            (process.name, amount(process.cpu_ms), *shares, amount(process.pss_mb, 0), amount(process.rss_mb, 0))
        )
    total = sum(process.cpu_ms for process in run.processes)
    rows.append(("all", amount(total), f"{sum(p.busy for p in run.processes):.0%}", "-", "-", "-", "-"))
    head = (run.plan.name, "CPU ms a frame", "busy", "wants a core", "waits", "PSS MB", "RSS MB")
    notes = () if run.processes else ("too short to tell the processes apart; give a longer clip",)
    return Table(head, rows, notes)


def scaling_table(scaling: Scaling) -> Table:
    """The model of throughput, beside what was measured."""
    rows = []
    for label, predictions in (("one input", scaling.single), ("an input per core", scaling.many)):
        for found in predictions:
            error = "-" if found.measured_fps is None else f"{found.fps / found.measured_fps - 1:+.0%}"
            row = (label, str(found.cores), str(found.lanes), amount(found.fps, 0), found.bound)
            rows.append((*row, amount(found.measured_fps, 0), error))
    times = ", ".join(f"{role} {ms:.2f}" for role, ms in scaling.ms.items())
    notes = (
        "fps = 1000 min(cores / sum of ms, least of processes / ms of each kind); an upper bound",
        f"CPU ms a frame, of `{scaling.source}`: {times}",
    )
    return Table(("model", "cores", "lanes", "fps", "bound by", "measured", "model off by"), rows, notes)


def versus_table(results: Sequence[Versus]) -> Table:
    """Two programs beside each other."""
    rows = []
    for result in results:
        for side, ratios in (
            (result.ours, ("1", "1")),
            (result.theirs, (_ratio(result.wall_ratio), _ratio(result.cpu_ratio))),
        ):
            figures = (amount(side.wall_s.median), amount(side.cpu_s.median), amount(side.pss_mb, 0))
            rows.append((_program(side, result), *figures, *ratios))
    head = ("versus", "wall s", "CPU s", "PSS MB", "wall by ours (range)", "CPU by ours (range)")
    pairs = results[0].wall_ratio.count
    note = (
        f"medians of {pairs} pair{'' if pairs == 1 else 's'}, in turns; ratios pair by pair: above 1 auflow is faster"
    )
    return Table(head, rows, (note,))


def _program(side: Side, result: Versus) -> str:
    pinned = "" if result.cores is None else f", {result.cores} core{'' if result.cores == 1 else 's'}"
    return side.program + pinned


def _ratio(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"


def versus_figures(results: Sequence[Versus]) -> list[Figure]:
    """How many times faster."""
    found = []
    for result in results:
        name = f"versus {_program(result.theirs, result)}"
        found += [Figure(f"{name}: wall", result.wall_ratio.median, "times")]
        found += [Figure(f"{name}: CPU", result.cpu_ratio.median, "times")]
    return found


def memory_table(check: MemoryCheck) -> Table:
    """The processes of one course, and the verdict."""
    rows = []
    for growth in (*check.processes, check.total):
        halves = (amount(growth.first_half_mb, 1), amount(growth.second_half_mb, 1))
        peaks = (amount(growth.peak_pss_mb, 1), amount(growth.peak_rss_mb, 1))
        rows.append(
            (growth.name, *halves, f"{growth.growth_bytes / 1e6:+.1f}", f"{growth.bytes_per_frame:+,.0f}", *peaks)
        )
    head = (f"PSS MB, {check.name}", "1st half", "2nd half", "growth", "bytes a frame", "peak PSS", "peak RSS")
    verdict = (
        f"{check.frames:,} frames in {check.seconds:.0f} s: growth {check.total.growth_bytes / 1e6:+.1f} MB, allowed "
        f"{check.allowed_bytes / 1e6:.1f} MB: {'holds' if check.holds else 'MEMORY GROWS'}"
    )
    return Table(head, rows, (verdict,))


def memory_figures(checks: Sequence[MemoryCheck]) -> list[Figure]:
    """The peak of each course."""
    return [Figure(f"memory {check.name}: peak PSS", check.total.peak_pss_mb, "MB") for check in checks]
