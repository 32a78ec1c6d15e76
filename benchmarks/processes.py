"""Watches a process and all its descendants while they run: CPU time, time spent waiting for a core, memory.

Needs /proc, so Linux. A look at CPU time costs 0.1 ms a process, one at memory about 1 ms, hence two intervals.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MemorySample", "ProcessTrace", "TimeSample", "TreeTrace", "watch"]

TIME_INTERVAL_S = 0.05
MEMORY_INTERVAL_S = 0.25
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class TimeSample:
    """What a process has used since its start."""

    at_s: float  # monotonic
    cpu_s: float  # user and system
    queued_s: float  # ready to run, but other processes had the cores


@dataclass(frozen=True, slots=True)
class MemorySample:
    """What a process holds."""

    at_s: float  # monotonic
    pss_bytes: int  # shared pages count by how many share them
    rss_bytes: int


@dataclass(slots=True)
class ProcessTrace:
    """One process over its life."""

    pid: int
    name: str  # `clnf-0`, `orchestrator`, or the name of the program
    times: list[TimeSample] = field(default_factory=list)
    memory: list[MemorySample] = field(default_factory=list)

    def between(self, start_s: float, end_s: float) -> tuple[float, float] | None:
        """CPU and queued seconds spent between two points in time, None when it did not live through both."""
        first = next((sample for sample in self.times if sample.at_s >= start_s), None)
        last = next((sample for sample in reversed(self.times) if sample.at_s <= end_s), None)
        if first is None or last is None or last.at_s <= first.at_s:
            return None
        share = (end_s - start_s) / (last.at_s - first.at_s)  # the samples lie a little inside
        return share * (last.cpu_s - first.cpu_s), share * (last.queued_s - first.queued_s)


@dataclass(slots=True)
class TreeTrace:
    """All processes of a command."""

    began_s: float  # monotonic
    ended_s: float = 0.0
    processes: dict[int, ProcessTrace] = field(default_factory=dict)
    totals: list[MemorySample] = field(default_factory=list)  # sums over the processes of one moment

    @property
    def peak_pss_bytes(self) -> int:
        """The largest sum of one moment."""
        return max((sample.pss_bytes for sample in self.totals), default=0)

    @property
    def cpu_s(self) -> float:
        """CPU time of all processes as last seen."""
        return sum(process.times[-1].cpu_s for process in self.processes.values() if process.times)


def watch(command: subprocess.Popen[bytes], *, memory: bool = True) -> TreeTrace:
    """Wait for `command` to end, looking at its processes all the while; `memory` at their memory too."""
    trace = TreeTrace(time.monotonic())
    next_s = 0.0
    while True:
        now = time.monotonic()
        if now >= next_s:
            next_s = now + MEMORY_INTERVAL_S
            _meet(trace, command.pid)
            if memory:
                _look_at_memory(trace)
        for process in trace.processes.values():
            if (sample := _times(process.pid)) is not None:
                process.times.append(sample)
        try:
            command.wait(TIME_INTERVAL_S)
        except subprocess.TimeoutExpired:
            continue
        trace.ended_s = time.monotonic()
        return trace


def _meet(trace: TreeTrace, root: int) -> None:
    """Take in the processes that are new; a name may change while a process starts."""
    for pid in _tree(root):
        name = "orchestrator" if pid == root else _name(pid)
        if pid not in trace.processes:
            trace.processes[pid] = ProcessTrace(pid, name)
        elif name:
            trace.processes[pid].name = name


def _look_at_memory(trace: TreeTrace) -> None:
    found = []
    for process in trace.processes.values():
        if (sample := _memory(process.pid)) is not None:
            process.memory.append(sample)
            found.append(sample)
    if found:
        pss, rss = sum(sample.pss_bytes for sample in found), sum(sample.rss_bytes for sample in found)
        trace.totals.append(MemorySample(found[-1].at_s, pss, rss))


def _tree(root: int) -> Iterator[int]:
    """The process `root` and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    todo = [root]
    while todo:
        pid = todo.pop()
        yield pid
        todo += children.get(pid, [])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before them may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _name(pid: int) -> str:
    """What a worker calls itself, or the module or program that runs; empty for a process that is gone."""
    title = _read(f"/proc/{pid}/comm").strip()
    if worker := re.match(r"[a-z]+-\d+", title):
        return worker[0]
    words = _read(f"/proc/{pid}/cmdline").split("\0")
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1].rpartition(".")[2].removesuffix("_process")
    return title


def _times(pid: int) -> TimeSample | None:
    """By the scheduler's own account in nanoseconds; by ticks of 10 ms where the kernel keeps none."""
    now, used, queued = time.monotonic(), 0.0, 0.0
    stat = _stat(pid)
    if len(stat) < 13 or stat[0] == "Z":
        return None
    ticks_s = (int(stat[11]) + int(stat[12])) / _TICKS_PER_S
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return None
    for task in tasks:
        account = _read(f"/proc/{pid}/task/{task}/schedstat").split()
        if len(account) == 3:
            used += int(account[0]) / 1e9
            queued += int(account[1]) / 1e9
    # Threads that have ended are in the ticks alone.
    return TimeSample(now, max(used, ticks_s), queued)


def _memory(pid: int) -> MemorySample | None:
    sizes = {}
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        label, _, size = line.partition(":")
        if label in ("Pss", "Rss"):
            sizes[label] = 1024 * int(size.split()[0])
    return MemorySample(time.monotonic(), sizes["Pss"], sizes["Rss"]) if len(sizes) == 2 else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:  # the process has ended meanwhile
        return ""
