"""Reading a CSV in OpenFace's format: that of FeatureExtraction, FaceLandmarkVidMulti and FaceLandmarkImg."""

from __future__ import annotations

import csv
import gzip
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError

__all__ = ["Key", "Table", "read_table"]

Key = tuple[int, int]  # face_id, frame


@dataclass(frozen=True, slots=True)
class Table:
    """One file: a row per face and frame."""

    path: Path
    names: dict[str, int]  # column of each name
    values: NDArray[np.float64]  # (rows, columns), NaN where a cell is empty
    rows: dict[Key, int]  # row of each (face_id, frame), in the file's order
    of_image: bool  # FaceLandmarkImg: no `frame`, no `success`, every row is a face that was found

    def column(self, name: str) -> NDArray[np.float64]:
        """The column `name`, (rows,); NaN where the file does not have it."""
        if name == "success" and self.of_image and name not in self.names:
            return np.ones(len(self.values))
        if name not in self.names:
            return np.full(len(self.values), np.nan)
        column: NDArray[np.float64] = self.values[:, self.names[name]]
        return column


def read_table(path: Path) -> Table:
    """Read the CSV `path`, compressed where its name ends in .gz.

    Raises
    ------
    InputError
        It cannot be read, is no CSV of numbers with the columns of OpenFace, or has a row twice.
    """
    try:
        with _open(path) as file:
            names, values = _numbers(csv.reader(file), path)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path}: cannot be read: {reason}; {ADVICE}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error}); {ADVICE}") from error
    columns = {name: place for place, name in enumerate(names)}
    of_image = "frame" not in columns
    if of_image and "face" not in columns:
        raise InputError(f"{path}: expected the columns of OpenFace, found neither `frame` nor `face`; {ADVICE}")
    if not len(values):
        raise InputError(f"{path}: the file has a header and no rows: there is nothing to compare")
    return Table(path, columns, values, _index(columns, values, path), of_image)


ADVICE = "give a CSV that `auflow run` or OpenFace has written"


def _open(path: Path) -> TextIO:
    # utf-8-sig: a spreadsheet may have put a byte order mark before the first name.
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _numbers(rows: Iterator[list[str]], path: Path) -> tuple[list[str], NDArray[np.float64]]:
    names = [name.strip() for name in next(rows, [])]
    # Not a list: an hour of video is eighty million numbers.
    data = array("d")
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(names):
            raise InputError(
                f"{path}: line {line} has {len(row)} values, its header {len(names)} names: "
                "the file is damaged or was cut off; write it again"
            )
        try:
            data.extend([float(cell) if cell.strip() else np.nan for cell in row])
        except ValueError as error:
            raise InputError(f"{path}: line {line}: expected numbers: {error}; {ADVICE}") from error
    return names, np.frombuffer(data, dtype=np.float64).reshape(-1, max(len(names), 1))


def _index(columns: dict[str, int], values: NDArray[np.float64], path: Path) -> dict[Key, int]:
    faces = next((values[:, columns[name]] for name in ("face_id", "face") if name in columns), np.zeros(len(values)))
    frames = values[:, columns["frame"]] if "frame" in columns else np.ones(len(values))
    if not (np.isfinite(faces).all() and np.isfinite(frames).all()):
        raise InputError(f"{path}: a row has no number for its frame or face; {ADVICE}")
    index: dict[Key, int] = {}
    for row, (face, frame) in enumerate(zip(faces, frames, strict=True)):
        key = (int(face), int(frame))
        if key in index:
            raise InputError(f"{path}: face {key[0]} of frame {key[1]} stands there twice: which row counts is unclear")
        index[key] = row
    return index
