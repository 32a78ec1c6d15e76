"""How far coherent tracking is from exact on one clip, and whether that is within the budgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from auflow.coherence.runs import Pair
from auflow.errors import InputError
from auflow.validation.budgets import Budgets, missed
from auflow.validation.comparison import LANDMARKS, Comparison, MatchBy, compare, match
from auflow.validation.table import read_table

__all__ = ["Judged", "Outcome", "failed", "judge", "judge_tables"]

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


@dataclass(frozen=True, slots=True)
class Judged:
    """A table held against that of the exact run."""

    result: Comparison | None = None  # None where one of the tables has no row
    missed: tuple[str, ...] = ()  # a sentence for each budget
    note: str = ""


def judge(clip: Path, pair: Pair, budgets: Budgets, *, skip: int = 0, by: MatchBy = "id") -> Outcome:
    """Compare the tables of the two runs, coherent against exact; as `judge_tables`."""
    judged = judge_tables(pair["openface"].table, pair["coherent"].table, budgets, skip=skip, by=by)
    return Outcome(clip, pair, judged.result, judged.missed, judged.note)


def judge_tables(
    exact: Path,
    other: Path,
    budgets: Budgets,
    *,
    skip: int = 0,
    by: MatchBy = "id",
    other_is: str = "coherent tracking",
) -> Judged:
    """Compare two tables of one clip.

    Parameters
    ----------
    exact : of exact tracking, by the reference backends
    budgets : hold on the rows where exact tracking has success 1; where it has none, success must agree on all rows
    skip : frames at the begin that do not count
    by : how the faces of a frame are matched
    other_is : how the other run is called

    Raises
    ------
    InputError
        A table cannot be read, or `skip` leaves none of it.
    """
    rows = [_has_rows(table) for table in (exact, other)]
    if not all(rows):
        return _without_rows(rows[0], rows[1], other_is)
    try:
        matched = match(read_table(exact), read_table(other), skip=skip, by=by)
    except InputError as error:
        if skip:
            raise
        return Judged(missed=(str(error),))  # tables of one clip that have no row in common
    result = compare(matched)
    if 0 < result.rows_compared < _CORRELATED_FROM:
        rest = replace(budgets, min_au_r=None, min_au_mean_r=None)
        note = f"{result.rows_compared} rows are too few for a correlation: the other budgets are held"
        return Judged(result, tuple(missed(result, rest)), note)
    if result.rows_compared:
        return Judged(result, tuple(missed(result, budgets)))
    only = Budgets(min_success=_ALL_ROWS if budgets.min_success is None else budgets.min_success)
    note = "no frame has success 1 with exact tracking, so there are no values: success alone is held"
    return Judged(result, tuple(missed(result, only)), note)


def _without_rows(exact: bool, other: bool, other_is: str) -> Judged:
    """Several faces are followed, and with one way or both there never was one."""
    if not exact and not other:
        return Judged(note="neither has found a face: there is nothing to compare")
    found, none = ("exact tracking", other_is) if exact else (other_is, "exact tracking")
    return Judged(missed=(f"{found} follows faces where {none} has found none",))


def _has_rows(table: Path) -> bool:
    with table.open(encoding="utf-8") as file:
        return len([line for _, line in zip(range(2), file, strict=False) if line.strip()]) == 2


def failed(clip: Path, error: str, exit_code: int) -> Outcome:
    """A clip that could not be run."""
    return replace(Outcome(clip), error=error, exit_code=exit_code)
