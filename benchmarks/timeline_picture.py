"""A picture of a timeline that `auflow run --timeline` has written.

By hand, from a checkout: python -m auflow.benchmarks.timeline_picture t.json -o timeline.png --from 0.6 --seconds 0.1
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auflow.validation.figures import require_matplotlib

__all__ = ["Shown", "draw", "main", "shown"]

_COLOURS = {"decode": "#4c78a8", "detect": "#e45756", "clnf": "#f58518", "au": "#54a24b", "sink": "#b279a2"}
_OTHER = "#9d9da1"  # what is no frame's
_FEW = 40  # frames have their numbers where there are no more in the picture


@dataclass(slots=True)
class Shown:
    """The slices of one process within a stretch of time, in milliseconds from its begin."""

    worker: str
    frames: list[tuple[float, float, int]] = field(default_factory=list)  # begin, length, number
    waits: list[tuple[float, float]] = field(default_factory=list)
    others: list[tuple[float, float]] = field(default_factory=list)


def main(argv: list[str] | None = None) -> int:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timeline", metavar="FILE", type=Path)
    parser.add_argument("-o", "--output", metavar="PICTURE", type=Path, required=True)
    parser.add_argument("--from", dest="from_s", metavar="S", type=float, default=0.0)
    parser.add_argument("--seconds", metavar="S", type=float, default=float("inf"))
    given = parser.parse_args(argv)
    draw(given.output, json.loads(given.timeline.read_text(encoding="utf-8")), given.from_s, given.seconds)
    sys.stdout.write(f"{given.output}\n")
    return 0


def shown(events: Sequence[Mapping[str, Any]], from_s: float, seconds: float) -> list[Shown]:
    """What lies within a stretch of time, counted from the first work on a frame."""
    processes = {e["tid"]: Shown(e["args"]["name"]) for e in events if e["name"] == "thread_name"}
    slices = [e for e in events if e["ph"] == "X"]
    first_us = min((e["ts"] for e in slices if e["cat"] == "frame"), default=0.0) + 1e6 * from_s
    for event in slices:
        begin_ms, length_ms = (event["ts"] - first_us) / 1e3, event["dur"] / 1e3
        if begin_ms + length_ms < 0 or begin_ms > 1e3 * seconds:
            continue
        process = processes[event["tid"]]
        if event["cat"] == "frame":
            process.frames.append((begin_ms, length_ms, event["args"]["frame"]))
        else:
            (process.waits if event["cat"] == "wait" else process.others).append((begin_ms, length_ms))
    return list(processes.values())


def draw(path: Path, document: Mapping[str, Any], from_s: float, seconds: float) -> None:
    """Write a PNG (or what the suffix says): a lane for each process, below it how many are busy at once.

    Raises
    ------
    UsageError
        matplotlib is not there.
    """
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    processes, told = shown(document["traceEvents"], from_s, seconds), document["otherData"]
    figure, (lanes, count) = plt.subplots(
        2, 1, figsize=(11, 1.9 + 0.42 * len(processes)), sharex=True, height_ratios=[len(processes), 1.6],
        layout="constrained",
    )  # fmt: skip
    few = max((len(each.frames) for each in processes), default=0) <= _FEW
    for lane, each in enumerate(processes):
        _draw_lane(lanes, lane, each, numbered=few)
    labels = [f"{each.worker}\n{100 * told['processes'][each.worker]['busy']:.0f} % busy" for each in processes]
    lanes.set_yticks(range(len(processes)), labels, fontsize=8)
    lanes.set_ylim(len(processes) - 0.5, -0.5)
    at, busy = _levels(processes)
    count.fill_between(at, busy, step="post", color="#4c4c4c", alpha=0.35, linewidth=0)
    count.axhline(told["busy_at_once"], color="#4c4c4c", linewidth=0.8, linestyle="--")
    count.set_ylabel("busy at once", fontsize=8)
    count.set_ylim(0, None)
    count.set_xlabel("milliseconds" + (f", from {from_s:g} s after the first frame came" if from_s else ""))
    end_ms = max((b + n for each in processes for b, n, _ in each.frames), default=1.0)
    count.set_xlim(0, min(1e3 * seconds, end_ms))
    for axis in (lanes, count):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"whole run: {told['busy_at_once']:.2f} processes busy at once, bottleneck {told['bottleneck']}",
        fontsize=10,
    )  # fmt: skip
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_lane(axis: Any, lane: int, process: Shown, *, numbered: bool) -> None:
    colour = _COLOURS[process.worker.rpartition("-")[0]]
    where = (lane - 0.34, 0.68)
    for odd in (0, 1):  # two shades: frames without a gap between them are told apart
        pieces = [(b, n) for b, n, frame in process.frames if frame % 2 == odd]
        axis.broken_barh(pieces, where, facecolors=colour, alpha=0.7 + 0.3 * odd, linewidth=0)
    axis.broken_barh(process.others, where, facecolors=_OTHER, linewidth=0)
    axis.broken_barh(process.waits, where, facecolors="white", edgecolors=colour, hatch="////", linewidth=0.5)
    if numbered:
        for begin_ms, length_ms, frame in process.frames:
            if length_ms > 1.2:
                axis.text(
                    begin_ms + length_ms / 2, lane, str(frame), ha="center", va="center", fontsize=7, color="white",
                    clip_on=True,
                )  # fmt: skip


def _levels(processes: Sequence[Shown]) -> tuple[list[float], list[int]]:
    """When the number of busy processes changes, and to what."""
    steps = [(0.0, 0)]
    for each in processes:
        for begin_ms, length_ms in [*((b, n) for b, n, _ in each.frames), *each.others]:
            steps += [(begin_ms, 1), (begin_ms + length_ms, -1)]
        for begin_ms, length_ms in each.waits:  # within a frame's
            steps += [(begin_ms, -1), (begin_ms + length_ms, 1)]
    at, busy = [], []
    level = 0
    for time_ms, step in sorted(steps):
        level += step
        at.append(time_ms)
        busy.append(level)
    return at, busy


if __name__ == "__main__":
    sys.exit(main())
