"""How much of the time each process was busy, and how many were at once: arithmetic on intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Overlap", "Spans", "busy_at_once", "busy_spans", "overlap"]

Spans = NDArray[np.float64]  # (n, 2): begin and end of each, disjoint, in their order


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of a stretch of time."""

    seconds: float
    busy: Mapping[str, float]  # share of the time that each process was busy
    at_once: Sequence[float]  # share of the time that no process was busy, one, two, ...; their sum is 1

    @property
    def mean(self) -> float:
        """Processes that were busy at once, on average."""
        return sum(self.busy.values())

    @property
    def two_or_more(self) -> float:
        """Share of the time that at least two processes were busy."""
        return sum(self.at_once[2:])


def busy_spans(work: NDArray[np.float64], waits: NDArray[np.float64]) -> Spans:
    """When a process was busy: pieces of `work` joined where they touch or overlap, without the `waits` inside.

    Parameters
    ----------
    work, waits : (n, 2) and (m, 2) float64, begin and end of each, in any order

    Returns
    -------
    (k, 2) float64
    """
    return _without(_joined(work), _joined(waits))


def overlap(spans: Mapping[str, Spans], window: tuple[float, float]) -> Overlap:
    """Shares of a window of time.

    Parameters
    ----------
    spans : of each process
    window : begin and end

    Returns
    -------
    Overlap
        All shares are 0 in a window that has no length.
    """
    seconds = max(0.0, window[1] - window[0])
    if not seconds:
        return Overlap(0.0, dict.fromkeys(spans, 0.0), ())
    cut = {name: np.clip(each, *window) for name, each in spans.items()}
    busy = {name: float((each[:, 1] - each[:, 0]).sum()) / seconds for name, each in cut.items()}
    at, level = _levels(list(cut.values()), window)
    shares = np.bincount(level, weights=np.diff(at), minlength=1) / seconds
    return Overlap(seconds, busy, tuple(shares.tolist()))


def busy_at_once(spans: Sequence[Spans], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Processes that were busy at once, on average between each edge and the next.

    Parameters
    ----------
    spans : of each process
    edges : (n,) float64, rising

    Returns
    -------
    (n - 1,) float64
    """
    total = np.zeros(len(edges))
    for each in spans:
        if len(each):
            # The busy time up to an edge: a line that rises within the spans and is level between them.
            lengths = np.cumsum(each[:, 1] - each[:, 0])
            before = np.concatenate([[0.0], lengths[:-1]])
            total += np.interp(edges, each.reshape(-1), np.column_stack((before, lengths)).reshape(-1))
    return np.diff(total) / np.diff(edges)


def _levels(spans: Sequence[Spans], window: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Times from one end of the window to the other, and how many spans cover each stretch between two of them."""
    every = np.concatenate([np.empty((0, 2)), *spans])
    at = np.concatenate([every[:, 0], every[:, 1]])
    step = np.repeat([1, -1], len(every))
    order = np.lexsort((step, at))  # what ends when another begins was not at once with it
    level = np.concatenate([[0], np.cumsum(step[order])])
    return np.concatenate([[window[0]], at[order], [window[1]]]), np.maximum(level, 0)


def _joined(pieces: NDArray[np.float64]) -> Spans:
    if not len(pieces):
        return np.empty((0, 2))
    pieces = pieces[np.argsort(pieces[:, 0], kind="stable")]
    until = np.maximum.accumulate(pieces[:, 1])
    first = np.concatenate([[True], pieces[1:, 0] > until[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.column_stack((pieces[first, 0], until[last]))


def _without(spans: Spans, holes: Spans) -> Spans:
    at = np.concatenate([spans.reshape(-1), holes.reshape(-1)])
    step = np.concatenate([np.tile([1, -1], len(spans)), np.tile([-1, 1], len(holes))])
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.cumsum(step[order])
    busy = np.flatnonzero((level[:-1] > 0) & (at[1:] > at[:-1]))
    return _joined(np.column_stack((at[busy], at[busy + 1])))
