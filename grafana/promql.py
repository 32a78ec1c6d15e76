"""As much of PromQL's grammar as it takes to see which metrics and labels an expression asks for.

Not a parser: Prometheus itself checks the syntax (`promtool`, or a query). This reads words and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Grouping", "Selector", "filled", "groupings", "operands", "selectors"]

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'[^']*')|(?P<range>\[[^\]]*\])|(?P<number>(?<![A-Za-z_:])\d[\w.]*)
    |(?P<word>[A-Za-z_:][\w:]*)|(?P<sign>=~|!~|==|!=|<=|>=|[-+*/%^=<>(){},@])|(?P<space>\s+)|(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_GROUPING = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_AFTER_A_FUNCTION = frozenset({"(", "by", "without"})
_SET = frozenset({"and", "or", "unless"})
_WORDS = _GROUPING | _SET | {"bool", "offset", "inf", "nan", "Inf", "NaN"}
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_MATCHER = frozenset({"=", "=~", "!~", "!="})


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric by the name of its samples, and the labels that are matched."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """An aggregation's labels, and the expression that it is of."""

    labels: tuple[str, ...]
    argument: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """The expression with the dashboard's variables (`$name`) replaced; those that are not told stay."""
    return re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), expr)


def selectors(expr: str) -> list[Selector]:
    """All metrics that an expression asks for, in its order."""
    tokens = list(_tokens(expr))
    found = []
    skip = -1  # up to this token there are labels, no metrics
    for at, token in enumerate(tokens):
        if at <= skip or token.kind != "word":
            continue
        following = tokens[at + 1].text if at + 1 < len(tokens) else ""
        if token.text in _GROUPING and following == "(":
            skip = _closing(tokens, at + 1)
        elif token.text not in _WORDS and following not in _AFTER_A_FUNCTION:
            labels: tuple[str, ...] = ()
            if following == "{":
                skip = _closing(tokens, at + 1)
                inside = tokens[at + 2 : skip]
                pairs = pairwise(inside)
                labels = tuple(word.text for word, sign in pairs if word.kind == "word" and sign.text in _MATCHER)
            found.append(Selector(token.text, labels))
    return found


def groupings(expr: str) -> list[Grouping]:
    """All aggregations that name their labels (`by`), each with the expression in their brackets."""
    tokens = list(_tokens(expr))
    found = []
    for at, token in enumerate(tokens):
        if token.text != "by" or token.kind != "word":
            continue
        close = _closing(tokens, at + 1)
        labels = tuple(word.text for word in tokens[at + 1 : close] if word.kind == "word")
        if close + 1 < len(tokens) and tokens[close + 1].text == "(":  # sum by (x) (...)
            first, last = close + 1, _closing(tokens, close + 1)
        else:  # sum(...) by (x)
            first, last = _opening(tokens, at - 1), at - 1
        found.append(Grouping(labels, expr[tokens[first].end : tokens[last].start]))
    return found


def operands(expr: str) -> list[str]:
    """What an alert compares: each side of its `and`, `or` and `unless`, without the comparison and its threshold."""
    tokens = list(_tokens(expr))
    sides, start, end, depth, at = [], 0, None, 0, 0
    while at < len(tokens):
        token = tokens[at]
        depth += (token.text in "({") - (token.text in ")}") if token.kind == "sign" else 0
        if depth == 0 and end is None and token.text in _COMPARISONS:
            end = token.start
        if depth == 0 and token.kind == "word" and token.text in _SET:
            sides.append(expr[start : token.start if end is None else end].strip())
            end = None
            if at + 1 < len(tokens) and tokens[at + 1].text in ("on", "ignoring"):
                at = _closing(tokens, at + 2)
            start = tokens[at].end
        at += 1
    return [*sides, expr[start:end].strip()]


def _tokens(expr: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(expr):
        if match.lastgroup != "space":
            yield _Token(match.lastgroup or "other", match.group(), match.start(), match.end())


def _closing(tokens: list[_Token], opening: int) -> int:
    """Which token closes the bracket that `opening` opens."""
    depth = 0
    for at in range(opening, len(tokens)):
        if tokens[at].kind == "sign":
            depth += (tokens[at].text in "({") - (tokens[at].text in ")}")
            if depth == 0:
                return at
    return len(tokens) - 1


def _opening(tokens: list[_Token], closing: int) -> int:
    """Which token opens the bracket that `closing` closes."""
    depth = 0
    for at in range(closing, -1, -1):
        if tokens[at].kind == "sign":
            depth += (tokens[at].text in ")}") - (tokens[at].text in "({")
            if depth == 0:
                return at
    return 0
