"""The columns of the CSV, declared once: names, decimals and where each value comes from, in OpenFace's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, FaceFit
from auflow.stages.settings import Columns, Precision, StageSettings

__all__ = ["AU_GROUPS", "FIT_GROUPS", "ColumnGroup", "Layout"]

LANDMARKS = range(68)
EYE_LANDMARKS = range(56)  # 28 of the left eye, then 28 of the right
SHAPE_PARAMETERS = range(34)
FULL_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Neighbouring columns of one kind."""

    key: str  # unique among the groups
    names: tuple[str, ...]
    decimals: int | None  # OpenFace's; None is an integer
    dtype: DTypeLike = np.float64  # kept in the spool: what the values have, so that no digit is lost
    value: Callable[[FaceFit], ArrayLike] | None = None  # of one row; None: known only after the offline pass
    separator: str = ",  "  # before each value
    choice: Columns | None = None  # what a user asks for to have them; None is always there


def _numbered(stem: str, numbers: range) -> tuple[str, ...]:
    return tuple(f"{stem}_{number}" for number in numbers)


FIT_GROUPS: tuple[ColumnGroup, ...] = (
    ColumnGroup("index", ("frame",), None, np.int64, lambda fit: fit.index, separator=""),
    ColumnGroup("face_id", ("face_id",), None, np.int64, lambda fit: fit.face_id),
    ColumnGroup("timestamp_s", ("timestamp",), 3, np.float64, lambda fit: fit.timestamp_s),
    ColumnGroup("confidence", ("confidence",), 2, np.float64, lambda fit: fit.confidence),
    ColumnGroup("success", ("success",), None, np.int64, lambda fit: fit.success),
    ColumnGroup(
        "gaze_vectors",
        tuple(f"gaze_{eye}_{axis}" for eye in range(2) for axis in "xyz"),
        6,
        np.float64,
        lambda fit: fit.gaze[:6],
        choice="gaze",
    ),
    ColumnGroup(
        "gaze_angles", ("gaze_angle_x", "gaze_angle_y"), 3, np.float64, lambda fit: fit.gaze[6:], choice="gaze"
    ),
    ColumnGroup(
        "eyes_px",
        (*_numbered("eye_lmk_x", EYE_LANDMARKS), *_numbered("eye_lmk_y", EYE_LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.eyes_px,
        choice="gaze",
    ),
    ColumnGroup(
        "eyes_mm",
        tuple(name for axis in "XYZ" for name in _numbered(f"eye_lmk_{axis}", EYE_LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.eyes_mm,
        choice="gaze",
    ),
    ColumnGroup(
        "translation_mm", ("pose_Tx", "pose_Ty", "pose_Tz"), 1, np.float64, lambda fit: fit.pose[:3], choice="pose"
    ),
    ColumnGroup(
        "rotation_rad", ("pose_Rx", "pose_Ry", "pose_Rz"), 3, np.float64, lambda fit: fit.pose[3:], choice="pose"
    ),
    ColumnGroup(
        "landmarks_px",
        (*_numbered("x", LANDMARKS), *_numbered("y", LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.landmarks_px,
        choice="landmarks2d",
    ),
    ColumnGroup(
        "landmarks_mm",
        (*_numbered("X", LANDMARKS), *_numbered("Y", LANDMARKS), *_numbered("Z", LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.landmarks_mm,
        choice="landmarks3d",
    ),
    ColumnGroup(
        "params_global",
        ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"),
        3,
        np.float32,
        lambda fit: fit.params_global,
        choice="shape",
    ),
    ColumnGroup(
        "params_local", _numbered("p", SHAPE_PARAMETERS), 3, np.float32, lambda fit: fit.params_local, choice="shape"
    ),
)
_NOT_OF_PICTURES = ("index", "timestamp_s", "success")
_PICTURE_CHANGES: dict[str, dict[str, Any]] = {
    "face_id": {"names": ("face",), "separator": ""},
    "confidence": {"decimals": 3},
}
AU_GROUPS: tuple[ColumnGroup, ...] = (
    ColumnGroup("intensities", tuple(f"{au}_r" for au in AU_INTENSITIES), 2, separator=", ", choice="aus"),
    ColumnGroup("presences", tuple(f"{au}_c" for au in AU_PRESENCES), 2, separator=", ", choice="aus"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one kind of run."""

    fit_groups: tuple[ColumnGroup, ...]  # known with the fit
    au_groups: tuple[ColumnGroup, ...]  # known after the offline pass

    @classmethod
    def of(cls, settings: StageSettings) -> Layout:
        """OpenFace's layout: FeatureExtraction's, FaceLandmarkVidMulti's or, for pictures, FaceLandmarkImg's."""
        fit = [g for g in FIT_GROUPS if g.choice is None or g.choice in settings.columns]
        aus = [g for g in AU_GROUPS if g.choice in settings.columns]
        if settings.independent:
            fit = [replace(g, separator=", " if g.separator else "") for g in fit]
            aus = [replace(g, decimals=1) if g.key == "presences" else g for g in aus]
        if settings.faces == "pictures":
            fit = [replace(g, **_PICTURE_CHANGES.get(g.key, {})) for g in fit if g.key not in _NOT_OF_PICTURES]
        return cls(tuple(fit), tuple(aus))

    @property
    def groups(self) -> tuple[ColumnGroup, ...]:
        """All columns, in order."""
        return (*self.fit_groups, *self.au_groups)

    def names(self) -> list[str]:
        """The name of each column, in order."""
        return [name for group in self.groups for name in group.names]

    def header(self) -> str:
        """The first line of the CSV, without its line end."""
        return ", ".join(self.names())

    def formats(self, precision: Precision) -> list[tuple[str, int | None]]:
        """Of each group the %-format of its numbers, separators included, and their decimals; None for integers."""
        found: list[tuple[str, int | None]] = []
        for group in self.groups:
            decimals = FULL_DECIMALS if precision == "full" and group.decimals is not None else group.decimals
            conversion = "%d" if decimals is None else f"%.{decimals}f"
            found.append(((group.separator + conversion) * len(group.names), decimals))
        return found

    def row_format(self, precision: Precision) -> str:
        """The %-format of one line, line end included, for a tuple of all its numbers."""
        return "".join(text for text, _ in self.formats(precision)) + "\n"

    def spool_dtype(self) -> np.dtype[Any]:
        """One row of what is known before the offline pass, as a structured dtype with a field per group."""
        return np.dtype([(group.key, group.dtype, (len(group.names),)) for group in self.fit_groups])
