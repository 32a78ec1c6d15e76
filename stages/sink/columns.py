"""The columns of the CSV, declared once: names, decimals and where each value comes from, in OpenFace's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, FaceFit

__all__ = ["AU_GROUPS", "FIT_GROUPS", "ColumnGroup", "header", "row_format", "spool_dtype"]

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
    ),
    ColumnGroup("gaze_angles", ("gaze_angle_x", "gaze_angle_y"), 3, np.float64, lambda fit: fit.gaze[6:]),
    ColumnGroup(
        "eyes_px",
        (*_numbered("eye_lmk_x", EYE_LANDMARKS), *_numbered("eye_lmk_y", EYE_LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.eyes_px,
    ),
    ColumnGroup(
        "eyes_mm",
        tuple(name for axis in "XYZ" for name in _numbered(f"eye_lmk_{axis}", EYE_LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.eyes_mm,
    ),
    ColumnGroup("translation_mm", ("pose_Tx", "pose_Ty", "pose_Tz"), 1, np.float64, lambda fit: fit.pose[:3]),
    ColumnGroup("rotation_rad", ("pose_Rx", "pose_Ry", "pose_Rz"), 3, np.float64, lambda fit: fit.pose[3:]),
    ColumnGroup(
        "landmarks_px",
        (*_numbered("x", LANDMARKS), *_numbered("y", LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.landmarks_px,
    ),
    ColumnGroup(
        "landmarks_mm",
        (*_numbered("X", LANDMARKS), *_numbered("Y", LANDMARKS), *_numbered("Z", LANDMARKS)),
        1,
        np.float32,
        lambda fit: fit.landmarks_mm,
    ),
    ColumnGroup(
        "params_global",
        ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"),
        3,
        np.float32,
        lambda fit: fit.params_global,
    ),
    ColumnGroup("params_local", _numbered("p", SHAPE_PARAMETERS), 3, np.float32, lambda fit: fit.params_local),
)
AU_GROUPS: tuple[ColumnGroup, ...] = (
    ColumnGroup("intensities", tuple(f"{au}_r" for au in AU_INTENSITIES), 2, separator=", "),
    ColumnGroup("presences", tuple(f"{au}_c" for au in AU_PRESENCES), 2, separator=", "),
)


def header() -> str:
    """The first line of the CSV, without its line end."""
    return ", ".join(name for group in (*FIT_GROUPS, *AU_GROUPS) for name in group.names)


def row_format(precision: Literal["openface", "full"]) -> str:
    """The %-format of one line, line end included, for a tuple of all its numbers."""
    parts = []
    for group in (*FIT_GROUPS, *AU_GROUPS):
        decimals = FULL_DECIMALS if precision == "full" else group.decimals
        conversion = "%d" if group.decimals is None else f"%.{decimals}f"
        parts += [group.separator + conversion] * len(group.names)
    return "".join(parts) + "\n"


def spool_dtype() -> np.dtype[Any]:
    """One row of what is known before the offline pass, as a structured dtype with a field per group."""
    return np.dtype([(group.key, group.dtype, (len(group.names),)) for group in FIT_GROUPS])
