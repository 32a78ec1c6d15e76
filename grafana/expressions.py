"""The PromQL of the dashboards, written from the declarations of the metrics, so that no name is typed twice."""

from __future__ import annotations

from collections.abc import Sequence

from auflow import metrics
from auflow.metrics import Kind, Metric

__all__ = [
    "PROCESS",
    "PROCESS_CPU",
    "PROCESS_FDS",
    "PROCESS_MEMORY",
    "PROCESS_START",
    "RATE",
    "TARGET_LABELS",
    "UP",
    "mean",
    "quantile",
    "rate",
    "series",
    "state_class",
]

# Told by prometheus_client for every process.
PROCESS_CPU = Metric("process_cpu_seconds_total", Kind.COUNTER, "CPU time of the process, in user and system mode.")
PROCESS_MEMORY = Metric("process_resident_memory_bytes", Kind.GAUGE, "Memory of the process, shared pages included.")
PROCESS_FDS = Metric("process_open_fds", Kind.GAUGE, "Open file descriptors of the process.")
PROCESS_START = Metric("process_start_time_seconds", Kind.GAUGE, "When the process was started, Unix time.")
PROCESS = (PROCESS_CPU, PROCESS_MEMORY, PROCESS_FDS, PROCESS_START)
# Told by Prometheus itself for every target.
UP = Metric("up", Kind.GAUGE, "1 while the target answers Prometheus.")

TARGET_LABELS = ("job", "instance", "worker")  # on every sample, beside the metric's own
RATE = "$__rate_interval"
_HERE = 'job=~"$job", instance=~"$instance"'  # what the dashboard's variables leave


def series(metric: Metric, suffix: str = "", *, where: str = "", here: str = _HERE) -> str:
    """The selector of a metric's samples that the dashboard's variables leave.

    Parameters
    ----------
    suffix : `_bucket`, `_sum` or `_count` of a histogram or summary
    where : further matchers, as `stream="$stream"`
    here : the matchers of job and instance
    """
    matchers = ", ".join(part for part in (here, where) if part)
    return f"{metric.name}{suffix}{{{matchers}}}"


def rate(metric: Metric, by: Sequence[str] = (), suffix: str = "", *, where: str = "", window: str = RATE) -> str:
    """A counter's growth in a second, summed by labels."""
    return f"sum{_by(by)}(rate({series(metric, suffix, where=where)}[{window}]))"


def quantile(q: float, metric: Metric, by: Sequence[str] = (), *, where: str = "", window: str = RATE) -> str:
    """A quantile of a histogram, for each combination of labels."""
    return f"histogram_quantile({q:g}, {rate(metric, (*by, 'le'), '_bucket', where=where, window=window)})"


def mean(metric: Metric, by: Sequence[str] = (), *, where: str = "", window: str = RATE) -> str:
    """The mean of what a histogram or summary has observed within the window, for each combination of labels."""
    above = rate(metric, by, "_sum", where=where, window=window)
    return f"{above} / {rate(metric, by, '_count', where=where, window=window)}"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)}) " if labels else ""


def state_class(classes: Sequence[tuple[float, Sequence[str]]], *, where: str = "") -> str:
    """For each stream the number of the class that its state belongs to; `where` has further matchers."""
    terms = []
    for value, states in classes:
        state = 'state=~"{}"'.format("|".join(states))
        where_state = f"{where}, {state}" if where else state
        terms.append(f"{value:g} * sum by (instance, stream) ({series(metrics.STREAM_STATE, where=where_state)})")
    return " + ".join(terms)
