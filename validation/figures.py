"""The plots of the report, as inline SVG that takes its colours from the page: one drawing for light and dark."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["au_figure", "landmark_figure", "landmark_map", "require_matplotlib"]

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Drawn in colours that occur nowhere else; `_themed` puts the page's variables in their place.
INK, FAINT, GRID, REFERENCE, OURS, MISSING = "#010203", "#010204", "#010205", "#010206", "#010207", "#010208"
VARIABLES = {INK: "ink", FAINT: "faint", GRID: "grid", REFERENCE: "reference", OURS: "ours", MISSING: "bad"}
SCATTER_COLOUR = "#8b6fc8"  # pixels cannot follow the page: a tone that reads on light and dark
RASTER_DPI = 160
# Points of a curve that a figure of this width can show; beyond, the extremes of each bin are drawn.
BINS = 900
LOG_RATIO = 20.0
SHADE_ALPHA = 0.22


def require_matplotlib() -> None:
    """Raise UsageError where the plots cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--html draws with matplotlib: install it with `pip install 'auflow[plot]'`, or use --json"
        ) from error


def au_figure(
    time: Values,
    intensities: tuple[Values, Values] | None,
    presences: tuple[Values, Values] | None,
    *,
    time_label: str,
    label: str,
) -> str:
    """Time series of one AU, reference and ours, beside their scatter.

    Parameters
    ----------
    time : (n,) seconds or frames
    intensities, presences : reference and ours, (n,) each, NaN where one has no value; None where the file has none
    label : read out instead of the picture
    """
    with _settings():
        figure, (series, scatter) = _columns(1.75 if intensities else 0.7, (6.4, 1.25))
        if intensities is not None:
            _draw_series(series, time, intensities)
            _draw_scatter(scatter, intensities)
        else:
            scatter.set_axis_off()
            series.set_yticks([])
        if presences is not None:
            _draw_presences(series, time, presences, with_curves=intensities is not None)
        _frame_time(series, time, time_label)
        return _svg(figure, label)


def landmark_figure(time: Values, errors_px: Values, success: Flags, missing: Flags, *, time_label: str) -> str:
    """Mean and largest distance of the 2-D landmarks over time.

    Parameters
    ----------
    errors_px : (n, 68), NaN where the reference has no success, inf where ours is missing
    success, missing : (n,) of the reference; rows that ours does not have
    """
    finite = np.where(np.isfinite(errors_px), errors_px, np.nan)
    with _settings():
        figure, (axes,) = _columns(2.6, (1.0,), width=7.8)
        mean, largest = finite.mean(axis=1), finite.max(axis=1)
        axes.plot(*_thin(time, largest), color=OURS, linewidth=0.7, alpha=0.8, label="worst landmark")
        axes.plot(*_thin(time, mean), color=INK, linewidth=1.2, label="mean of 68")
        known = mean[np.isfinite(mean)]
        if known.size and known.min() > 0 and known.max() > LOG_RATIO * np.median(known):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        _shade(axes, time, ~success, GRID, "no face in the reference")
        _shade(axes, time, missing, MISSING, "row missing in ours")
        axes.set_ylabel("distance [px]")
        axes.grid(axis="y", color=GRID, linewidth=0.5)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, labelcolor=INK, borderaxespad=0.2)
        _frame_time(axes, time, time_label)
        return _svg(figure, "distance of the 2-D landmarks over time")


def landmark_map(mean_shape: Values, errors_px: Values) -> str:
    """Where on the face the error is: a disc on each landmark, its area by the mean distance.

    Parameters
    ----------
    mean_shape : (68, 2), y downwards, any unit
    errors_px : (68,) mean distances
    """
    with _settings():
        figure, (axes,) = _columns(2.9, (1.0,), width=2.6, axes_off=True)
        largest = max(float(errors_px.max()), 1e-12)
        axes.scatter(mean_shape[:, 0], mean_shape[:, 1], s=4, color=FAINT, linewidths=0)
        axes.scatter(
            mean_shape[:, 0], mean_shape[:, 1], s=160 * errors_px / largest, color=OURS, alpha=0.55, linewidths=0
        )
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.margins(0.16)
        return _svg(figure, "mean distance of each landmark")


def _settings() -> Any:
    import matplotlib

    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",  # text stays text: it scales, is found and takes the page's font
            "svg.hashsalt": "auflow",  # the same input gives the same file
            "font.family": "sans-serif",
            "font.size": 8.5,
            "text.color": INK,
            "axes.labelcolor": FAINT,
            "axes.edgecolor": GRID,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "path.simplify": True,
        }
    )


def _columns(
    height: float, ratios: tuple[float, ...], *, width: float = 10.4, axes_off: bool = False
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    axes = list(figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0])
    for axis in axes:
        axis.patch.set_visible(False)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(length=2.5, width=0.6)
        if axes_off:
            axis.set_axis_off()
    return figure, axes


def _draw_series(axes: Axes, time: Values, pair: tuple[Values, Values]) -> None:
    for values, colour, width, alpha in ((pair[0], REFERENCE, 2.4, 0.5), (pair[1], OURS, 0.9, 1.0)):
        axes.plot(*_thin(time, values), color=colour, linewidth=width, alpha=alpha, solid_joinstyle="round")
    axes.set_ylim(0, _top(pair))
    axes.grid(axis="y", color=GRID, linewidth=0.5)


def _top(pair: tuple[Values, Values]) -> float:
    known = np.concatenate(pair)
    known = known[np.isfinite(known)]
    return max(1.0, 1.06 * float(known.max())) if known.size else 1.0


def _draw_scatter(axes: Axes, pair: tuple[Values, Values]) -> None:
    top = _top(pair)
    axes.plot([0, top], [0, top], color=FAINT, linewidth=0.6)
    axes.plot(*pair, ".", color=SCATTER_COLOUR, markersize=3, alpha=0.45, markeredgewidth=0, rasterized=True)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_box_aspect(1)
    axes.set_xlabel("reference")
    axes.set_ylabel("ours")


def _draw_presences(axes: Axes, time: Values, pair: tuple[Values, Values], *, with_curves: bool) -> None:
    """Two bands under the curves: where the AU is present by the reference (upper) and by ours (lower)."""
    bottom, top = axes.get_ylim() if with_curves else (0.0, 0.0)
    height = 0.09 * (top - bottom) if with_curves else 1.0
    for place, (values, colour) in enumerate(zip(pair, (REFERENCE, OURS), strict=True), start=1):
        spans = [(start, end - start) for start, end in _spans(time, values > 0.5)]
        axes.broken_barh(spans, (bottom - 1.25 * height * place, height), color=colour, linewidth=0, alpha=0.75)
    axes.set_ylim(bottom - 2.6 * height, top)
    if with_curves:
        ticks = axes.get_yticks()
        axes.set_yticks([tick for tick in ticks if 0 <= tick <= top])
        axes.set_ylim(bottom - 2.6 * height, top)


def _shade(axes: Axes, time: Values, where: Flags, colour: str, label: str) -> None:
    for start, end in _spans(time, where):
        axes.axvspan(
            start, end, color=colour, alpha=SHADE_ALPHA if colour == MISSING else 0.6, linewidth=0, label=label
        )
        label = "_"  # matplotlib's sign for: not in the legend again


def _spans(time: Values, where: Flags) -> list[tuple[float, float]]:
    """Start and end of every stretch of rows in `where`, half a step around the first and last row."""
    if len(time) < 2:
        return [(float(time[0]) - 0.5, float(time[0]) + 0.5)] if where.any() else []
    half = float(np.median(np.diff(time))) / 2
    edges = np.diff(np.concatenate(([0], where.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return [(float(time[a]) - half, float(time[b]) + half) for a, b in zip(starts, ends, strict=True)]


def _frame_time(axes: Axes, time: Values, label: str) -> None:
    axes.set_xlim(float(time[0]), max(float(time[-1]), float(time[0]) + 1e-9))
    axes.set_xlabel(label)


def _thin(time: Values, values: Values) -> tuple[Values, Values]:
    """The curve with at most two points a bin, its extremes, so that no spike is lost."""
    if len(values) <= 2 * BINS:
        return time, values
    low = np.where(np.isnan(values), np.inf, values)
    high = np.where(np.isnan(values), -np.inf, values)
    edges = np.linspace(0, len(values), BINS + 1).astype(int)
    kept = []
    for start, end in pairwise(edges):
        kept += sorted({start + int(low[start:end].argmin()), start + int(high[start:end].argmax())})
    return time[kept], values[kept]


def _svg(figure: Figure, label: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", dpi=RASTER_DPI, metadata={"Date": None, "Creator": None, "Type": None})
    return _themed(out.getvalue(), label)


def _themed(svg: str, label: str) -> str:
    """The drawing inline: without what only a file of its own needs, in the colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # figure_1 in every drawing: an id must be the page's only one
    svg = svg.replace("xlink:href", "href")
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
