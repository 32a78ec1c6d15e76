"""How far coherent tracking is from exact on one clip, and whether that is within the budgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from auflow.coherence.runs import Pair
from auflow.errors import InputError
from auflow.validation.budgets import Budgets, missed
from auflow.validation.comparison import LANDMARKS, Comparison, MatchBy, compare, match
from auflow.validation.table import read_table

__all__ = ["Outcome", "failed", "judge"]

_ALL_ROWS = 1.0
_CORRELATED_FROM = 3  # rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clip, both ways."""

    clip: Path
    pair: Pair | None = None  # None where the clip could not be run
    result: Comparison | None = None  # None where one of the tables has no row
    missed: tuple[str, ...] = ()  # a sentence for each budget
    note: str = ""
    error: str = ""
    exit_code: int = 0  # of the error

    @property
    def met(self) -> bool:
        """Whether it was run and is within all budgets."""
        return not self.error and not self.missed

    @property
    def landmarks_px(self) -> float | None:
        """Mean distance of the 2-D landmarks."""
        group = self.result.groups.get(LANDMARKS.key) if self.result is not None else None
        return group.mean if group is not None else None

    @property
    def au_r(self) -> tuple[float, ...]:
        """Pearson's r of each AU intensity; empty where there is no value."""
        return tuple(au.r for au in self.result.intensities.values()) if self.result is not None else ()


def judge(clip: Path, pair: Pair, budgets: Budgets, *, skip: int = 0, by: MatchBy = "id") -> Outcome:
    """Compare the tables of the two runs, coherent against exact.

    Parameters
    ----------
    budgets : hold on the rows where exact tracking has success 1; where it has none, success must agree on all rows
    skip : frames at the begin that do not count
    by : how the faces of a frame are matched

    Raises
    ------
    InputError
        A table cannot be read, or `skip` leaves none of it.
    """
    exact, coherent = (pair[tracking].table for tracking in ("openface", "coherent"))
    rows = [_has_rows(table) for table in (exact, coherent)]
    if not all(rows):
        return _without_rows(clip, pair, *rows)
    try:
        matched = match(read_table(exact), read_table(coherent), skip=skip, by=by)
    except InputError as error:
        if skip:
            raise
        return Outcome(clip, pair, missed=(str(error),))  # tables of one clip that have no row in common
    result = compare(matched)
    if 0 < result.rows_compared < _CORRELATED_FROM:
        rest = replace(budgets, min_au_r=None, min_au_mean_r=None)
        note = f"{result.rows_compared} rows are too few for a correlation: the other budgets are held"
        return Outcome(clip, pair, result, tuple(missed(result, rest)), note)
    if result.rows_compared:
        return Outcome(clip, pair, result, tuple(missed(result, budgets)))
    only = Budgets(min_success=_ALL_ROWS if budgets.min_success is None else budgets.min_success)
    note = "no frame has success 1 with exact tracking, so there are no values: success alone is held"
    return Outcome(clip, pair, result, tuple(missed(result, only)), note)


def _without_rows(clip: Path, pair: Pair, exact: bool, coherent: bool) -> Outcome:
    """Several faces are followed, and with one way or both there never was one."""
    if not exact and not coherent:
        return Outcome(clip, pair, note="neither has found a face: there is nothing to compare")
    found, none = ("exact", "coherent") if exact else ("coherent", "exact")
    return Outcome(clip, pair, missed=(f"{found} tracking follows faces where {none} tracking has found none",))


def _has_rows(table: Path) -> bool:
    with table.open(encoding="utf-8") as file:
        return len([line for _, line in zip(range(2), file, strict=False) if line.strip()]) == 2


def failed(clip: Path, error: str, exit_code: int) -> Outcome:
    """A clip that could not be run."""
    return replace(Outcome(clip), error=error, exit_code=exit_code)
