"""What a table says on the whole, and what its reader should know before using it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auflow.plots.series import Series, Values

__all__ = ["AuSummary", "Summary", "notes_on", "summarise"]

_LOW_CONFIDENCE = 0.75
_FAR_DEG = 30.0  # beyond, landmarks and Action Units are much less certain
_SHORT_S = 10.0
_FEW_FRAMES = 150
_NOTABLE = 0.05  # share of the frames


@dataclass(frozen=True, slots=True)
class AuSummary:
    """One Action Unit over the frames with a face; None where the table has no such column."""

    mean: float | None
    largest: float | None
    at_frame: int | None  # of the largest
    present: float | None  # share of the frames


@dataclass(frozen=True, slots=True)
class Summary:
    """A video in figures."""

    frames: int
    tracked: int  # frames with a face
    duration_s: float | None  # None where the table has no time
    fps: float | None
    confidence: float | None  # mean over the frames with a face
    low: float | None  # share of the frames with a face whose confidence is low
    far: float | None  # share of the frames with a face whose head is turned far
    neutral: float | None  # share of the frames with a face in which no Action Unit is present
    aus: dict[str, AuSummary]


def summarise(series: Series) -> Summary:
    """All figures of one face."""
    tracked = series.success
    count = int(tracked.sum())
    confidence = _known(series.confidence, series)
    rotation = None if series.rotation_deg is None else np.abs(series.rotation_deg[tracked])
    present = np.array([flags[tracked] for flags in series.presences.values()])
    steps = np.diff(series.time) if series.time_label == "seconds" else np.zeros(0)
    step_s = float(np.median(steps)) if len(steps) else 0.0
    return Summary(
        frames=len(series.time),
        tracked=count,
        duration_s=float(np.ptp(series.time)) + step_s if step_s > 0 else None,
        fps=1 / step_s if step_s > 0 else None,
        confidence=_mean(confidence),
        low=None if confidence is None else _mean((confidence < _LOW_CONFIDENCE).astype(float)),
        far=None if rotation is None else _mean((rotation.max(axis=1, initial=0.0) > _FAR_DEG).astype(float)),
        neutral=_mean((~present.any(axis=0)).astype(float)) if len(present) else None,
        aus={au: _au(series, au) for au in series.aus},
    )


def _au(series: Series, au: str) -> AuSummary:
    values, flags = series.intensities.get(au), series.presences.get(au)
    mean = largest = share = None
    frame = None
    if values is not None and series.success.any():
        shown = np.where(series.success, values, -np.inf)
        place = int(np.argmax(shown))
        mean, largest, frame = _mean(values[series.success]), float(shown[place]), int(series.frame[place])
    if flags is not None:
        share = _mean(flags[series.success].astype(float))
    return AuSummary(mean, largest, frame, share)


def _known(values: Values | None, series: Series) -> Values | None:
    return None if values is None else values[series.success]


def _mean(values: Values | None) -> float | None:
    return float(np.nanmean(values)) if values is not None and len(values) and np.isfinite(values).any() else None


def notes_on(summary: Summary, *, static: bool | None, faces: int) -> list[str]:
    """What a reader should know, in sentences; the gravest first.

    Parameters
    ----------
    static : whether the Action Units come from static models; None where that is not known
    faces : of the table
    """
    if summary.tracked == 0:
        return ["No face was tracked in any frame: there are no values to use."]
    notes = []
    lost = 1 - summary.tracked / summary.frames
    if lost >= _NOTABLE:
        notes.append(f"No face was tracked in {lost:.1%} of the frames. Use only rows with success 1.")
    if summary.low is not None and summary.low >= _NOTABLE:
        notes.append(
            f"The landmarks sit badly (confidence below {_LOW_CONFIDENCE:g}) in {summary.low:.1%} of the frames with a "
            "face. Look at the worst frames below before you use them."
        )
    if summary.far is not None and summary.far >= _NOTABLE:
        notes.append(
            f"The head is turned by more than {_FAR_DEG:g}° in {summary.far:.1%} of the frames with a face: landmarks "
            "and Action Units are less certain there."
        )
    if static is not True:
        notes += _of_the_baseline(summary)
    if faces > 1:
        notes.append(f"The table has {faces} faces; this page is about one of them.")
    return notes


def _of_the_baseline(summary: Summary) -> list[str]:
    """The models that adapt to the person need to have seen it at rest."""
    notes = []
    if summary.tracked < _FEW_FRAMES or (summary.duration_s is not None and summary.duration_s < _SHORT_S):
        notes.append(
            "The video is short. Intensities are relative to what the person's face looks like most of the time, "
            "which needs some hundred frames; compare with --au-static."
        )
    if summary.neutral is not None and summary.neutral < _NOTABLE:
        notes.append(
            "There is hardly a frame without any Action Unit present. Intensities are relative to the person's neutral "
            "face, so an expression that never ends may count as neutral; compare with --au-static."
        )
    return notes
