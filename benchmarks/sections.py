"""The sections of `auflow bench` on one clip: measure, show a table, keep the figures."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auflow.benchmarks import sheets
from auflow.benchmarks.machine import usable_cores
from auflow.benchmarks.runs import RunCost, RunPlan, plans
from auflow.benchmarks.sheets import Figure
from auflow.benchmarks.tables import Table
from auflow.models.store import default_root
from auflow.stages.settings import StageSettings

__all__ = ["Bench"]

KERNEL_BUDGET_S = 0.5
QUICK_KERNEL_BUDGET_S = 0.02
REPEAT = 3


@dataclass(slots=True)
class Bench:
    """What is measured of one clip, section by section."""

    clip: Path
    repeat: int
    quick: bool
    plans: list[RunPlan]
    cores: tuple[int | None, ...]  # for versus
    versus: str | None
    frames: int  # for memory
    say: Callable[[str], None]
    show: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)
    _warm: bool = False

    @classmethod
    def from_arguments(
        cls, args: argparse.Namespace, clip: Path, *, say: Callable[[str], None], show: Callable[[str], None]
    ) -> Bench:
        """As the command line asks for; `say` takes progress, `show` results.

        Raises
        ------
        UsageError
        """
        words = shlex.split(args.run_options)
        wanted = plans(inline=args.inline, cores=args.cores, jobs=args.jobs, no_cache=not args.quick, options=words)
        repeat = args.repeat or (1 if args.quick else REPEAT)
        frames = args.memory or 0
        return cls(clip, repeat, args.quick, wanted, args.cores or (None,), args.versus, frames, say, show)

    def measure(self, section: str) -> None:
        """Measure one section and show it.

        Raises
        ------
        AuflowError
        """
        {
            "kernels": self._kernels,
            "stages": self._stages,
            "run": self._run,
            "versus": self._versus,
            "memory": self._memory,
        }[section]()

    def _kernels(self) -> None:
        from auflow.benchmarks import arithmetic, kernels

        budget_s = QUICK_KERNEL_BUDGET_S if self.quick else KERNEL_BUDGET_S
        costs = kernels.measure(self.clip, default_root(), budget_s=budget_s)
        peaks = arithmetic.measure_peaks()
        self._keep("kernels", {"peaks": asdict(peaks), "kernels": [asdict(cost) for cost in costs]})
        self._show(sheets.kernel_table(costs, peaks), sheets.kernel_figures(costs))

    def _stages(self) -> None:
        from auflow.benchmarks import stages

        costs = stages.measure(self.clip, default_root(), repeat=self.repeat)
        self._keep("stages", asdict(costs))
        self._show(sheets.stage_table(costs), sheets.stage_figures(costs))

    def _run(self) -> None:
        from auflow.benchmarks import model, runs

        self._warm_up()
        found = []
        for plan in self.plans:
            self.say(f"run: {plan.name}")
            # Compiling takes half a minute: once is enough.
            found.append(runs.measure(self.clip, plan, repeat=1 if plan.no_cache else self.repeat))
        self._show(sheets.run_table(found), sheets.run_figures(found))
        steady = [run for run in found if not run.plan.no_cache]
        for run in steady:
            self._show(sheets.process_table(run))
        content: dict[str, Any] = {"runs": [asdict(run) for run in found]}
        single = _widest_single(steady)
        if single.processes:
            scaling = model.scale(single, _measured(steady))
            self._show(sheets.scaling_table(scaling))
            content["scaling"] = asdict(scaling)
        self._keep("run", content)

    def _versus(self) -> None:
        from auflow.benchmarks import versus

        assert self.versus is not None
        self._warm_up()
        words = versus.parse(self.versus)
        found = [versus.compare(self.clip, words, pairs=self.repeat, cores=cores, say=self.say) for cores in self.cores]
        self._keep("versus", [asdict(one) for one in found])
        self._show(sheets.versus_table(found), sheets.versus_figures(found))

    def _memory(self) -> None:
        from auflow.benchmarks import memory

        self._warm_up()
        checks = memory.check(self.clip, self.frames, say=self.say)
        self._keep("memory", [asdict(check) | {"holds": check.holds} for check in checks])
        for check in checks:
            self._show(sheets.memory_table(check))
        self.figures += sheets.memory_figures(checks)

    def _warm_up(self) -> None:
        """Fill the cache of compiled kernels: a run that compiles is measured on purpose, or not at all."""
        if self._warm:
            return
        from auflow.benchmarks import runs
        from auflow.flow.stagekit import ensure_kernels

        ensure_kernels(default_root(), StageSettings())
        if options := self.plans[0].options:  # other options may need other kernels
            runs.measure(self.clip, RunPlan(options=options), repeat=1)
        self._warm = True

    def _keep(self, section: str, content: Any) -> None:
        self.sections[section] = content

    def _show(self, table: Table, figures: list[Figure] | None = None) -> None:
        self.show(f"\n{table.text()}")
        self.figures += figures or []


def _widest_single(runs: list[RunCost]) -> RunCost:
    """The run of one input in separate processes that had most cores."""
    single = [run for run in runs if not run.plan.inline and run.plan.jobs == 1]
    return max(single, key=lambda run: run.plan.cores or len(usable_cores()))


def _measured(runs: list[RunCost]) -> dict[tuple[int, int], float]:
    """Steady fps by (cores, lanes) of the runs in separate processes."""
    return {
        (run.plan.cores or len(usable_cores()), run.plan.jobs): run.steady_fps for run in runs if not run.plan.inline
    }
