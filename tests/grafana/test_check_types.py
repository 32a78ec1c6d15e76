"""What is handed to Grafana's types; `make dashboards-check` asks them."""

from __future__ import annotations

import pytest

from auflow.errors import UsageError
from auflow.grafana import GRAFANA, check_types
from auflow.tests.grafana.known import ROOT, boards


def test_every_dashboard_and_every_panel_is_checked() -> None:
    text = check_types.typescript(boards())
    panels = sum(panel["type"] != "row" for board in boards().values() for panel in board["panels"])
    assert text.count(": Plain<Dashboard>") == len(boards())
    assert text.count("_options: Plain<") == panels > 50


def test_a_kind_of_panel_that_is_unknown_is_told() -> None:
    board = {"panels": [{"id": 1, "type": "piechart"}]}
    with pytest.raises(UsageError, match="piechart"):
        check_types.typescript({"x.json": board})


def test_without_npm_it_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert check_types.main() == UsageError.exit_code
    assert "npm" in capsys.readouterr().err


def test_types_builders_and_image_are_of_one_grafana() -> None:
    assert f"grafana/grafana:{GRAFANA}" in (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    release = GRAFANA.rpartition(".")[0]
    assert f"!{release}.0" in (ROOT / "pyproject.toml").read_text("utf-8")
