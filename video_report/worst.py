"""The frames that a reader should look at: where the landmarks sit worst, jump, or where the face is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.plots.series import Series, Values

__all__ = ["Stretch", "WorstFrame", "jumps", "lost_stretches", "worst_frames"]

_APART = 15  # rows: neighbours look alike, so of those this near only the worst is listed


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One frame, and what is the matter with it."""

    frame: int
    time_s: float | None
    why: str
    landmarks_px: Values | None  # (68, 2)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive rows without a face."""

    first: int  # frame
    last: int
    from_s: float | None
    rows: int


def worst_frames(series: Series, each: int) -> list[WorstFrame]:
    """Up to `each` frames with the lowest confidence, then up to `each` with the largest jumps, no frame twice.

    Frames that are as certain as the best one are not among them: where all are alike, none is the worst.
    """
    found: list[WorstFrame] = []
    if series.confidence is not None:
        known = series.success & np.isfinite(series.confidence)
        best = series.confidence[known].max(initial=-np.inf)
        doubt = np.where(known & (series.confidence < best), 1 - series.confidence, -np.inf)
        found += [_describe(series, row, f"confidence {series.confidence[row]:.2f}") for row in _largest(doubt, each)]
    jump = jumps(series)
    if jump is not None:
        rows = _largest(np.nan_to_num(jump, nan=-np.inf), each)
        listed = {frame.frame for frame in found}
        new = [row for row in rows if int(series.frame[row]) not in listed]
        found += [
            _describe(series, row, f"landmarks moved by {jump[row]:.1%} of the face's size since the frame before")
            for row in new
        ]
    return found


def jumps(series: Series) -> Values | None:
    """(n,) mean movement of the landmarks since the row before, by the size of the face; NaN where there is none.

    Size is the square root of the area of the landmarks' box. None where the table has no landmarks.
    """
    points = series.landmarks_px
    if points is None:
        return None
    moved = np.full(len(points), np.nan)
    if len(points) > 1:
        pair = series.success[1:] & series.success[:-1] & (np.diff(series.frame) == 1)
        sides = np.ptp(points, axis=1)
        size = np.sqrt(np.maximum(sides[:, 0] * sides[:, 1], 1.0))[1:]
        distance = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
        moved[1:][pair] = (distance / size)[pair]
    return moved


def lost_stretches(series: Series, most: int) -> list[Stretch]:
    """The longest stretches without a face, longest first."""
    away = np.concatenate([[False], ~series.success, [False]]).astype(np.int8)
    begins, ends = np.flatnonzero(np.diff(away) == 1), np.flatnonzero(np.diff(away) == -1)
    order = np.argsort(begins - ends, kind="stable")[:most]
    return [
        Stretch(
            int(series.frame[begins[k]]),
            int(series.frame[ends[k] - 1]),
            _time(series, int(begins[k])),
            int(ends[k] - begins[k]),
        )
        for k in order
    ]


def _largest(values: Values, count: int) -> list[int]:
    """Rows in the order of their values, none near one that is listed."""
    left: NDArray[np.float64] = values.copy()
    rows: list[int] = []
    while len(rows) < count and len(left) and np.isfinite(left).any():
        row = int(np.argmax(np.where(np.isfinite(left), left, -np.inf)))
        rows.append(row)
        left[max(0, row - _APART) : row + _APART + 1] = -np.inf
    return rows


def _describe(series: Series, row: int, why: str) -> WorstFrame:
    points = series.landmarks_px[row] if series.landmarks_px is not None else None
    return WorstFrame(int(series.frame[row]), _time(series, row), why, points)


def _time(series: Series, row: int) -> float | None:
    return float(series.time[row]) if series.time_label == "seconds" else None
