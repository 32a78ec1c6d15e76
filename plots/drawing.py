"""The drawn figure: panels below each other that share their time, as PNG, SVG or PDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.errors import OutputError, UsageError
from auflow.plots import panels
from auflow.plots.bins import Bins, bins_for
from auflow.plots.gaps import with_gaps
from auflow.plots.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

MOST_POINTS = 1600  # of each line: as many as the figure is wide in pixels
_WIDTH = 11.0  # inches
_TOP, _BOTTOM = 1.05, 0.5
_GAP = 0.14  # between two panels
_LEFT, _RIGHT = 0.215, 0.925
_Panel = tuple[float, Callable[["Axes"], Any]]  # height in inches, and what draws it


def draw(series: Series, output: Path, what: Sequence[str]) -> None:
    """Draw `what` ("heatmap", "intensities", "pose", "gaze") as the image `output`; its suffix decides the format.

    Raises
    ------
    UsageError
        matplotlib is not installed, or the table has nothing of it.
    OutputError
        The image cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("drawing needs matplotlib: install it with `pip install 'auflow[plot]'`") from error
    matplotlib.use("Agg")
    style: Any = {"font.family": "sans-serif", "font.size": 9, "text.color": panels.TEXT_COLOUR, "hatch.linewidth": 0.5}
    with matplotlib.rc_context(style):
        figure = _figure(series, what)
        try:
            figure.savefig(output, dpi=150, facecolor="white")
        except (OSError, ValueError) as error:  # ValueError: a suffix that is no image format
            reason = error.strerror if isinstance(error, OSError) else error
            raise OutputError(f"{output}: cannot be written: {reason}; choose another place with -o") from error


def _figure(series: Series, what: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    shown = with_gaps(series)
    bins = bins_for(len(shown.time), MOST_POINTS)
    chosen = _panels(shown, what, bins)
    if not chosen:
        raise UsageError(
            f"{series.name}: the table has no columns for {', '.join(what)}; choose other ones with --what"
        )
    height = _TOP + _BOTTOM + sum(size for size, _ in chosen) + _GAP * (len(chosen) - 1)
    figure = Figure(figsize=(_WIDTH, height))
    top = height - _TOP
    first: Axes | None = None
    for size, panel in chosen:
        axis = figure.add_axes((_LEFT, (top - size) / height, _RIGHT - _LEFT, size / height), sharex=first)
        first = first or axis
        drawn = panel(axis)
        if drawn is not None:
            _colour_bar(figure, drawn, (top - size) / height, size / height)
        _plain(axis)
        top -= size + _GAP
    _time_axis(axis, series)
    _caption(figure, series, bins, height, gaps=shown is not series)
    return figure


def _panels(series: Series, what: Sequence[str], bins: Bins) -> list[_Panel]:
    chosen: list[_Panel] = []
    if series.confidence is not None and len(what) > 1:
        chosen.append((0.42, partial(panels.draw_confidence, series=series, bins=bins)))
    if "heatmap" in what and series.aus:
        chosen.append((0.215 * len(series.aus), partial(panels.draw_heatmap, series=series, bins=bins)))
    if "intensities" in what:
        chosen += [(0.30, partial(panels.draw_intensity, series=series, au=au, bins=bins)) for au in series.aus]
    lines = (
        ("pose", series.rotation_deg, ("pitch", "yaw", "roll"), "head rotation, °"),
        ("pose", series.position_mm, ("x", "y", "z"), "head position, mm"),
        ("gaze", series.gaze_deg, ("left-right", "up-down"), "gaze, °"),
    )
    for key, values, names, title in lines:
        if key in what and values is not None:
            draw_them = partial(panels.draw_lines, series=series, values=values, names=names, title=title, bins=bins)
            chosen.append((1.05, draw_them))
    return chosen


def _plain(axis: Axes) -> None:
    axis.tick_params(axis="x", length=0, labelbottom=False)
    axis.patch.set_visible(axis.get_facecolor() != (1.0, 1.0, 1.0, 1.0))
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(panels.FAINT_COLOUR)
        spine.set_linewidth(0.6)


def _time_axis(axis: Axes, series: Series) -> None:
    axis.tick_params(axis="x", length=3, labelbottom=True, color=panels.FAINT_COLOUR, labelcolor=panels.TEXT_COLOUR)
    axis.set_xlabel(series.time_label, color=panels.TEXT_COLOUR)
    axis.set_xlim(series.time[0], max(series.time[-1], series.time[0] + 1e-9))


def _colour_bar(figure: Figure, drawn: Any, bottom: float, height: float) -> None:
    axis = figure.add_axes((_RIGHT + 0.012, bottom, 0.008, height))
    bar = figure.colorbar(drawn, cax=axis)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=panels.TEXT_COLOUR)


def _caption(figure: Figure, series: Series, bins: Bins, height: float, *, gaps: bool) -> None:
    found = int(series.success.sum())
    several = f" Face {series.face} of {len(series.faces)}." if len(series.faces) > 1 else ""
    hatched = "no face, or no row in the table" if gaps else "no face"
    binned = f" Each point is {bins.size} frames: mean, and shaded smallest to largest." if bins.size > 1 else ""
    text = f"{len(series.time):,} frames, a face in {found:,}.{several} Hatched: {hatched}.{binned}"
    if series.aus:  # on a line of its own: both together are wider than the figure
        text += "\nAction Units: intensity 0 to 5; present where marked or shaded, the largest on the right."
    figure.text(0.02, 1 - 0.3 / height, series.name, fontsize=13, fontweight="bold", va="center")
    figure.text(0.02, 1 - 0.47 / height, text, color="#718096", va="top", linespacing=1.3)
