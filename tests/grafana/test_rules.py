"""Recording rules and alerts: what Prometheus' own tool says, and that operator and runbook hear of each."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from auflow.tests.grafana.known import ROOT, RULES, alerts, problems, rules

PROMETHEUS = ROOT / "grafana" / "prometheus"
TESTS = RULES.with_name("auflow.tests.yml")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
EVERY = {rule.get("alert") or rule["record"]: rule for rule in rules()}
ALERTS = {rule["alert"]: rule for rule in alerts()}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", [("check", "rules", RULES), ("test", "rules", TESTS)], ids=["check", "test"])
def test_promtool_accepts_the_rules(what: tuple[str | Path, ...]) -> None:
    done = promtool(*what)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_the_rules_can_fail(tmp_path: Path) -> None:
    text = RULES.read_text("utf-8").replace('{reason!="paused"}', "")
    (tmp_path / RULES.name).write_text(text, "utf-8")
    shutil.copy(TESTS, tmp_path)
    done = promtool("test", "rules", tmp_path / TESTS.name)
    assert done.returncode == 1
    assert "AuflowDropsPictures" in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-file-sd.yml"])
def test_promtool_accepts_the_configurations(name: str) -> None:
    done = promtool("check", "config", PROMETHEUS / name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EVERY)} rules found" in done.stdout


@pytest.mark.parametrize("rule", EVERY.values(), ids=EVERY)
def test_a_rule_asks_only_for_what_is_measured(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"]) == []


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_tells_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert all(alert["annotations"].values())
    document, _, section = alert["annotations"]["runbook_url"].partition("#")
    assert (ROOT / document).is_file()
    assert section == alert["alert"].lower()
    assert f"\n## {alert['alert']}\n" in RUNBOOK


def test_every_section_of_the_runbook_is_an_alert_and_has_all_three_parts() -> None:
    _, *sections = RUNBOOK.split("\n## ")
    assert [section.splitlines()[0] for section in sections] == list(ALERTS)
    for section in sections:
        parts = [section.find(f"**{part}.**") for part in ("It means", "Look at", "Do")]
        assert -1 not in parts, section.splitlines()[0]
        assert parts == sorted(parts), section.splitlines()[0]


def test_every_alert_is_tested_to_fire_and_not_to_fire() -> None:
    fires, rests = set(), set()
    for test in yaml.safe_load(TESTS.read_text("utf-8"))["tests"]:
        for one in test["alert_rule_test"]:
            (fires if one.get("exp_alerts") else rests).add(one["alertname"])
    assert fires == rests == set(ALERTS)


def test_every_recorded_series_is_used() -> None:
    used = " ".join(rule["expr"] for rule in EVERY.values())
    assert [name for name in EVERY if name not in ALERTS and name not in used] == []


def test_every_alert_is_in_the_document() -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    for name, alert in ALERTS.items():
        assert f"| [{name}](runbook.md#{name.lower()}) | {alert['labels']['severity']} |" in document
