"""The table of all metrics in the documentation is that of metrics.py."""

from __future__ import annotations

import pytest

from auflow.errors import UsageError
from auflow.grafana.metric_table import BEGIN, END, table, written_into
from auflow.metrics import ALL, Kind, Metric
from auflow.tests.grafana.known import ROOT

DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text("utf-8")


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_every_metric_has_its_row(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert DOCUMENT.count(f"\n| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |\n") == 1


def test_the_document_is_as_it_would_be_written() -> None:
    """`make dashboards` writes it anew."""
    assert written_into(DOCUMENT) == DOCUMENT


def test_what_was_there_is_replaced() -> None:
    metric = Metric("a_total", Kind.COUNTER, "Meaning.", ("x", "y"))
    assert "| `a_total` | counter | `x`, `y` | Meaning. |" in table([metric])
    assert written_into(f"before {BEGIN} old {END} after") == f"before {BEGIN}\n\n{table()}\n\n{END} after"


@pytest.mark.parametrize("document", ["", f"{END} {BEGIN}", BEGIN])
def test_a_document_without_a_place_for_it(document: str) -> None:
    with pytest.raises(UsageError, match="to stand between"):
        written_into(document)
