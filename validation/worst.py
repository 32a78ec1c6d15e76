"""Which frames disagree most, and which have no counterpart at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.stages.records import AU_INTENSITIES
from auflow.validation.comparison import LANDMARKS, Match, errors
from auflow.validation.table import Key

__all__ = ["WorstFrame", "landmark_errors", "missing_rows", "ranges", "success_differs", "worst_by_aus", "worst_frames"]

Values = NDArray[np.float64]

# Neighbouring frames of a face look alike: of any stretch of this many frames only the worst is listed.
STRETCH_FRAMES = 15


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One row that stands out."""

    key: Key
    timestamp_s: float  # NaN where the file has none
    mean_px: float | None  # distance of the 2-D landmarks; None where they cannot be compared
    max_px: float | None
    au: str | None  # the AU whose intensity differs most
    au_reference: float
    au_ours: float
    reference_px: Values | None  # (68, 2)
    ours_px: Values | None  # (68, 2)


def landmark_errors(rows: Match) -> Values | None:
    """Distance of every 2-D landmark on all matched rows, (n, 68) px.

    NaN where the reference has no success, inf where ours are missing; None where the reference has no landmarks.
    """
    if LANDMARKS.names[0] not in rows.reference.names:
        return None
    distance, _ = errors(rows, LANDMARKS)
    distance[~rows.success] = np.nan
    return distance


def worst_frames(rows: Match, count: int) -> list[WorstFrame]:
    """The `count` rows with the largest mean distance of the 2-D landmarks, worst first."""
    distance = landmark_errors(rows)
    if distance is None:
        return []
    return [_describe(rows, distance, row) for row in _largest(rows, distance.mean(axis=1), count)]


def worst_by_aus(rows: Match, count: int) -> list[WorstFrame]:
    """The `count` rows whose AU intensities differ most, summed over the AUs, worst first."""
    distance = landmark_errors(rows)
    differences = np.abs(np.subtract(*_intensities(rows)))
    total = np.where(rows.success, differences.sum(axis=1), np.nan)
    return [_describe(rows, distance, row) for row in _largest(rows, total, count)]


def _intensities(rows: Match) -> tuple[Values, Values]:
    """Reference and ours, (n, AUs that both have)."""
    names = _shared_aus(rows)
    return rows.columns(names) if names else (np.zeros((len(rows.keys), 0)), np.zeros((len(rows.keys), 0)))


def _shared_aus(rows: Match) -> tuple[str, ...]:
    both = rows.reference.names.keys() & rows.ours.names.keys()
    return tuple(f"{au}_r" for au in AU_INTENSITIES if f"{au}_r" in both)


def _largest(rows: Match, score: Values, count: int) -> list[int]:
    """Rows of the largest finite positive scores, at most one of any stretch of frames."""
    usable = np.flatnonzero(np.isfinite(score) & (score > 0))
    chosen: list[int] = []
    for row in usable[np.argsort(-score[usable], kind="stable")]:
        face, frame = rows.keys[row]
        near = (abs(frame - rows.keys[k][1]) < STRETCH_FRAMES and face == rows.keys[k][0] for k in chosen)
        if not any(near):
            chosen.append(int(row))
        if len(chosen) == count:
            break
    return chosen


def _describe(rows: Match, distance: Values | None, row: int) -> WorstFrame:
    reference, ours = (table[row] for table in _intensities(rows))
    differences = np.nan_to_num(np.abs(reference - ours))
    place = int(differences.argmax()) if differences.size else None
    here = distance is not None and bool(np.isfinite(distance[row]).all())
    points = [table[row].reshape(2, -1).T for table in rows.columns(LANDMARKS.names)] if here else [None, None]
    return WorstFrame(
        key=rows.keys[row],
        timestamp_s=float(rows.column("timestamp")[0][row]),
        mean_px=float(distance[row].mean()) if distance is not None and here else None,
        max_px=float(distance[row].max()) if distance is not None and here else None,
        au=None if place is None else _shared_aus(rows)[place].removesuffix("_r"),
        au_reference=np.nan if place is None else float(reference[place]),
        au_ours=np.nan if place is None else float(ours[place]),
        reference_px=points[0],
        ours_px=points[1],
    )


def missing_rows(rows: Match) -> list[Key]:
    """The rows of the reference that ours does not have."""
    return [key for key, row in zip(rows.keys, rows.our_rows, strict=True) if row < 0]


def success_differs(rows: Match) -> list[Key]:
    """The rows that both have, with another `success`."""
    reference, ours = rows.column("success")
    return [rows.keys[row] for row in np.flatnonzero((reference != ours) & (rows.our_rows >= 0))]


def ranges(keys: Sequence[Key], most: int = 12) -> str:
    """Frames as text, per face where there are several: `3 to 7, 12`, cut after `most` stretches."""
    faces = sorted({face for face, _ in keys})
    texts = []
    for face in faces:
        stretches = _stretches(sorted(frame for f, frame in keys if f == face))
        shown = [str(a) if a == b else f"{a} to {b}" for a, b in stretches[:most]]
        more = [f"and {len(stretches) - most} more stretches"] if len(stretches) > most else []
        texts.append((f"face {face}: " if len(faces) > 1 else "") + ", ".join(shown + more))
    return "; ".join(texts)


def _stretches(frames: Iterable[int]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for frame in frames:
        if out and frame == out[-1][1] + 1:
            out[-1] = (out[-1][0], frame)
        else:
            out.append((frame, frame))
    return out
