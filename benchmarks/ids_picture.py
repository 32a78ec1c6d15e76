"""A picture of the numbers that persons were given over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from auflow.benchmarks.mot import MotFigures
from auflow.validation.figures import require_matplotlib

__all__ = ["draw_ids"]


def draw_ids(path: Path, title: str, both: Sequence[MotFigures], names: Sequence[str]) -> None:
    """Write a PNG: a lane for each person, above by the trackers' numbers, below by the persons'.

    Raises
    ------
    UsageError
        matplotlib is not there.
    """
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(10, 0.9 + 0.62 * 2 * len(names)), sharex=True, layout="constrained")
    colours = plt.get_cmap("tab20")
    for axis, figures, what in zip(axes, both, ("numbers of trackers", "numbers of persons"), strict=True):
        for lane, _ in enumerate(names):
            for begin, end, number in _stretches(figures, lane):
                axis.barh(lane, end - begin, left=begin, height=0.62, color=colours(number % 20), linewidth=0)
                if end - begin > 12:
                    axis.text((begin + end) / 2, lane, str(number), ha="center", va="center", fontsize=8, color="white")
        for frame, person in figures.changes:
            axis.plot([frame, frame], [person - 0.42, person + 0.42], color="black", linewidth=1.2)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_title(
            f"{what}: {figures.switches} switches, MOTA {figures.mota:.3f}, IDF1 {figures.idf1:.3f}",
            fontsize=10, loc="left",
        )  # fmt: skip
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[-1].set_xlabel("frame")
    axes[-1].set_xlim(0, len(both[0].numbers))
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _stretches(figures: MotFigures, person: int) -> list[tuple[int, int, int]]:
    """First frame, frame behind the last, and number, wherever the number stays the same."""
    given = np.array([numbers.get(person, -1) for numbers in figures.numbers])
    edges = [0, *(1 + np.flatnonzero(np.diff(given))).tolist(), len(given)]
    return [(begin, end, int(given[begin])) for begin, end in pairwise(edges) if end > begin and given[begin] >= 0]
