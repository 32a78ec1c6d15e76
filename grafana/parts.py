"""Panels in the house style, on top of Grafana's own builders: one colour for one meaning, legends that can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, statushistory, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardFieldConfigSourceOverrides,
    DashboardLink,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    FieldConfig,
    FieldConfigSource,
    GridPos,
    MatcherConfig,
    Panel,
    Threshold,
    ThresholdsConfig,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from auflow.grafana import GRAFANA

__all__ = [
    "DATASOURCE",
    "QUANTILE_COLOURS",
    "REASON_COLOURS",
    "STAGE_COLOURS",
    "Column",
    "Look",
    "Query",
    "bars",
    "columns",
    "heat",
    "history",
    "lines",
    "number",
    "timeline",
]

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
STAGE_COLOURS = {"decode": "blue", "detect": "purple", "clnf": "orange", "au": "green", "sink": "yellow"}
REASON_COLOURS = {"superseded": "yellow", "too_old": "orange", "paused": "blue"}
QUANTILE_COLOURS = {"p50": "green", "p90": "yellow", "p99": "orange"}
_MAX_CELLS = 100  # columns of a status history: more of them cannot be told apart


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel, and how its series are called."""

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True)
class Look:
    """How values are shown; what is not told stays as Grafana has it."""

    unit: str
    width: int = 12  # of 24
    height: int = 8
    decimals: int | None = None
    low: float | None = None
    high: float | None = None
    base: str = "green"
    steps: Sequence[tuple[float, str]] = ()  # from a value on, this colour; below the first it is `base`
    colours: Mapping[str, str] = field(default_factory=dict)  # of series, by their names
    names: Mapping[float, tuple[str, str]] = field(default_factory=dict)  # for a value its name and colour
    scheme: FieldColorModeId | None = None  # how colours are chosen; None: by steps where there are any, else by name
    link: tuple[str, str] | None = None  # title and address behind each value


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, from one expression; its unit, and from which value on which colour."""

    title: str
    expr: str
    unit: str
    decimals: int | None = None
    steps: Sequence[tuple[float, str]] = ()


def number(title: str, about: str, look: Look, *queries: Query, sparkline: bool = True) -> Panel:
    """One large number, its colour by the steps."""
    panel = (
        stat.Panel()
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA if sparkline else common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )
    return _finish(panel.build(), title, about, look, queries)


def lines(
    title: str, about: str, look: Look, *queries: Query, stacked: bool = False, drawn_as_bars: bool = False
) -> Panel:
    """Series over time. A step of the look is drawn as a dashed line."""
    panel = (
        timeseries.Panel()
        .draw_style(common.GraphDrawStyle.BARS if drawn_as_bars else common.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(70 if drawn_as_bars else 25 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )
    if stacked or drawn_as_bars:
        panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if look.steps:
        panel.thresholds_style(GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    scheme = look.scheme or FieldColorModeId.PALETTE_CLASSIC_BY_NAME
    return _finish(panel.build(), title, about, look, queries, scheme=scheme)


def heat(title: str, about: str, look: Look, expr: str) -> Panel:
    """The distribution over time of what `expr` has in its buckets (`le`)."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .exponent(0.5)
            .steps(64)
            .reverse(False)
            .fill("dark-orange")
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .cell_gap(1)
        .cell_values(heatmap.CellValues().unit("short").decimals(0))
        .y_axis(heatmap.YAxisConfig().unit(look.unit).axis_placement(common.AxisPlacement.LEFT).reverse(False))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.AUTO))
        .show_value(common.VisibilityMode.NEVER)
        .mode(common.TooltipDisplayMode.SINGLE)
        .show_y_histogram()
        .exemplars_color("rgba(255,0,255,0.7)")
        .show_legend()
    )
    return _finish(panel.build(), title, about, look, [Query(expr, "{{le}}")], format_=PromQueryFormat.HEATMAP)


def timeline(title: str, about: str, look: Look, *queries: Query) -> Panel:
    """What state something was in: a bar for each series, coloured by the names of its values."""
    panel = (
        statetimeline.Panel()
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .align_value(common.TimelineValueAlignment.LEFT)
        .legend(_hidden_legend() if not look.names else _legend())
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
    )
    return _finish(panel.build(), title, about, look, queries)


def history(title: str, about: str, look: Look, *queries: Query) -> Panel:
    """A row of coloured cells for each series: values of many series over time at one look."""
    panel = (
        statushistory.Panel()
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.95)
        .col_width(1.0)
        .fill_opacity(90)
        .line_width(0)
        .legend(_hidden_legend())
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
        .max_data_points(_MAX_CELLS)
    )
    return _finish(panel.build(), title, about, look, queries)


def bars(title: str, about: str, look: Look, *queries: Query) -> Panel:
    """A horizontal bar for each series, as it is now."""
    panel = (
        bargauge.Panel()
        .display_mode(common.BarGaugeDisplayMode.GRADIENT)
        .value_mode(common.BarGaugeValueMode.COLOR)
        .orientation(common.VizOrientation.HORIZONTAL)
        .name_placement(common.BarGaugeNamePlacement.LEFT)
        .show_unfilled(True)
        .min_viz_height(14)
        .sizing(common.BarGaugeSizing.AUTO)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )
    return _finish(panel.build(), title, about, look, queries)


def columns(title: str, about: str, look: Look, keys: Mapping[str, str], *shown: Column) -> Panel:
    """A table as it is now: `keys` are labels with their titles, then one column for each expression."""
    panel = table.Panel().show_header(True).cell_height(common.TableCellHeight.SM).build()
    queries = [Query(column.expr, "") for column in shown]
    _finish(panel, title, about, look, queries, format_=PromQueryFormat.TABLE)
    letters = [chr(ord("A") + index) for index in range(len(shown))]
    values = [f"Value #{letter}" for letter in letters] if len(shown) > 1 else ["Value"]
    titles = {**keys, **dict(zip(values, (column.title for column in shown), strict=True))}
    order = {name: index for index, name in enumerate(titles)}
    panel.transformations = [
        DataTransformerConfig(id_val="merge", options={}),
        DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": titles},
        ),
    ]
    assert panel.field_config is not None
    panel.field_config.overrides = [_column_override(column) for column in shown]
    if look.link and panel.field_config.defaults.links:
        # Only what names the row is a link.
        links = [DynamicConfigValue("links", panel.field_config.defaults.links)]
        first = next(iter(keys.values()))
        panel.field_config.overrides.append(DashboardFieldConfigSourceOverrides(MatcherConfig("byName", first), links))
        panel.field_config.defaults.links = None
    return panel


def _column_override(column: Column) -> DashboardFieldConfigSourceOverrides:
    properties = [DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        properties.append(DynamicConfigValue("decimals", column.decimals))
    if column.steps:
        properties.append(DynamicConfigValue("thresholds", _thresholds("text", column.steps)))
        properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return DashboardFieldConfigSourceOverrides(matcher=MatcherConfig("byName", column.title), properties=properties)


def _legend() -> VizLegendOptions:
    return (
        VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )


def _hidden_legend() -> VizLegendOptions:
    return _legend().show_legend(False)


def _finish(
    panel: Panel,
    title: str,
    about: str,
    look: Look,
    queries: Sequence[Query],
    *,
    scheme: FieldColorModeId | None = None,
    format_: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> Panel:
    """What all kinds of panels have in common."""
    panel.title, panel.description, panel.datasource, panel.plugin_version = title, about, DATASOURCE, GRAFANA
    panel.grid_pos = GridPos(h=look.height, w=look.width, x=0, y=0)
    panel.targets = [_target(query, index, format_).build() for index, query in enumerate(queries)]
    panel.field_config = panel.field_config or FieldConfigSource(FieldConfig(), [])
    defaults = panel.field_config.defaults
    defaults.unit, defaults.decimals, defaults.min_val, defaults.max_val = look.unit, look.decimals, look.low, look.high
    defaults.color = FieldColor(scheme or look.scheme or FieldColorModeId.THRESHOLDS)
    defaults.thresholds = _thresholds(look.base, look.steps)
    if look.names:
        defaults.mappings = [
            ValueMap({f"{value:g}": ValueMappingResult(*name, index=at)})
            for at, (value, name) in enumerate(look.names.items())
        ]
    if look.link:
        defaults.links = [
            DashboardLink(
                title=look.link[0], url=look.link[1], type_val=DashboardLinkType.LINK, icon="", tooltip="", tags=[]
            )
        ]
    panel.field_config.overrides = [_colour(name, colour) for name, colour in look.colours.items()]
    return panel


def _target(query: Query, index: int, format_: PromQueryFormat) -> Dataquery:
    target = (
        Dataquery()
        .ref_id(chr(ord("A") + index))
        .expr(query.expr)
        .format(format_)
        .datasource(DATASOURCE)
        .legend_format(query.legend)
    )
    return target.instant() if format_ is PromQueryFormat.TABLE else target.range()


def _thresholds(base: str, steps: Sequence[tuple[float, str]]) -> ThresholdsConfig:
    edges = [Threshold(None, base), *(Threshold(value, colour) for value, colour in steps)]
    return ThresholdsConfig(ThresholdsMode.ABSOLUTE, edges)


def _colour(name: str, colour: str) -> DashboardFieldConfigSourceOverrides:
    """The series of this name, or whose name begins with it and a space, has this colour."""
    return DashboardFieldConfigSourceOverrides(
        matcher=MatcherConfig("byRegexp", f"/^{name}( .*)?$/"),
        properties=[DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})],
    )
