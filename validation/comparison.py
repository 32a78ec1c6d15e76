"""Matching the rows of two files and measuring how far they agree.

Rows are matched by (face_id, frame), or by frame and overlap. Values count where the reference has success 1;
`success` itself on all rows. What is missing on our side is a miss: it lowers the coverage and never agrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES
from auflow.validation.overlap import rows_by_overlap
from auflow.validation.statistics import Spread, concordance, f1_score, icc_3_1, pearson, spread
from auflow.validation.table import Key, Table

__all__ = ["GROUPS", "Comparison", "Group", "Intensity", "Match", "MatchBy", "Presence", "compare", "match"]

Values = NDArray[np.float64]
MatchBy = Literal["id", "overlap"]


@dataclass(frozen=True, slots=True)
class Group:
    """Columns whose errors are taken together."""

    key: str  # its name in JSON
    label: str
    names: tuple[str, ...]  # planar for points: all x, then all y
    points: int = 0  # > 0: the error is the distance of each of that many points


def _planar(prefix: str, axes: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{axis}_{i}" for axis in axes for i in range(count))


LANDMARKS = Group("landmarks2d_px", "2-D landmarks [px]", _planar("", "xy", 68), 68)
GROUPS = (
    LANDMARKS,
    Group("landmarks3d_mm", "3-D landmarks [mm]", _planar("", "XYZ", 68), 68),
    Group("eye_landmarks2d_px", "eye landmarks [px]", _planar("eye_lmk_", "xy", 56), 56),
    Group("pose_mm", "head position [mm]", ("pose_Tx", "pose_Ty", "pose_Tz")),
    Group("pose_rad", "head rotation [rad]", ("pose_Rx", "pose_Ry", "pose_Rz")),
    Group("gaze_angle_rad", "gaze angle [rad]", ("gaze_angle_x", "gaze_angle_y")),
    Group("pdm_rigid", "PDM, rigid", ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty")),
    Group("pdm_nonrigid", "PDM, non-rigid", tuple(f"p_{i}" for i in range(34))),
    Group("confidence", "confidence", ("confidence",)),
)


@dataclass(frozen=True, slots=True)
class Match:
    """The rows of the reference beside ours, in the order of faces, then frames."""

    reference: Table
    ours: Table
    keys: tuple[Key, ...]
    reference_rows: NDArray[np.intp]  # (n,)
    our_rows: NDArray[np.intp]  # (n,), -1 where we have none
    success: NDArray[np.bool_]  # (n,) of the reference: only there values count
    by: MatchBy = "id"  # how faces were matched

    def column(self, name: str) -> tuple[Values, Values]:
        """Reference and ours of one column on all matched rows, (n,) each, NaN where there is none."""
        found = np.where(self.our_rows >= 0, self.ours.column(name)[self.our_rows], np.nan)
        return self.reference.column(name)[self.reference_rows], found

    def columns(self, names: tuple[str, ...]) -> tuple[Values, Values]:
        """Reference and ours of several columns on all matched rows, (n, columns) each."""
        pairs = [self.column(name) for name in names]
        return np.column_stack([a for a, _ in pairs]), np.column_stack([b for _, b in pairs])


@dataclass(frozen=True, slots=True)
class Intensity:
    """Agreement of one AU's intensity. None where too few values can be compared."""

    coverage: float
    r: float
    mae: float | None
    max: float | None
    ccc: float | None
    icc: float | None  # ICC(3,1)
    worst: Key | None  # where the largest difference stands


@dataclass(frozen=True, slots=True)
class Presence:
    """Agreement of one AU's presence; a missing value counts as the opposite of the reference's."""

    agreement: float
    f1: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures of two files. Groups and AUs that the reference does not have are absent."""

    rows_reference: int
    rows_ours: int
    rows_compared: int  # those with success 1 in the reference
    row_coverage: float
    success_agreement: float
    groups: dict[str, Spread]  # by Group.key
    intensities: dict[str, Intensity]  # by column, AU01_r
    presences: dict[str, Presence]  # by column, AU01_c

    def as_dict(self) -> dict[str, object]:
        """The figures for JSON; the same names as a noise floor's file, which this may serve as."""
        out: dict[str, object] = {
            "rows_reference": self.rows_reference,
            "rows_ours": self.rows_ours,
            "rows_compared": self.rows_compared,
            "row_coverage": self.row_coverage,
            "success_agreement": self.success_agreement,
        }
        out.update({key: group.as_dict() for key, group in self.groups.items()})
        if self.intensities:
            out.update(_intensities_as_dict(self.intensities))
        if self.presences:
            agreements = {name: value.agreement for name, value in self.presences.items()}
            out["au_c"] = agreements
            out["au_c_f1"] = {name: value.f1 for name, value in self.presences.items()}
            out["au_c_agreement"] = float(np.mean(list(agreements.values())))
        return out


# What an AU without one comparable value adds to the mean error: more than any intensity (0 to 5) can be wrong.
MISSING_MAE = 9.0


def _intensities_as_dict(intensities: dict[str, Intensity]) -> dict[str, object]:
    every = list(intensities.values())
    return {
        "au_r": {
            name: {"coverage": v.coverage, "r": v.r, "mae": v.mae, "max": v.max, "ccc": v.ccc, "icc": v.icc}
            for name, v in intensities.items()
        },
        "au_r_mean_r": float(np.mean([v.r for v in every])),
        "au_r_min_r": min(v.r for v in every),
        "au_r_mae": float(np.mean([MISSING_MAE if v.mae is None else v.mae for v in every])),
        "au_r_coverage": float(np.mean([v.coverage for v in every])),
    }


def match(reference: Table, ours: Table, *, skip: int = 0, by: MatchBy = "id") -> Match:
    """Put the rows of two files beside each other, without the frames up to number `skip`.

    Faces are the same when they have the same `face_id`, or by "overlap" when they are at the same place.

    Raises
    ------
    InputError
        They have no row or no column in common, or the reference does not say where a face was found.
    """
    keys = tuple(sorted(key for key in reference.rows if key[1] > skip))
    if not keys:
        last = max(frame for _, frame in reference.rows)
        raise InputError(f"{reference.path}: its last frame is {last}: --skip {skip} leaves nothing to compare")
    if by == "overlap":
        our_rows = rows_by_overlap(reference, ours, keys)
    else:
        our_rows = np.array([ours.rows.get(key, -1) for key in keys], dtype=np.intp)
    if (our_rows < 0).all():
        raise InputError(
            f"{ours.path}: no row in common with {reference.path} ({_extent(ours)} against {_extent(reference)}); "
            "are they of the same video?"
        )
    if "success" not in reference.names and not reference.of_image:
        raise InputError(f"{reference.path}: no column `success`: give the whole CSV that OpenFace has written")
    compared = [name for group in GROUPS for name in group.names]
    compared += [f"{au}_r" for au in AU_INTENSITIES] + [f"{au}_c" for au in AU_PRESENCES]
    if not any(name in reference.names and name in ours.names for name in compared):
        raise InputError(
            f"{ours.path}: not one column of landmarks, pose, gaze or AUs in common with {reference.path}; "
            f"it begins with {', '.join(list(ours.names)[:6])}"
        )
    rows = np.array([reference.rows[key] for key in keys], dtype=np.intp)
    return Match(reference, ours, keys, rows, our_rows, reference.column("success")[rows] == 1, by)


def _extent(table: Table) -> str:
    faces, frames = (sorted({key[place] for key in table.rows}) for place in (0, 1))
    return f"frames {frames[0]} to {frames[-1]} of face{'s' if len(faces) > 1 else ''} {', '.join(map(str, faces[:5]))}"


def compare(rows: Match) -> Comparison:
    """Measure the agreement of all column groups and AUs that the reference has."""
    reference, ours = rows.column("success")
    groups: dict[str, Spread] = {}
    intensities: dict[str, Intensity] = {}
    presences: dict[str, Presence] = {}
    if rows.success.any():
        known = rows.reference.names
        groups = {g.key: _group(rows, g) for g in GROUPS if any(name in known for name in g.names)}
        intensities = {f"{au}_r": _intensity(rows, f"{au}_r") for au in AU_INTENSITIES if f"{au}_r" in known}
        presences = {f"{au}_c": _presence(rows, f"{au}_c") for au in AU_PRESENCES if f"{au}_c" in known}
    return Comparison(
        rows_reference=len(rows.keys),
        rows_ours=len(rows.ours.rows),
        rows_compared=int(np.count_nonzero(rows.success)),
        row_coverage=float(np.mean(rows.our_rows >= 0)),
        success_agreement=float(np.mean(reference == ours)),
        groups=groups,
        intensities=intensities,
        presences=presences,
    )


def errors(rows: Match, group: Group) -> tuple[Values, NDArray[np.bool_]]:
    """Absolute errors of a group on all matched rows, and which values are missing on our side.

    Returns
    -------
    (n, points or columns) float64, inf where a value is missing; (n, columns) bool

    Raises
    ------
    InputError
        The reference has only some of the coordinates of the group's points.
    """
    names = tuple(name for name in group.names if name in rows.reference.names)
    if group.points and len(names) < len(group.names):
        lacking = next(name for name in group.names if name not in names)
        raise InputError(f"{rows.reference.path}: has columns of {group.label}, but no `{lacking}`: was it cut?")
    reference, ours = rows.columns(names)
    missing = ~np.isfinite(ours) & ~np.isnan(reference)
    difference = np.abs(reference - np.where(missing, np.nan, ours))
    difference[missing] = np.inf
    if group.points:
        planes = difference.reshape(len(difference), -1, group.points)
        difference = np.sqrt(np.sum(planes**2, axis=1))
    return difference, missing


def _group(rows: Match, group: Group) -> Spread:
    difference, missing = errors(rows, group)
    return spread(difference[rows.success], float(1 - missing[rows.success].mean()))


# With fewer rows a correlation says nothing.
FEWEST_ROWS = 3


def _intensity(rows: Match, name: str) -> Intensity:
    reference, ours = (column[rows.success] for column in rows.column(name))
    both = np.isfinite(ours) & np.isfinite(reference)
    coverage = float(np.isfinite(ours).mean())
    if not both.any():
        return Intensity(coverage, 0.0, None, None, None, None, None)
    a, b = reference[both], ours[both]
    difference = np.abs(a - b)
    keys = np.array(rows.keys)[rows.success][both]
    face, frame = (int(v) for v in keys[int(difference.argmax())])
    enough = len(a) >= FEWEST_ROWS
    return Intensity(
        coverage=coverage,
        r=pearson(a, b) if enough else 0.0,
        mae=float(difference.mean()),
        max=float(difference.max()),
        ccc=concordance(a, b) if enough else None,
        icc=icc_3_1(np.column_stack((a, b))) if enough else None,
        worst=(face, frame),
    )


def _presence(rows: Match, name: str) -> Presence:
    reference, ours = (column[rows.success] for column in rows.column(name))
    agrees = reference == ours
    truth = reference > 0.5
    return Presence(float(agrees.mean()), f1_score(truth, truth == agrees))
