"""The table of all metrics for the documentation, from their declarations."""

from __future__ import annotations

from collections.abc import Sequence

from auflow.errors import UsageError
from auflow.grafana.expressions import PROCESS, UP
from auflow.metrics import ALL, Metric

__all__ = ["table", "written_into"]

BEGIN = "<!-- metrics: written by python -m auflow.grafana.build -->"
END = "<!-- end of metrics -->"


def table(metrics: Sequence[Metric] = (*ALL, *PROCESS, UP)) -> str:
    """All metrics as a table in Markdown: name, kind, labels, meaning."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |")
    return "\n".join(lines)


def written_into(document: str) -> str:
    """The document with its table as it should be.

    Raises
    ------
    UsageError
        It has no place for the table.
    """
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"the document has no {BEGIN!r} and {END!r} for the table of metrics to stand between")
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"
