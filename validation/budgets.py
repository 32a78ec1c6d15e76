"""Whether two files agree well enough: by budgets that the user sets, or by the noise floor of the reference."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auflow.errors import InputError, UsageError
from auflow.validation.comparison import GROUPS, LANDMARKS, Comparison

__all__ = ["Budgets", "Held", "Verdict", "hold", "missed", "read_floor"]


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the user asks for; None where nothing is asked."""

    max_landmark_px: float | None = None  # mean distance of the 2-D landmarks
    min_au_r: float | None = None  # Pearson's r, by every AU
    min_presence: float | None = None  # share of rows whose presence agrees, by every AU
    min_success: float | None = None  # share of all rows whose success agrees
    min_au_mean_r: float | None = None  # mean of Pearson's r over the AUs

    def any(self) -> bool:
        """Whether anything is asked for."""
        return any(value is not None for value in (self.max_landmark_px, *self._minima()))

    def _minima(self) -> tuple[float | None, ...]:
        return self.min_au_r, self.min_presence, self.min_success, self.min_au_mean_r


def missed(result: Comparison, budgets: Budgets) -> list[str]:
    """A sentence for every budget that the result misses. Missing values meet no budget.

    Raises
    ------
    UsageError
        A budget cannot be checked because the reference has nothing to hold it against.
    """
    lines = list(_missed_landmarks(result, budgets.max_landmark_px))
    if budgets.min_au_r is not None:
        _require(bool(result.intensities), "--min-au-r", "AU intensities (AU01_r ...)", result)
        for name, au in result.intensities.items():
            lacking = f", {1 - au.coverage:.1%} of its values are missing" if au.coverage < 1 else ""
            if lacking or not au.r >= budgets.min_au_r:
                lines.append(f"--min-au-r {budgets.min_au_r:g}: {name} correlates with {au.r:.4f}{lacking}")
    lines += _missed_mean_r(result, budgets.min_au_mean_r)
    if budgets.min_presence is not None:
        _require(bool(result.presences), "--min-presence", "AU presences (AU01_c ...)", result)
        lines += [
            f"--min-presence {budgets.min_presence:g}: {name} agrees in {presence.agreement:.4f} of the rows"
            for name, presence in result.presences.items()
            if not presence.agreement >= budgets.min_presence
        ]
    if budgets.min_success is not None and not result.success_agreement >= budgets.min_success:
        lines.append(f"--min-success {budgets.min_success:g}: success agrees in {result.success_agreement:.4f} of rows")
    return lines


def _missed_landmarks(result: Comparison, limit_px: float | None) -> Iterator[str]:
    if limit_px is None:
        return
    _require(LANDMARKS.key in result.groups, "--max-landmark-px", "2-D landmarks (x_0 ... y_67)", result)
    landmarks = result.groups[LANDMARKS.key]
    if landmarks.coverage < 1 or landmarks.mean is None:
        yield f"--max-landmark-px {limit_px:g}: {1 - landmarks.coverage:.1%} of the 2-D landmarks are missing"
    elif not landmarks.mean <= limit_px:
        yield f"--max-landmark-px {limit_px:g}: the 2-D landmarks are {landmarks.mean:.4g} px away on average"


def _missed_mean_r(result: Comparison, least: float | None) -> Iterator[str]:
    if least is None:
        return
    _require(bool(result.intensities), "--min-au-mean-r", "AU intensities (AU01_r ...)", result)
    every = list(result.intensities.values())
    lacking = 1 - sum(au.coverage for au in every) / len(every)
    mean = sum(au.r for au in every) / len(every)
    if lacking > 0 or not mean >= least:
        more = f", {lacking:.1%} of the values are missing" if lacking > 0 else ""
        yield f"--min-au-mean-r {least:g}: AU intensities correlate with {mean:.4f} on average{more}"


def _require(there: bool, option: str, what: str, result: Comparison) -> None:
    if there:
        return
    if not result.rows_compared:
        raise UsageError(
            f"{option}: no row of the reference has success 1, so no value counts; use --min-success on such a file"
        )
    raise UsageError(f"{option}: the reference has no {what} to hold it against; leave the option out")


@dataclass(frozen=True, slots=True)
class Held:
    """One figure held against the noise floor."""

    what: str
    ours: float  # inf or -1 where values are missing
    allowed: float
    holds: bool

    @property
    def ours_text(self) -> str:
        """Our figure for people."""
        return "missing" if self.ours in (math.inf, -1.0) else f"{self.ours:.5g}"

    def as_dict(self) -> dict[str, object]:
        """The figures for JSON, which has no infinity: None instead."""
        ours = self.ours if math.isfinite(self.ours) else None
        return {"what": self.what, "ours": ours, "allowed": self.allowed, "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was asked of the files, and where they fall short of it."""

    asked: bool
    missed: tuple[str, ...]
    held: tuple[Held, ...]  # against the noise floor; empty where none was given
    factor: float

    @property
    def short(self) -> int:
        """How many figures miss the noise floor."""
        return sum(not held.holds for held in self.held)

    @property
    def good(self) -> bool:
        """Whether everything that was asked for is met."""
        return not self.missed and not self.short


# Added to what the floor allows, in the unit of the group: far below what any use could notice, and needed where the
# floor is zero.
SLACK = {
    "landmarks2d_px": 0.01,
    "landmarks3d_mm": 0.03,
    "eye_landmarks2d_px": 0.01,
    "pose_mm": 0.03,
    "pose_rad": 0.0003,
    "gaze_angle_rad": 0.0005,
    "pdm_rigid": 0.002,
    "pdm_nonrigid": 0.02,
    "confidence": 0.005,
}
SLACK_R = 0.005
SLACK_MAE = 0.01
SLACK_PRESENCE = 0.01
SLACK_SUCCESS = 0.005


def read_floor(path: Path) -> dict[str, Any]:
    """Read a noise floor: the --json output of comparing the reference program with another build of itself.

    Raises
    ------
    InputError
        It cannot be read or is no such file.
    """
    try:
        floor = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # also bytes that are no text
        raise InputError(f"{path}: not a JSON file ({error}); {FLOOR_ADVICE}") from error
    figures: list[tuple[str, ...]] = [("success_agreement",)] if isinstance(floor, dict) else []
    if figures:
        figures += [(group.key, name) for group in GROUPS if group.key in floor for name in ("p50", "p90")]
        figures += [("au_r", au, name) for au in _names(floor, "au_r", path) for name in ("r", "mae")]
        figures += [("au_c", au) for au in _names(floor, "au_c", path)]
    for place in figures or [("success_agreement",)]:
        if not _is_number(floor, place):
            raise InputError(f"{path}: expected a number at {'.'.join(place)}; {FLOOR_ADVICE}")
    loaded: dict[str, Any] = floor
    return loaded


FLOOR_ADVICE = "write a floor with `auflow validate REFERENCE OTHER_BUILD --json FLOOR.json`"


def _names(floor: dict[str, Any], key: str, path: Path) -> list[str]:
    table = floor.get(key, {})
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected a table of AUs at {key}; {FLOOR_ADVICE}")
    return list(table)


def _is_number(tree: object, place: tuple[str, ...]) -> bool:
    for name in place:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return isinstance(tree, int | float) and not isinstance(tree, bool)


def hold(result: Comparison, floor: dict[str, Any], factor: float) -> list[Held]:
    """Hold the result against `factor` times the noise floor plus a small slack.

    Held are row coverage, success, the median and 90th percentile of every column group, and r, mean error and
    presence of every AU that the floor has.
    """
    held = [Held("row_coverage", result.row_coverage, 1.0, result.row_coverage == 1.0)]
    held.append(
        _least("success_agreement", result.success_agreement, floor["success_agreement"], factor, SLACK_SUCCESS)
    )
    for key, slack in SLACK.items():
        group = result.groups.get(key)
        for name in ("p50", "p90") if key in floor else ():
            value = getattr(group, name) if group is not None and group.coverage == 1 else None
            held.append(_most(f"{key} {name}", value, floor[key][name], factor, slack))
    for name, figures in floor.get("au_r", {}).items():
        au = result.intensities.get(name)
        whole = au if au is not None and au.coverage == 1 else None
        held.append(_least(f"{name} r", whole.r if whole else -1.0, figures["r"], factor, SLACK_R))
        held.append(_most(f"{name} mae", whole.mae if whole else None, figures["mae"], factor, SLACK_MAE))
    for name, agreement in floor.get("au_c", {}).items():
        presence = result.presences.get(name)
        ours = presence.agreement if presence is not None else -1.0
        held.append(_least(f"{name} agreement", ours, agreement, factor, SLACK_PRESENCE))
    return held


def _least(what: str, ours: float, floor: float, factor: float, slack: float) -> Held:
    allowed = 1 - factor * (1 - floor) - slack
    return Held(what, ours, allowed, ours >= allowed)


def _most(what: str, ours: float | None, floor: float, factor: float, slack: float) -> Held:
    allowed = factor * floor + slack
    value = math.inf if ours is None else ours
    return Held(what, value, allowed, value <= allowed)
