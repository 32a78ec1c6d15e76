"""One face of a table over time: Action Units, head, gaze, confidence, and its landmarks when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, UsageError
from auflow.plots.table import ADVICE, Columns, read_columns
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES

__all__ = ["Series", "read_series"]

Values = NDArray[np.float64]

_KEYS = ("frame", "face_id", "face", "timestamp", "success", "confidence")
_ROTATION = ("pose_Rx", "pose_Ry", "pose_Rz")
_POSITION = ("pose_Tx", "pose_Ty", "pose_Tz")
_GAZE = ("gaze_angle_x", "gaze_angle_y")
_LANDMARKS = tuple(f"{axis}_{number}" for axis in "xy" for number in range(68))


@dataclass(frozen=True, slots=True)
class Series:
    """The rows of one face, in the order of the file."""

    name: str
    face: int
    faces: tuple[int, ...]  # all that the table has
    frame: NDArray[np.int64]  # (n,)
    time: Values  # (n,) seconds, or the frame where the table has no time
    time_label: str  # "seconds" or "frame"
    success: NDArray[np.bool_]  # (n,)
    confidence: Values | None  # (n,) 0 to 1
    intensities: dict[str, Values]  # by AU, (n,) 0 to 5
    presences: dict[str, NDArray[np.bool_]]  # by AU, (n,)
    rotation_deg: Values | None  # (n, 3) pitch, yaw, roll
    position_mm: Values | None  # (n, 3) x right, y down, z away
    gaze_deg: Values | None  # (n, 2) left to right, up to down
    landmarks_px: Values | None = None  # (n, 68, 2)

    @property
    def aus(self) -> list[str]:
        """The Action Units of the table, by number."""
        return [au for au in AU_PRESENCES if au in self.intensities or au in self.presences]


def read_series(path: Path, face: int | None = None, *, landmarks: bool = False) -> Series:
    """Read the rows of one face.

    Parameters
    ----------
    path : a CSV of auflow or OpenFace (also .csv.gz), or a Parquet file of auflow
    face : its `face_id`; None is the first
    landmarks : read the 2-D landmarks too

    Raises
    ------
    InputError
        It is missing, no table of numbers, of a single picture, or has no rows or nothing to draw.
    UsageError
        There is no such face, or pyarrow is missing.
    """
    names = {*_KEYS, *_ROTATION, *_POSITION, *_GAZE, *(_LANDMARKS if landmarks else ())}
    columns = read_columns(path, lambda name: name in names or _is_au(name))
    if "frame" not in columns and "face" in columns:
        raise InputError(f"{path}: is of a single picture: there is no time to draw over; give the CSV of a video")
    drawable = any(_is_au(name) or name in (*_ROTATION, *_GAZE, "confidence") for name in columns)
    if "frame" not in columns or not drawable:
        raise InputError(f"{path}: found no AU columns (AU01_r ...) and no pose or gaze; {ADVICE}")
    if not len(columns["frame"]):
        raise InputError(f"{path}: the file has a header and no rows: there is nothing to draw")
    if not np.isfinite(columns["frame"]).all():
        raise InputError(f"{path}: a row has no number for its frame; {ADVICE}")
    faces, columns = _only(columns, face, path)
    return _series(path, columns, faces)


def _is_au(name: str) -> bool:
    return name[:4] in AU_PRESENCES and name[4:] in ("_r", "_c")


def _only(columns: Columns, face: int | None, path: Path) -> tuple[tuple[int, ...], Columns]:
    """The faces of the table, the wanted one first, and its rows."""
    ids = columns.get("face_id", np.zeros(len(columns["frame"]))).astype(int)
    there = tuple(int(number) for number in np.unique(ids))
    wanted = there[0] if face is None else face
    if wanted not in there:
        raise UsageError(f"{path}: there is no face {wanted}; there are {', '.join(map(str, there))} (--face)")
    chosen = ids == wanted
    others = tuple(number for number in there if number != wanted)
    return (wanted, *others), {name: values[chosen] for name, values in columns.items()}


def _series(path: Path, columns: Columns, faces: tuple[int, ...]) -> Series:
    count = len(columns["frame"])
    time, label = columns.get("timestamp", columns["frame"]), "seconds"
    if not np.isfinite(time).all() or not np.ptp(time):
        time, label = columns["frame"], "frame"
    rotation, gaze = _together(columns, _ROTATION), _together(columns, _GAZE)
    points = _together(columns, _LANDMARKS)
    return Series(
        name=path.name.removesuffix(".gz").removesuffix(path.suffix if path.suffix != ".gz" else ".csv"),
        face=faces[0],
        faces=tuple(sorted(faces)),
        frame=columns["frame"].astype(np.int64),
        time=time,
        time_label=label,
        success=columns.get("success", np.ones(count)) > 0.5,
        confidence=columns.get("confidence"),
        intensities={au: columns[f"{au}_r"] for au in AU_INTENSITIES if f"{au}_r" in columns},
        presences={au: columns[f"{au}_c"] > 0.5 for au in AU_PRESENCES if f"{au}_c" in columns},
        rotation_deg=None if rotation is None else np.degrees(rotation),
        position_mm=_together(columns, _POSITION),
        gaze_deg=None if gaze is None else np.degrees(gaze),
        landmarks_px=None if points is None else points.reshape(-1, 2, 68).transpose(0, 2, 1),
    )


def _together(columns: Columns, names: tuple[str, ...]) -> Values | None:
    if any(name not in columns for name in names):
        return None
    return np.stack([columns[name] for name in names], axis=1)
