"""The series as the page's script reads it: JSON, each row of numbers as 16-bit integers in base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.plots.bins import Bins, bins_for
from auflow.plots.gaps import with_gaps
from auflow.plots.series import Series, Values
from auflow.stages.sink.au_names import AU_NAMES

__all__ = ["MOST_POINTS", "island", "packed", "unpacked"]

MOST_POINTS = 4000  # of each line: more than a screen is wide, and a page that still mails
_NONE = -32768  # stands for a value that is none
_LARGEST = 32767
_LINES = (
    ("rotation", "Head rotation", "°", ("pitch", "yaw", "roll")),
    ("position", "Head position", "mm", ("x, right", "y, down", "z, away")),
    ("gaze", "Gaze", "°", ("left to right", "up to down")),
)


def island(series: Series, what: Sequence[str] = ("heatmap", "intensities", "pose", "gaze")) -> str:
    """What the script draws, as JSON that may stand in a page.

    Parameters
    ----------
    what : of "heatmap", "intensities", "pose", "gaze"; the confidence is always there
    """
    series = with_gaps(series)
    bins = bins_for(len(series.time), MOST_POINTS)
    document = {
        "rows": len(series.time),
        "rowsAPoint": bins.size,
        "timeLabel": series.time_label,
        "time": _exact_row(bins.first(series.time)),
        "frame": _exact_row(bins.first(series.frame.astype(np.float64))),
        "success": _packed_row(bins.share(series.success)),
        "aus": [_au(series, au, bins) for au in series.aus],
        "panels": [panel for panel in _panels(series, bins, what) if panel is not None],
    }
    # "</script>" in a name must not end the element.
    return json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _panels(series: Series, bins: Bins, what: Sequence[str]) -> list[dict[str, Any] | None]:
    panels: list[dict[str, Any] | None] = []
    if series.confidence is not None:
        line = _line("confidence", series.confidence, bins)
        panels.append({"kind": "lines", "title": "Confidence", "unit": "", "range": [0, 1], "lines": [line]})
    if series.aus:
        kinds = [kind for kind in ("heatmap", "intensities") if kind in what]
        panels += [{"kind": kind, "title": _TITLES[kind]} for kind in kinds]
    values = {"rotation": series.rotation_deg, "position": series.position_mm, "gaze": series.gaze_deg}
    for key, title, unit, names in _LINES:
        found = values[key]
        if found is not None and ("gaze" if key == "gaze" else "pose") in what:
            lines = [_line(name, _shown(series, found[:, place]), bins) for place, name in enumerate(names)]
            panels.append({"kind": "lines", "title": title, "unit": unit, "lines": lines})
    return panels


_TITLES = {"heatmap": "Action Units", "intensities": "Action Units, one by one"}


def _shown(series: Series, values: Values) -> Values:
    """NaN where no face was tracked: what stands there means nothing."""
    return np.where(series.success, values, np.nan)


def _au(series: Series, au: str, bins: Bins) -> dict[str, Any]:
    known: dict[str, Any] = {"au": au}
    if au in series.intensities:
        known |= _line("", _shown(series, series.intensities[au]), bins)
    known["name"] = AU_NAMES[au]
    if au in series.presences:
        known["present"] = _packed_row(bins.share(series.presences[au] & series.success))
    return known


def _line(name: str, values: Values, bins: Bins) -> dict[str, Any]:
    line = {"name": name, "mean": _packed_row(bins.mean(values))}
    if bins.size > 1:
        line["low"], line["high"] = (_packed_row(each) for each in bins.extremes(values))
    return line


def _exact_row(values: Values) -> dict[str, Any]:
    """As float32: times to a millisecond within hours, frames exactly up to 16 million."""
    return {"f4": base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")}


def _packed_row(values: Values) -> dict[str, Any]:
    low, step, data = packed(values)
    return {"low": low, "step": step, "data": data}


def packed(values: Values) -> tuple[float, float, str]:
    """(n,) numbers as base64 of little-endian int16: value = low + step * (integer + 32767).

    That is exact to a 65,534th of their range. What is no number becomes -32768.
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    step = (high - low) / (2 * _LARGEST) or 1.0
    numbers = np.full(len(values), _NONE, dtype="<i2")
    finite = np.isfinite(values)
    numbers[finite] = np.rint((values[finite] - low) / step - _LARGEST).astype("<i2")
    return low, step, base64.b64encode(numbers.tobytes()).decode("ascii")


def unpacked(row: dict[str, Any]) -> NDArray[np.float64]:
    """Back from what `island` has; the script does the same."""
    if "f4" in row:
        return np.frombuffer(base64.b64decode(row["f4"]), dtype="<f4").astype(np.float64)
    numbers = np.frombuffer(base64.b64decode(row["data"]), dtype="<i2")
    values: NDArray[np.float64] = row["low"] + row["step"] * (numbers.astype(np.float64) + _LARGEST)
    values[numbers == _NONE] = np.nan
    return values
