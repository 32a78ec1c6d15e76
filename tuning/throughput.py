"""How many inputs at the same time give the most frames a second: `auflow run` itself, with copies of a clip."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auflow.benchmarks.clips import copies
from auflow.benchmarks.runs import TAIL_LINES, run_command
from auflow.errors import StageError
from auflow.stages.settings import StageSettings
from auflow.tuning.candidates import Candidate
from auflow.tuning.choosing import Measured

__all__ = ["FRAMES_A_LANE", "MEASURE", "Load", "measure_jobs"]

MEASURE = "ms for a frame of any input"
FRAMES_A_LANE = 300  # at least: shorter runs are mostly start and end


@dataclass(frozen=True, slots=True)
class Load:
    """What is run."""

    clip: Path
    frames: int  # of it
    words: tuple[str, ...]  # for `auflow run`: the settings that were chosen
    streams: int | None = None  # copies of the clip; None: as many for each process count as it has work for

    def inputs(self, jobs: int) -> int:
        """Copies that a run with so many jobs gets."""
        return self.streams or jobs * max(1, -(-FRAMES_A_LANE // max(self.frames, 1)))


def measure_jobs(
    load: Load, counts: Sequence[int], rounds: int, said: Callable[[str], None], settings: StageSettings
) -> list[Measured]:
    """Every count in turn, the first of which is the reference.

    Parameters
    ----------
    said : hears what is being run

    Raises
    ------
    StageError
        A run with the reference's count has failed; that of another is its result.
    """
    found = [Measured(Candidate("jobs", str(count), settings)) for count in counts]
    for number in range(rounds):
        places = range(len(counts))
        for place in places if number % 2 == 0 else reversed(places):
            if found[place].error:
                continue
            said(f"jobs {number + 1} of {rounds}: {counts[place]} at once")
            try:
                found[place] = _with(found[place], *_run(load, counts[place]))
            except StageError as error:
                if place == 0:
                    raise
                found[place] = Measured(found[place].candidate, error=str(error))
    return found


def _with(before: Measured, fps: float, cpu_ms: float) -> Measured:
    best = max(fps, before.fps or 0.0)
    least = cpu_ms if before.frame_cpu_ms is None else min(cpu_ms, before.frame_cpu_ms)
    times = (*before.wall_ms, 1e3 / fps)
    return Measured(before.candidate, wall_ms=times, frame_cpu_ms=least, fps=best)


def _run(load: Load, jobs: int) -> tuple[float, float]:
    """Frames a second from the first result on, and CPU time of a frame in ms, start included."""
    with tempfile.TemporaryDirectory(prefix="auflow-tune-") as name:
        folder = Path(name)
        inputs = copies(load.clip, load.inputs(jobs), folder)
        summary = folder / "summary.json"
        words = ["--jobs", str(jobs), "--quiet", "--summary", str(summary), *load.words]
        before_s = _children_cpu_s()
        # Killed when this process is interrupted: its workers leave then by themselves.
        done = subprocess.run(
            run_command(inputs, folder / "out", words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            env=dict(os.environ),
        )
        if done.returncode:
            tail = "\n".join(done.stderr.decode(errors="replace").rstrip().splitlines()[-TAIL_LINES:])
            raise StageError(f"`auflow run --jobs {jobs}` ended with exit code {done.returncode}: {tail}")
        totals = json.loads(summary.read_text())["totals"]
        cpu_s = _children_cpu_s() - before_s
    if not totals["frames"] or totals["first_result_s"] is None:
        raise StageError("the run gave no frame, so there is no speed to be told; give another clip")
    steady_s = max(totals["seconds"] - totals["first_result_s"], 1e-3)
    return totals["frames"] / steady_s, 1e3 * cpu_s / totals["frames"]


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
