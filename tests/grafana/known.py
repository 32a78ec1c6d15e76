"""Which samples there are, with which labels: the declared metrics, those of processes and targets, recorded ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from auflow.grafana.expressions import PROCESS, TARGET_LABELS, UP
from auflow.grafana.promql import groupings, selectors
from auflow.metrics import ALL, Kind, Metric

__all__ = ["BOARDS", "ROOT", "RULES", "alerts", "boards", "problems", "rules", "samples"]

ROOT = Path(__file__).resolve().parents[2]
BOARDS = ROOT / "grafana" / "dashboards"
RULES = ROOT / "grafana" / "prometheus" / "rules" / "auflow.rules.yml"
_SUFFIXES = {
    Kind.COUNTER: ("",),
    Kind.GAUGE: ("",),
    Kind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    Kind.SUMMARY: ("_sum", "_count"),
}


def boards() -> dict[str, Any]:
    """The dashboards as they are committed, by the names of their files."""
    return {path.name: json.loads(path.read_text("utf-8")) for path in sorted(BOARDS.glob("*.json"))}


def rules() -> list[dict[str, Any]]:
    """All rules, in their order."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def samples() -> dict[str, set[str]]:
    """Names of all samples, each with the labels that it has."""
    known = {"ALERTS": {"alertname", "alertstate", *TARGET_LABELS}}
    for metric in (*ALL, *PROCESS, UP):
        known |= _of(metric)
    for rule in rules():
        if "record" in rule:
            by = groupings(rule["expr"])
            first = selectors(rule["expr"])[0].name
            known[rule["record"]] = set(by[0].labels) if by else known[first]
            if rule["expr"].startswith("histogram_quantile"):
                known[rule["record"]].discard("le")
    return known


def problems(expr: str) -> list[str]:
    """What an expression asks for that is not there."""
    known, found = samples(), []
    for selector in selectors(expr):
        if selector.name not in known:
            found.append(f"there is no {selector.name}")
        else:
            found += [
                f"{selector.name} has no {label}" for label in selector.labels if label not in known[selector.name]
            ]
    for grouping in groupings(expr):
        for selector in selectors(grouping.argument):
            has = known.get(selector.name, set())
            found += [f"{selector.name} has no {label} to sum by" for label in grouping.labels if label not in has]
    return found


def _of(metric: Metric) -> dict[str, set[str]]:
    labels = {*metric.labels, *TARGET_LABELS}
    return {
        metric.name + suffix: labels | ({"le"} if suffix == "_bucket" else set()) for suffix in _SUFFIXES[metric.kind]
    }
