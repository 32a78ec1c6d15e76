"""Evaluates every expression of every panel and of every rule against a running Prometheus.

`python -m auflow.grafana.check_live http://127.0.0.1:9090` prints a line for each and ends with 1 if any is empty: a
dashboard that shows nothing is wrong, however well it is written. An alert's expression is empty as long as nothing is
wrong; so what it compares is evaluated, without the comparison.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auflow.errors import AuflowError, UsageError
from auflow.grafana.promql import filled, operands

__all__ = ["Checked", "Prometheus", "check", "main", "panel_expressions"]

DASHBOARDS = Path(__file__).resolve().parent / "dashboards"
_TIMEOUT_S = 10.0
_WIDTH = 100  # of an expression in the table


@dataclass(frozen=True, slots=True)
class Checked:
    """What one expression came to."""

    board: str
    panel: str
    expr: str
    series: int
    value: float | None  # of the first series that is a number
    error: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see."""
        return self.value is None


class Prometheus:
    """A Prometheus by its address, asked over HTTP.

    Raises (all methods)
    --------------------
    UsageError
        It does not answer, or not as a Prometheus does.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an expression now; a scalar is one series."""
        data = self._get("query", query=expr)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        return list(data["result"])

    def rules(self) -> list[dict[str, Any]]:
        """All rules that it has loaded."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            told = _told(error.read())
            raise UsageError(f"{self._url} refuses {parameters.get('query', what)}: {told or error}") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"{self._url} does not answer as a Prometheus does: {error}") from error
        if not isinstance(told, dict) or told.get("status") != "success":
            raise UsageError(f"{self._url} does not answer as a Prometheus does: {str(told)[:200]}")
        return told["data"]


def panel_expressions(board: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and expression of everything that a dashboard asks: its panels', and its variables' as selectors."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in board["templating"]["list"]:
        query = variable.get("query")
        if isinstance(query, dict):
            selector = query["query"].removeprefix("label_values(").rpartition(",")[0]
            yield f"variable {variable['name']}", f"count by ({variable['name']}) ({selector})"


def check(prometheus: Prometheus, stream: str, window: str) -> list[Checked]:
    """Every expression of the dashboards, with variables filled in, then of every rule that is loaded."""
    variables = dict.fromkeys(("job", "instance", "stage"), ".+")
    variables |= {"stream": stream, "__rate_interval": window}
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text("utf-8"))
        for panel, expr in panel_expressions(board):
            found.append(_evaluate(prometheus, board["title"], panel, filled(expr, variables)))
    rules = prometheus.rules()
    if not rules:
        found.append(Checked("rules", "(none is loaded)", "", 0, None))
    for rule in rules:
        for expr in operands(rule["query"]):
            checked = _evaluate(prometheus, f"{rule['type']} rule", rule["name"], expr)
            found.append(checked if rule["health"] != "err" else _failed(checked, rule.get("lastError", "")))
    return found


def _evaluate(prometheus: Prometheus, board: str, panel: str, expr: str) -> Checked:
    try:
        series = prometheus.query(expr)
    except UsageError as error:
        return Checked(board, panel, expr, 0, None, str(error))
    values = [float(one["value"][1]) for one in series]
    return Checked(board, panel, expr, len(values), next((value for value in values if not math.isnan(value)), None))


def _failed(checked: Checked, error: str) -> Checked:
    return Checked(checked.board, checked.panel, checked.expr, checked.series, None, error)


def _told(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return ""


def _a_stream(prometheus: Prometheus) -> str:
    """The stream that gives pictures, of several the first."""
    found = prometheus.query("sort_desc(auflow_stream_up)")
    if not found:
        raise UsageError("Prometheus knows no stream (auflow_stream_up): is auflow scraped, and has it a stream?")
    return str(found[0]["metric"]["stream"])


def _table(found: Sequence[Checked]) -> Iterator[str]:
    yield f"{'dashboard':<24} | {'panel':<30} | {'expression':<{_WIDTH}} | series | value"
    for one in found:
        expr = one.expr if len(one.expr) <= _WIDTH else one.expr[: _WIDTH - 1] + "…"
        value = "EMPTY" if one.value is None else f"{one.value:.6g}"
        yield f"{one.board:<24} | {one.panel[:30]:<30} | {expr:<{_WIDTH}} | {one.series:>6} | {value}"
        if one.error:
            yield f"    {one.error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when anything is empty that may not be."""
    parser = argparse.ArgumentParser("check_live", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("url", metavar="URL", help="of a Prometheus, as http://127.0.0.1:9090")
    parser.add_argument("--stream", help="for the dashboard Stream; default: one that gives pictures")
    parser.add_argument("--window", default="1m", help="in the place of Grafana's $__rate_interval (default: 1m)")
    parser.add_argument(
        "--may-be-empty", metavar="WORD", action="append", default=[],
        help="do not mind an empty expression with this in it, as auflow_web_ where there is no live page",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    prometheus = Prometheus(options.url)
    try:
        found = check(prometheus, options.stream or _a_stream(prometheus), options.window)
    except AuflowError as error:
        sys.stderr.write(f"check_live: {error}\n")
        return error.exit_code
    sys.stdout.writelines(f"{line}\n" for line in _table(found))
    empty = [one for one in found if one.empty]
    bad = [one for one in empty if not any(word in one.expr for word in options.may_be_empty)]
    sys.stdout.write(f"{len(found)} expressions, {len(empty)} empty, {len(bad)} of them should not be\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
