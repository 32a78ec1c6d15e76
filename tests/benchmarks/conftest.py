"""Made-up runs and results, and a program that stands in for `auflow run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from auflow.benchmarks import runs, versus
from auflow.benchmarks.runs import ProcessCost, RunCost, RunPlan

# Writes what a run would say of itself: 50 frames, the first AUs 0.1 s after its begin.
FAKE_RUN = """
import json, sys, time
began = time.monotonic()
words = sys.argv[1:]
print("starting", file=sys.stderr, flush=True)
total = sum(range(200_000))
time.sleep(0.3)
if "--fail" in words:
    sys.exit("no luck: the disk is full")
print("50 frames, written", file=sys.stderr, flush=True)
if "--summary" in words:
    totals = {
        "frames": 0 if "--no-frames" in words else 50,
        "first_result_s": 0.1,
        "seconds": time.monotonic() - began,
        "latency_ms": {"p50": 20.0, "p95": 30.0, "p99": 40.0, "max": 50.0},
        "convergence": {"optimisations_converged_share": 0.25, "iterations_per_fit": 9.5},
    }
    with open(words[words.index("--summary") + 1], "w") as file:
        json.dump({"totals": totals}, file)
"""


@pytest.fixture
def fake_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """`auflow run` is a short script; the words that each run was given."""
    script = tmp_path / "fake_run.py"
    script.write_text(FAKE_RUN)
    asked: list[list[str]] = []

    def command(inputs: Sequence[Path], output: Path, words: Sequence[str] = ()) -> list[str]:
        asked.append([*(path.name for path in inputs), *words])
        return [sys.executable, "-I", str(script), *words]

    monkeypatch.setattr(runs, "run_command", command)
    monkeypatch.setattr(versus, "run_command", command)
    return asked


def run_cost(plan: RunPlan | None = None, *, fps: float = 100.0, cpu_ms: float = 7.0, **process_ms: float) -> RunCost:
    """A run with processes of these CPU times a frame."""
    processes = tuple(
        ProcessCost(f"{name}-0", ms, busy=0.5, queued=0.1, pss_mb=80.0, rss_mb=100.0) for name, ms in process_ms.items()
    )
    return RunCost(
        plan=plan or RunPlan(),
        frames=50,
        wall_s=1.0,
        wall_fps=50.0,
        steady_fps=fps,
        cpu_ms=cpu_ms,
        first_au_s=0.5,
        latency_ms={"p50": 20.0, "p95": 30.0, "p99": 40.0, "max": 50.0},
        convergence={},
        pss_mb=400.0,
        processes=processes,
    )
