"""A picture of a CSV: every Action Unit's intensity over time, presence shaded."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, OutputError, UsageError
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES
from auflow.stages.sink.au_names import AU_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_csv", "read_aus"]

UPPER_FACE = frozenset({"AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU45"})
UPPER_COLOUR = "#2b6cb0"
LOWER_COLOUR = "#b7541b"
TEXT_COLOUR = "#2d3748"
FAINT_COLOUR = "#a0aec0"
MAX_INTENSITY = 5.0
ROW_INCHES = 0.46


@dataclass(frozen=True, slots=True)
class AuSeries:
    """The Action Units of one face over time."""

    name: str
    time: NDArray[np.float64]  # (n,) seconds, or the frame where the file has no time
    time_label: str
    success: NDArray[np.bool_]  # (n,)
    intensities: dict[str, NDArray[np.float64]]  # by AU, (n,)
    presences: dict[str, NDArray[np.bool_]]  # by AU, (n,)


def read_aus(path: Path) -> AuSeries:
    """The Action Units in a CSV of auflow or OpenFace; of several faces, those of the first.

    Raises
    ------
    InputError
        The file is missing, or holds no rows or no AU columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            columns = _columns(csv.reader(file), path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; give a CSV that `auflow run` has written"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not a CSV of numbers ({error}); give one that `auflow run` has written") from error
    if "face_id" in columns:
        chosen = columns["face_id"] == columns["face_id"].min()
        columns = {name: values[chosen] for name, values in columns.items()}
    time, label = columns.get("timestamp", columns["frame"]), "seconds"
    if not np.ptp(time):
        time, label = columns["frame"], "frame"
    return AuSeries(
        name=path.stem,
        time=time,
        time_label=label,
        success=columns.get("success", np.ones(len(time))) > 0.5,
        intensities={au: columns[f"{au}_r"] for au in AU_INTENSITIES if f"{au}_r" in columns},
        presences={au: columns[f"{au}_c"] > 0.5 for au in AU_PRESENCES if f"{au}_c" in columns},
    )


def _columns(rows: Iterator[list[str]], path: Path) -> dict[str, NDArray[np.float64]]:
    names = [name.strip() for name in next(rows, [])]
    wanted = [i for i, name in enumerate(names) if name.startswith("AU") or name in _KEYS]
    if "frame" not in names and "face" in names:
        raise InputError(f"{path}: is of a single picture: there is no time to draw over; give the CSV of a video")
    if "frame" not in names or not any(names[i].endswith("_r") for i in wanted):
        raise InputError(f"{path}: found no AU columns (AU01_r ...); give a CSV that `auflow run` has written")
    values = np.array([[float(row[i]) for i in wanted] for row in rows if len(row) == len(names)])
    if not len(values):
        raise InputError(f"{path}: the file has a header and no rows: there is nothing to draw")
    return {names[i]: values[:, place] for place, i in enumerate(wanted)}


_KEYS = frozenset({"frame", "face_id", "timestamp", "success"})


def plot_csv(path: Path, output: Path) -> Path:
    """Draw the CSV `path` as the image `output` (its suffix decides the format) and return that path.

    Raises
    ------
    UsageError
        matplotlib is not installed.
    InputError, OutputError
        The CSV cannot be read, the image cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("drawing needs matplotlib: install it with `pip install 'auflow[plot]'`") from error
    series = read_aus(path)
    matplotlib.use("Agg")
    with matplotlib.rc_context({"font.family": "sans-serif", "font.size": 9, "text.color": TEXT_COLOUR}):
        figure = _draw(series)
        try:
            figure.savefig(output, dpi=150, facecolor="white")
        except (OSError, ValueError) as error:  # ValueError: a suffix that is no image format
            reason = error.strerror if isinstance(error, OSError) else error
            raise OutputError(f"{output}: cannot be written: {reason}; choose another place with -o") from error
    return output


def _draw(series: AuSeries) -> Figure:
    from matplotlib.figure import Figure

    aus = [au for au in AU_PRESENCES if au in series.intensities or au in series.presences]
    height = ROW_INCHES * len(aus) + 1.35
    figure = Figure(figsize=(11, height))
    axes = figure.subplots(len(aus), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.215, right=0.955, top=1 - 0.8 / height, bottom=0.55 / height, hspace=0.18)
    for axis, au in zip(axes, aus, strict=True):
        _draw_au(axis, series, au)
    axes[-1].spines["bottom"].set_visible(True)
    axes[-1].tick_params(axis="x", length=3, color=FAINT_COLOUR, labelcolor=TEXT_COLOUR)
    axes[-1].set_xlabel(series.time_label, color=TEXT_COLOUR)
    axes[0].set_xlim(series.time[0], max(series.time[-1], series.time[0] + 1e-9))
    _caption(figure, series, height)
    return figure


def _caption(figure: Figure, series: AuSeries, height: float) -> None:
    found = int(series.success.sum())
    figure.text(0.02, 1 - 0.3 / height, series.name, fontsize=13, fontweight="bold", va="center")
    figure.text(
        0.02,
        1 - 0.55 / height,
        "Intensity of each Action Unit from 0 to 5, its maximum on the right; shaded: present; hatched: no face. "
        f"{len(series.time)} frames, a face in {found}",
        color="#718096",
        va="center",
    )


def _draw_au(axis: Axes, series: AuSeries, au: str) -> None:
    colour = UPPER_COLOUR if au in UPPER_FACE else LOWER_COLOUR
    shade: dict[str, Any] = {"transform": axis.get_xaxis_transform(), "linewidth": 0, "step": "mid"}
    if not series.success.all():
        away = {**shade, "facecolor": "#f7f7f7", "edgecolor": "#d4d4d4", "hatch": "////"}
        axis.fill_between(series.time, 0, 1, where=~series.success, **away)
    if au in series.presences:
        axis.fill_between(series.time, 0, 1, where=series.presences[au], color=colour, alpha=0.14, **shade)
    values = series.intensities.get(au)
    if values is not None:
        shown = np.where(series.success, values, np.nan)
        axis.fill_between(series.time, 0, shown, color=colour, alpha=0.30, linewidth=0)
        axis.plot(series.time, shown, color=colour, linewidth=1.1, solid_joinstyle="round")
        axis.text(1.008, 0.0, f"{np.max(values):.1f}", transform=axis.transAxes, color=colour, fontsize=8, va="bottom")
    label = f"{AU_NAMES[au]}" + ("" if values is not None else " (presence)")
    axis.text(-0.015, 0.28, label, transform=axis.transAxes, ha="right", va="center", color="#4a5568")
    axis.text(-0.245, 0.28, au, transform=axis.transAxes, ha="left", va="center", color=colour, fontweight="bold")
    axis.set_ylim(0, MAX_INTENSITY)
    axis.set_yticks([])
    axis.tick_params(axis="x", length=0)
    axis.patch.set_visible(False)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT_COLOUR if side == "bottom" else "none")
        spine.set_linewidth(0.6)
