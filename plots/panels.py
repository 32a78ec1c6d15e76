"""The panels of the drawn figure, one function each, on axes that share their time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auflow.plots.bins import Bins
from auflow.plots.series import Series, Values
from auflow.stages.sink.au_names import AU_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "FAINT_COLOUR", "TEXT_COLOUR", "draw_confidence", "draw_heatmap", "draw_intensity", "draw_lines"]

UPPER_FACE = frozenset({"AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU45"})
UPPER_COLOUR = "#2b6cb0"
LOWER_COLOUR = "#b7541b"
COLOURS = (UPPER_COLOUR, LOWER_COLOUR, "#2f855a")
PRESENT_COLOUR = "#e0402f"
TEXT_COLOUR = "#2d3748"
LABEL_COLOUR = "#4a5568"
FAINT_COLOUR = "#a0aec0"
MAX_INTENSITY = 5.0
_HATCH: dict[str, Any] = {"facecolor": "#f7f7f7", "edgecolor": "#d4d4d4", "hatch": "////", "linewidth": 0.0}


def draw_confidence(axis: Axes, series: Series, bins: Bins) -> None:
    """How well the landmarks sit, and where no face was tracked."""
    assert series.confidence is not None
    _shade_away(axis, series, bins)
    time = bins.first(series.time)
    values = bins.mean(series.confidence)
    axis.fill_between(time, 0, values, color=COLOURS[2], alpha=0.25, linewidth=0)
    axis.plot(time, values, color=COLOURS[2], linewidth=1.0)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 1])
    _title(axis, "confidence")


def draw_heatmap(axis: Axes, series: Series, bins: Bins) -> Any:
    """All Action Units in one: colour is intensity, a line below it presence. Returns what the colour bar shows."""
    aus = series.aus
    time = bins.first(series.time)
    nothing = np.full(len(series.time), np.nan)
    shown = [np.where(series.success, series.intensities.get(au, nothing), np.nan) for au in aus]
    axis.set_facecolor("#edf2f7")
    picture = axis.pcolormesh(
        _edges(time, series.time[-1]),
        np.arange(len(aus) + 1),
        np.stack([bins.mean(values) for values in shown]),
        cmap="viridis",
        vmin=0.0,
        vmax=MAX_INTENSITY,
        rasterized=True,
    )
    for place, au in enumerate(aus):
        if au in series.presences:
            present = bins.share(series.presences[au] & series.success) >= 0.5
            axis.fill_between(
                time, place + 0.78, place + 0.94, where=present, color=PRESENT_COLOUR, linewidth=0, step="mid"
            )
    _shade_away(axis, series, bins)
    axis.set_ylim(len(aus), 0)
    axis.set_yticks(np.arange(len(aus)) + 0.5, [""] * len(aus))
    axis.tick_params(axis="y", length=0)
    for place, au in enumerate(aus):
        _au_label(axis, au, 1 - (place + 0.5) / len(aus))
    return picture


def draw_intensity(axis: Axes, series: Series, au: str, bins: Bins) -> None:
    """One Action Unit: its intensity, presence shaded, its maximum on the right."""
    colour = UPPER_COLOUR if au in UPPER_FACE else LOWER_COLOUR
    time = bins.first(series.time)
    _shade_away(axis, series, bins)
    if au in series.presences:
        present = bins.share(series.presences[au] & series.success) >= 0.5
        across: dict[str, Any] = {"transform": axis.get_xaxis_transform(), "linewidth": 0, "step": "mid"}
        axis.fill_between(time, 0, 1, where=present, color=colour, alpha=0.14, **across)
    values = series.intensities.get(au)
    if values is not None:
        shown = np.where(series.success, values, np.nan)
        mean, (low, high) = bins.mean(shown), bins.extremes(shown)
        axis.fill_between(time, low if bins.size > 1 else 0, high, color=colour, alpha=0.30, linewidth=0)
        axis.plot(time, mean, color=colour, linewidth=1.1, solid_joinstyle="round")
        largest = float(np.nanmax(shown)) if np.isfinite(shown).any() else 0.0
        axis.text(1.008, 0.0, f"{largest:.1f}", transform=axis.transAxes, color=colour, fontsize=8, va="bottom")
    _au_label(axis, au, 0.3, presence_only=values is None)
    axis.set_ylim(0, MAX_INTENSITY)
    axis.set_yticks([])


def draw_lines(axis: Axes, series: Series, values: Values, names: tuple[str, ...], title: str, bins: Bins) -> None:
    """Several lines with a scale on the left and their names on the right; gaps where no face was tracked."""
    _shade_away(axis, series, bins)
    time = bins.first(series.time)
    for place, name in enumerate(names):
        shown = np.where(series.success, values[:, place], np.nan)
        colour = COLOURS[place]
        if bins.size > 1:
            axis.fill_between(time, *bins.extremes(shown), color=colour, alpha=0.25, linewidth=0)
        axis.plot(time, bins.mean(shown), color=colour, linewidth=1.1)
        axis.text(1.008, 0.86 - 0.3 * place, name, transform=axis.transAxes, color=colour, fontsize=8, va="center")
    axis.margins(y=0.12)
    axis.grid(axis="y", color="#e2e8f0", linewidth=0.6)
    axis.locator_params(axis="y", nbins=4)
    axis.tick_params(axis="y", length=0, labelcolor=LABEL_COLOUR, labelsize=8)
    _title(axis, title)


def _shade_away(axis: Axes, series: Series, bins: Bins) -> None:
    away = bins.share(~series.success) >= 0.5
    if away.any():
        time = bins.first(series.time)
        axis.fill_between(time, 0, 1, where=away, transform=axis.get_xaxis_transform(), step="mid", **_HATCH)


def _edges(time: Values, last: float) -> NDArray[np.float64]:
    """Where the columns of a picture begin and end: half way between their times."""
    if len(time) < 2:
        return np.array([time[0] - 0.5, time[0] + 0.5])
    middles = (time[1:] + time[:-1]) / 2
    return np.concatenate([time[:1], middles, [max(last, float(time[-1]))]])


def _title(axis: Axes, text: str) -> None:
    axis.text(-0.245, 0.5, text, transform=axis.transAxes, ha="left", va="center", color=TEXT_COLOUR, fontweight="bold")


def _au_label(axis: Axes, au: str, height: float, *, presence_only: bool = False) -> None:
    colour = UPPER_COLOUR if au in UPPER_FACE else LOWER_COLOUR
    label = AU_NAMES[au] + (" (presence)" if presence_only else "")
    axis.text(-0.015, height, label, transform=axis.transAxes, ha="right", va="center", color=LABEL_COLOUR)
    axis.text(-0.245, height, au, transform=axis.transAxes, ha="left", va="center", color=colour, fontweight="bold")
