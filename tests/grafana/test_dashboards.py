"""The committed dashboards: as they are built, complete, and asking only for what is measured."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from auflow.errors import UsageError
from auflow.grafana import build
from auflow.grafana.check_live import panel_expressions
from auflow.grafana.promql import filled, groupings, selectors
from auflow.metrics import STATES
from auflow.tests.grafana.known import boards, problems, samples

BOARDS = boards()
PANELS = {
    f"{file}:{panel['title']}": panel
    for file, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
}
EXPRESSIONS = {
    f"{file}:{title}:{index}": expr
    for file, board in BOARDS.items()
    for index, (title, expr) in enumerate(panel_expressions(board))
}
VARIABLES = {"job": "x", "instance": "x", "stage": "x", "stream": "x", "__rate_interval": "1m"}


def test_what_is_committed_is_what_is_built() -> None:
    """`make dashboards` writes them anew."""
    pytest.importorskip("grafana_foundation_sdk")
    made = build.texts()
    assert {path.name for path in made} == set(BOARDS)
    for path, text in made.items():
        assert path.read_text("utf-8") == text, f"{path.name} is not what is built: make dashboards"


def test_without_the_builders_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.cog.encoder", None)
    with pytest.raises(UsageError, match=r"pip install 'auflow\[grafana\]'"):
        build.dashboards()


def test_main_writes_the_files_and_tells_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "monitoring.md"
    document.write_text("no place for a table")
    monkeypatch.setattr(build, "DASHBOARDS", tmp_path)
    monkeypatch.setattr(build, "DOCUMENT", document)
    pytest.importorskip("grafana_foundation_sdk")
    assert build.main() == UsageError.exit_code
    assert "has no" in capsys.readouterr().err
    document.unlink()
    assert build.main() == 0
    assert sorted(path.name for path in tmp_path.glob("*.json")) == sorted(BOARDS)


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_tells_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["title"][0] in "$ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert panel["description"].endswith(".")
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_lie_beside_each_other(board: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)
    identities = [panel["id"] for panel in board["panels"]]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_dashboard_has_the_same_variables_and_finds_the_others(board: dict[str, Any]) -> None:
    assert [variable["name"] for variable in board["templating"]["list"]][:3] == ["datasource", "job", "instance"]
    (link,) = board["links"]
    assert link["type"] == "dashboards"
    assert link["includeVars"]
    assert link["keepTime"]
    assert set(link["tags"]) <= set(board["tags"])


def test_links_lead_to_dashboards_that_are_there() -> None:
    text = "".join(str(board) for board in BOARDS.values())
    assert set(re.findall(r"/d/([\w-]+)", text)) == {"auflow-stream"}
    identities = [board["uid"] for board in BOARDS.values()]
    assert "auflow-stream" in identities
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("expr", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_asks_only_for_what_is_measured(expr: str) -> None:
    complete = filled(expr, VARIABLES)
    assert "$" not in complete
    assert selectors(complete)
    assert problems(complete) == []


@pytest.mark.parametrize(
    ("expr", "problem"),
    [
        ("rate(auflow_frames[5m])", "there is no auflow_frames"),
        ("auflow_stage_duration_seconds", "there is no auflow_stage_duration_seconds"),
        ('auflow_ready{stream="x"}', "auflow_ready has no stream"),
        ("sum by (group) (auflow_stream_up)", "auflow_stream_up has no group to sum by"),
        ("sum by (le) (auflow_queue_wait_seconds_sum)", "auflow_queue_wait_seconds_sum has no le to sum by"),
    ],
)
def test_what_is_not_measured_is_found(expr: str, problem: str) -> None:
    assert problems(expr) == [problem]


@pytest.mark.parametrize("name", PANELS)
def test_legends_name_labels_that_the_series_have(name: str) -> None:
    for target in PANELS[name]["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
        by = [set(grouping.labels) for grouping in groupings(target["expr"])]
        if named:
            assert named <= by[0] or named <= samples()[selectors(target["expr"])[0].name]


def test_every_state_of_a_stream_is_shown_as_some_class() -> None:
    (timeline,) = (panel for name, panel in PANELS.items() if name == "overview.json:What each stream does")
    shown = re.findall(r'state=~"([^"]+)"', timeline["targets"][0]["expr"])
    assert sorted("|".join(shown).split("|")) == sorted(STATES)


def test_every_metric_of_a_service_is_shown_or_alerted() -> None:
    shown = " ".join(EXPRESSIONS.values())
    of_a_run = {"auflow_inputs_total", "auflow_inputs_running"}  # auflow run --metrics
    from auflow.metrics import ALL

    assert {metric.name for metric in ALL if metric.name not in shown} == of_a_run
