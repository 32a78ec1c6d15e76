"""What is read out of an expression."""

from __future__ import annotations

import pytest

from auflow.grafana.promql import Grouping, Selector, filled, groupings, operands, selectors


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("up", [("up", ())]),
        ('up{job="auflow", worker!="x"} == 0', [("up", ("job", "worker"))]),
        ("sum(rate(a_total[5m])) / sum by (x) (b)", [("a_total", ()), ("b", ())]),
        ('sum without (y) (a:b:c{x=~"(e|f)"} offset 5m)', [("a:b:c", ("x",))]),
        ("a and on (x, y) group_left () b or vector(1e3)", [("a", ()), ("b", ())]),
        ("a * on (x) group_left b > bool 1.5e-3 + 2h", [("a", ()), ("b", ())]),
        ('a{x="by (z) up{y=\\"1\\"}"}', [("a", ("x",))]),
        ("topk(3, a) - NaN + Inf", [("a", ())]),
        ("a{}", [("a", ())]),
        ("", []),
    ],
)
def test_selectors(expr: str, found: list[tuple[str, tuple[str, ...]]]) -> None:
    assert selectors(expr) == [Selector(name, labels) for name, labels in found]


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("sum(a)", []),
        ("sum by (x, y) (rate(a[1m]))", [(("x", "y"), "rate(a[1m])")]),
        ('sum(rate(a{b="c"}[1m])) by (x)', [(("x",), 'rate(a{b="c"}[1m])')]),
        ("count by (x) (count by (x, y) (a))", [(("x",), "count by (x, y) (a)"), (("x", "y"), "a")]),
    ],
)
def test_groupings(expr: str, found: list[tuple[tuple[str, ...], str]]) -> None:
    assert groupings(expr) == [Grouping(labels, argument) for labels, argument in found]


@pytest.mark.parametrize(
    ("expr", "sides"),
    [
        ("a > 1", ["a"]),
        ("a / (b > 0) > 1", ["a / (b > 0)"]),
        ('min by (x) (up{job="a"}) < 1', ['min by (x) (up{job="a"})']),
        ("a <= 0\nand on (x, y) max by (x) (b) > 0", ["a", "max by (x) (b)"]),
        ("a > 1 unless b or c == 2", ["a", "b", "c"]),
        ("a", ["a"]),
    ],
)
def test_operands(expr: str, sides: list[str]) -> None:
    assert operands(expr) == sides


def test_filled_replaces_whole_names_only() -> None:
    variables = {"stage": "clnf", "stages": "all", "__rate_interval": "1m"}
    assert filled('a{x="$stage", y="$stages"}[$__rate_interval] + $other', variables) == (
        'a{x="clnf", y="all"}[1m] + $other'
    )
