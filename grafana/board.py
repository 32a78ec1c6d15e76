"""A dashboard from rows of panels: places and numbers them, and gives it the variables and links that all have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    Panel,
    RowPanel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from auflow.grafana.expressions import series
from auflow.grafana.parts import DATASOURCE
from auflow.metrics import BUILD_INFO, Metric

__all__ = ["Section", "board", "label_variable"]

_COLUMNS = 24  # of Grafana's grid
_TAG = "auflow"


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


def board(
    uid: str, title: str, about: str, sections: Sequence[Section], variables: Sequence[QueryVariable] = ()
) -> model.Dashboard:
    """A dashboard; `variables` come after those that all dashboards have: data source, job and instance."""
    built = Dashboard(f"auflow / {title}").uid(uid).description(about).tags([_TAG]).readonly()
    built.tooltip(DashboardCursorSync.CROSSHAIR).time("now-30m", "now").refresh("10s").timezone("browser").version(1)
    for variable in (_datasource(), *_places(), *variables):
        built.with_variable(variable)
    built.link(
        DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS).tags([_TAG]).include_vars(True).keep_time(True)
    )
    made = built.build()
    made.panels = _placed(sections)
    assert made.templating is not None
    for made_variable in made.templating.list_val or ():
        # The builders set this for all kinds; it is for variables that are intervals.
        made_variable.auto = made_variable.auto_count = made_variable.auto_min = None
    return made


def label_variable(
    name: str, title: str, metric: Metric, about: str, *, every: bool, suffix: str = ""
) -> QueryVariable:
    """A variable with the values that a label of a metric has; `every` allows several of them, and all at first."""
    variable = (
        QueryVariable(name)
        .label(title)
        .description(about)
        .datasource(DATASOURCE)
        .query({"query": f"label_values({series(metric, suffix)}, {name})", "refId": name, "qryType": 1})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )
    if not every:
        return variable
    return variable.multi(True).include_all(True).current(VariableOption(True, ["All"], ["$__all"]))


def _datasource() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type("prometheus").description("A Prometheus.")


def _places() -> list[QueryVariable]:
    """Jobs, and the hosts (`instance`) within them."""
    found = []
    for name, title, here in (("job", "Job", ""), ("instance", "Host", 'job=~"$job"')):
        query = f"label_values({series(BUILD_INFO, here=here)}, {name})"
        found.append(
            QueryVariable(name)
            .label(title)
            .description("As Prometheus' configuration calls them.")
            .datasource(DATASOURCE)
            .query({"query": query, "refId": name, "qryType": 1})
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.NATURAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".+")
            .current(VariableOption(True, ["All"], ["$__all"]))
        )
    return found


def _placed(sections: Sequence[Section]) -> list[Panel | RowPanel]:
    """Panels from left to right under their headings, numbered from 1."""
    placed: list[Panel | RowPanel] = []
    y = 0
    for section in sections:
        if section.title:
            heading = Row(section.title).build()
            heading.id_val, heading.grid_pos = len(placed) + 1, model.GridPos(h=1, w=_COLUMNS, x=0, y=y)
            placed.append(heading)
            y += 1
        x = highest = 0
        for panel in section.panels:
            place = panel.grid_pos
            assert place is not None
            if x + place.w > _COLUMNS:
                x, y, highest = 0, y + highest, 0
            place.x, place.y = x, y
            panel.id_val = len(placed) + 1
            placed.append(panel)
            x, highest = x + place.w, max(highest, place.h)
        y += highest
    return placed
