"""What was tried, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auflow.profiles.profile import Figure, Verdict
from auflow.validation.text import Sheet

__all__ = ["set_aside", "sheet"]

_EMPTY = "-"
_HEAD = ("", "cost ms", "CPU ms", "fps", "px", "mean r", "of ref.", "verdict", "chosen")
_ASIDE: tuple[Verdict, ...] = ("not usable", "failed")


def sheet(figures: Sequence[Figure]) -> Sheet:
    """A line for each candidate that was measured, the reference of each group first."""
    return Sheet("tried", _HEAD, tuple(_row(figure) for figure in figures if figure.verdict not in _ASIDE))


def set_aside(figures: Sequence[Figure]) -> Iterator[str]:
    """A line for each that was not measured, with the reason; what holds for several stages is told once."""
    reasons: dict[tuple[Verdict, str, str], list[str]] = {}
    for figure in figures:
        if figure.verdict in _ASIDE:
            reasons.setdefault((figure.verdict, figure.candidate, figure.why), []).append(figure.group)
    for (verdict, name, why), groups in reasons.items():
        yield f"{verdict}  {', '.join(groups)}: {name}: {why}"


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        f"{figure.group}: {figure.candidate}",
        _number(figure.cost_ms, 3),
        _number(figure.cpu_ms, 2),
        _number(figure.fps, 0),
        _number(figure.landmarks_px, 4),
        _number(figure.au_mean_r, 4),
        _number(figure.ratio, 2),
        figure.verdict,
        "*" if figure.chosen else "",
    )


def _number(value: float | None, digits: int) -> str:
    return _EMPTY if value is None else f"{value:.{digits}f}"
