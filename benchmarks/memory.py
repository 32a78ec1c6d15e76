"""Whether memory grows with the length of the work: many frames through the processes, which are watched meanwhile.

Twice: the clip again and again as inputs of one run, and as one long stream, its packets copied behind one another.
The time from the first AUs until the busiest process has done its work is taken as the stream; what happens at its
end (the pass over the whole video, the writing of the CSV) shows in the peaks. Growth is how much higher PSS rises in
the second half than in the first, in which caches and pools fill.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.benchmarks.clips import copies, describe, repeated
from auflow.benchmarks.runs import execute, read_summary, run_command
from auflow.errors import InputError

if TYPE_CHECKING:
    from auflow.benchmarks.processes import MemorySample, TreeTrace

__all__ = ["ALLOWED_BYTES", "ALLOWED_BYTES_PER_FRAME", "Growth", "MemoryCheck", "allowed_bytes", "check", "judge"]

# What the sum of PSS may be higher by in the second half: noise of allocators, and what the AU process keeps of every
# frame for the pass over the whole video.
ALLOWED_BYTES = 4_000_000
ALLOWED_BYTES_PER_FRAME = 1_000
_WORK_DONE = 0.99
_LEAST_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Growth:
    """The memory of one process, or of all; MB are millions of bytes."""

    name: str
    first_half_mb: float  # most PSS
    second_half_mb: float
    bytes_per_frame: float  # by which the second half is higher
    peak_pss_mb: float  # over the whole run
    peak_rss_mb: float

    @property
    def growth_bytes(self) -> float:
        """From the first half to the second."""
        return 1e6 * (self.second_half_mb - self.first_half_mb)


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """One course of many frames."""

    name: str
    frames: int
    seconds: float
    processes: tuple[Growth, ...]
    total: Growth
    allowed_bytes: float  # growth of the total

    @property
    def holds(self) -> bool:
        """Whether memory stays within what is allowed."""
        return self.total.growth_bytes <= self.allowed_bytes


def allowed_bytes(frames: int) -> float:
    """What a run of `frames` frames may grow by in its second half."""
    return ALLOWED_BYTES + ALLOWED_BYTES_PER_FRAME * frames / 2


def check(clip: Path, frames: int, *, say: Callable[[str], None]) -> tuple[MemoryCheck, ...]:
    """Both courses over at least `frames` frames of copies of the clip; `say` is told of each before it begins.

    Raises
    ------
    InputError
        The length of the clip is not known, or the run is too short to be judged.
    StageError
        A run failed.
    """
    length = describe(clip).frames
    if not length:
        raise InputError(f"{clip}: its container does not tell how many frames it has; give an MP4 or MKV")
    times = -(-frames // length)
    with tempfile.TemporaryDirectory(prefix="auflow-bench-") as name:
        folder = Path(name)
        say(f"memory: {times} inputs, one after the other")
        many = _course(f"{times} inputs", copies(clip, times, folder), folder)
        say(f"memory: one stream of {times} times the clip")
        one = _course("one stream", [repeated(clip, times, folder)], folder)
    return many, one


def _course(name: str, inputs: Sequence[Path], folder: Path) -> MemoryCheck:
    summary = folder / "summary.json"
    done = execute(run_command(inputs, folder / "out", ["--jobs", "1", "--summary", str(summary)]))
    done.require_success()
    told = read_summary(summary)
    return judge(name, done.trace, told.first_at_s, told.frames)


def judge(name: str, trace: TreeTrace, first_at_s: float, frames: int) -> MemoryCheck:
    """The growth of a run whose first AUs came at `first_at_s` (monotonic).

    Raises
    ------
    InputError
        It was too short.
    """
    end_s = _work_done_s(trace, first_at_s)
    total = _growth("all", trace.totals, first_at_s, end_s, frames)
    if total is None:
        raise InputError(f"{frames} frames were over before their memory could be judged; ask for more with --memory")
    parts = (_growth(p.name, p.memory, first_at_s, end_s, frames) for p in trace.processes.values())
    processes = sorted((part for part in parts if part is not None), key=lambda part: -part.second_half_mb)
    return MemoryCheck(name, frames, end_s - first_at_s, tuple(processes), total, allowed_bytes(frames))


def _work_done_s(trace: TreeTrace, start_s: float) -> float:
    """When the process that used most CPU had done nearly all of its work."""
    busiest = max(trace.processes.values(), key=lambda process: process.times[-1].cpu_s if process.times else 0.0)
    times = [sample for sample in busiest.times if sample.at_s >= start_s]
    if not times:
        return start_s
    done_s = times[0].cpu_s + _WORK_DONE * (times[-1].cpu_s - times[0].cpu_s)
    return next(sample.at_s for sample in times if sample.cpu_s >= done_s)


def _growth(name: str, memory: Sequence[MemorySample], start_s: float, end_s: float, frames: int) -> Growth | None:
    samples = [sample for sample in memory if start_s <= sample.at_s <= end_s]
    if len(samples) < _LEAST_SAMPLES:
        return None
    half = len(samples) // 2
    first, second = (max(sample.pss_bytes for sample in part) for part in (samples[:half], samples[half:]))
    peak_pss, peak_rss = max(sample.pss_bytes for sample in memory), max(sample.rss_bytes for sample in memory)
    return Growth(name, first / 1e6, second / 1e6, (second - first) / (frames / 2), peak_pss / 1e6, peak_rss / 1e6)
