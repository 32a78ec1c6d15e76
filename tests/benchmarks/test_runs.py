"""Whole runs watched from outside, with a short script in the place of `auflow run`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from auflow.benchmarks import runs
from auflow.benchmarks.machine import usable_cores
from auflow.benchmarks.runs import RunPlan, execute, measure, pinned, plans
from auflow.errors import StageError, UsageError

from .conftest import run_cost

# A child that works for a fifth of a second, and 40 MB that stay for as long.
FAMILY = """
import subprocess, sys
held = bytearray(40_000_000)
held[::4096] = b"x" * len(held[::4096])
work = "import time\\nwhile time.process_time() < 0.4: pass"
subprocess.run([sys.executable, "-I", "-c", work], check=True)
print("done", file=sys.stderr)
"""


def test_processes_are_watched_with_their_children() -> None:
    done = execute([sys.executable, "-I", "-c", FAMILY])
    assert (done.code, done.text) == (0, "done\n")
    assert done.cpu_s >= 0.4
    assert 40e6 < done.trace.peak_pss_bytes < 200e6
    assert len(done.trace.processes) == 2
    child = list(done.trace.processes.values())[1]
    middle_s = (child.times[0].at_s + child.times[-1].at_s) / 2
    used = child.between(child.times[0].at_s, middle_s)
    assert used is not None
    assert 0.2 < used[0] / (middle_s - child.times[0].at_s) < 1.1  # it was busy all the time
    assert child.between(0.0, 1.0) is None
    assert done.trace.began_s < done.spoke_s < done.trace.ended_s


def test_failure_tells_the_end_of_what_was_said() -> None:
    done = execute([sys.executable, "-I", "-c", "import sys; sys.exit('no luck')"])
    with pytest.raises(StageError, match=r"(?s)exit code 1.*no luck"):
        done.require_success()


def test_unknown_program_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-program: cannot be started"):
        execute(["no-such-program"])


def test_run_is_measured_by_its_summary(fake_run: list[list[str]], tmp_path: Path) -> None:
    cost = measure(tmp_path / "a.mp4", RunPlan(options=("--wild",)), repeat=2)
    assert len(fake_run) == 2
    assert fake_run[0][:1] == ["a.mp4"]
    assert "--wild" in fake_run[0]
    assert cost.frames == 50
    assert 0.1 < cost.first_au_s < cost.wall_s
    assert 100 < cost.steady_fps < 300  # 49 frames in 0.2 s
    assert cost.wall_fps < 50 / 0.3
    assert cost.ranges["wall_s"][0] <= cost.wall_s <= cost.ranges["wall_s"][1]
    assert [process.name for process in cost.processes] == ["orchestrator"]


def test_inline_run_is_one_process(fake_run: list[list[str]], tmp_path: Path) -> None:
    cost = measure(tmp_path / "a.mp4", RunPlan(inline=True), repeat=1)
    assert "--inline" in fake_run[0]
    assert [process.name for process in cost.processes] == ["all stages"]


def test_copies_have_names_of_their_own(fake_run: list[list[str]], tmp_path: Path) -> None:
    measure(tmp_path / "a.mp4", RunPlan(jobs=3), repeat=1)
    assert fake_run[0][:3] == ["copy-00001.mp4", "copy-00002.mp4", "copy-00003.mp4"]
    assert fake_run[0][-2:] == ["--jobs", "3"]


def test_failing_run_and_run_without_frames(fake_run: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the disk is full"):
        measure(tmp_path / "a.mp4", RunPlan(options=("--fail",)), repeat=1)
    with pytest.raises(StageError, match="no frame"):
        measure(tmp_path / "a.mp4", RunPlan(options=("--no-frames",)), repeat=1)


def test_no_cache_gives_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    def stop(command: object, *, cores: object, environment: dict[str, str]) -> None:
        seen.update(environment)
        raise StageError("enough")

    monkeypatch.setenv("NUMBA_CACHE_DIR", "warm")
    monkeypatch.setattr(runs, "execute", stop)
    for plan in (RunPlan(), RunPlan(no_cache=True)):
        with pytest.raises(StageError):
            measure(tmp_path / "a.mp4", plan, repeat=1)
        assert (seen["NUMBA_CACHE_DIR"] == "warm") is not plan.no_cache


def test_medians_of_several_runs() -> None:
    middle = runs._median([run_cost(fps=fps, cpu_ms=cpu) for fps, cpu in ((100.0, 9.0), (130.0, 7.0), (110.0, 8.0))])
    assert (middle.steady_fps, middle.cpu_ms) == (110.0, 8.0)
    assert middle.ranges["steady_fps"] == (100.0, 130.0)
    alone = runs._median([run_cost()])
    assert replace(alone, ranges={}) == run_cost()


def test_plans_are_every_combination() -> None:
    assert plans(inline=False, cores=(), jobs=(), no_cache=True) == [RunPlan(), RunPlan(no_cache=True)]
    names = [plan.name for plan in plans(inline=True, cores=(1,), jobs=(2,), no_cache=False)]
    assert names == ["processes, 1 core", "processes, 2 at once, 1 core", "one process, 1 core"]


def test_more_cores_than_there_are_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--cores 4096: this process may use \d+ here"):
        plans(inline=False, cores=(1, 4096), jobs=(), no_cache=False)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_pinning_ends_with_its_block() -> None:
    before = usable_cores()
    with pinned(1):
        assert usable_cores() == before[:1]
    assert usable_cores() == before
