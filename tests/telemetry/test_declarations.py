"""The declarations keep to Prometheus' conventions."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from auflow import metrics
from auflow.metrics import ALL, Kind, Metric
from auflow.telemetry.meter import Meter

LABELS = {"stage", "stream", "reason", "au", "group", "state", "version", "models"}


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"auflow_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert set(metric.labels) <= LABELS
    assert metric.meaning.endswith(".")


def test_no_name_twice() -> None:
    names = [metric.name for metric in ALL]
    assert len(names) == len(set(names)) > 25


def test_promtool_has_nothing_to_say_of_a_workers_text() -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    meter = Meter("cafe")
    meter.worked("clnf", 0.1)
    meter.waited("clnf", 0.1)
    meter.gauge(metrics.CREDITS, lambda: 1, stage="clnf")
    meter.counter(metrics.MESSAGES_REFUSED, lambda: 0)
    checked = subprocess.run([promtool, "check", "metrics"], input=meter.text(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
