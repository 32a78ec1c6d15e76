"""Frames of which a table has no row, as of a face that comes and goes: nothing is drawn there."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from auflow.plots.series import Series, Values

__all__ = ["with_gaps"]

_STEPS = 3  # between rows, from which on it is a gap: a live stream drops single frames
_MOST = 1_000_000  # rows to put in, so that frame numbers that make no sense cost no memory

_Kind = TypeVar("_Kind", np.float64, np.bool_)


def with_gaps(series: Series) -> Series:
    """The same with rows without a face where frames are missing, as many as the usual step of frames says.

    Without them a line, a colour or a bin would reach over the gap, and tell of frames that nobody has measured.
    """
    steps = np.diff(series.frame)
    if not len(steps) or steps.min() < 1:  # one row, or not in order: then nothing can be told
        return series
    usual = max(int(np.median(steps)), 1)
    absent = np.where(steps > _STEPS * usual, steps // usual - 1, 0)
    if not absent.any():
        return series
    if absent.sum() > _MOST:
        absent = np.minimum(absent, max(2, _MOST // int(np.count_nonzero(absent))))
    places = np.concatenate([[0], np.cumsum(absent + 1)])  # of the rows that there are
    rows = int(places[-1]) + 1
    everywhere = np.arange(rows)

    def spread(values: NDArray[_Kind], nothing: float | bool) -> NDArray[_Kind]:
        wide = np.full((rows, *values.shape[1:]), nothing, dtype=values.dtype)
        wide[places] = values
        return wide

    def maybe(values: Values | None) -> Values | None:
        return None if values is None else spread(values, np.nan)

    return replace(
        series,
        frame=np.rint(np.interp(everywhere, places, series.frame)).astype(np.int64),
        time=np.interp(everywhere, places, series.time),
        success=spread(series.success, nothing=False),
        confidence=maybe(series.confidence),
        intensities={au: spread(values, np.nan) for au, values in series.intensities.items()},
        presences={au: spread(flags, nothing=False) for au, flags in series.presences.items()},
        rotation_deg=maybe(series.rotation_deg),
        position_mm=maybe(series.position_mm),
        gaze_deg=maybe(series.gaze_deg),
        landmarks_px=maybe(series.landmarks_px),
    )
