"""What OpenFace writes beside the CSV for other programs: FHOG descriptors (.hog) and aligned faces (.bmp)."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from auflow.errors import OutputError
from auflow.stages.sink.workspace import sync_data, writing

__all__ = ["AlignedFaces", "HogSink", "face_number", "read_hog"]

_SHAPE = (12, 12, 31)  # columns, rows, channels, as in the file
_VALUES = 12 * 12 * 31
_RECORD = struct.Struct("<3if")


class HogSink:
    """Writes NAME.hog: per row int32 columns, rows, channels, float32 1 or -1 (fit good or not), 4464 float32.

    Parameters
    ----------
    path : of the file, which appears under its name all at once, with `publish`
    work : folder where it waits until then
    size : go on after so many bytes that are there; None begins

    Raises
    ------
    OutputError
        The file cannot be written (also from every method).
    """

    def __init__(self, path: Path, work: Path, size: int | None = None) -> None:
        self._path = path
        self._temporary = work / "hog"
        self._size = size or 0
        with writing(path):
            self._file: IO[bytes] = self._temporary.open("wb" if size is None else "r+b")
            self._file.truncate(self._size)
            self._file.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    def add(self, good: bool, hog: NDArray[np.float32]) -> None:
        """Append one descriptor (4464,) float32."""
        record = _RECORD.pack(*_SHAPE, 1.0 if good else -1.0) + hog.astype("<f4").tobytes()
        with writing(self._path):
            self._file.write(record)
        self._size += len(record)

    def flush(self) -> None:
        """Have all descriptors so far on the disk."""
        with writing(self._path):
            self._file.flush()
            sync_data(self._file.fileno())

    def prepare(self) -> None:
        """Complete the file in the work folder."""
        with writing(self._path):
            self._file.close()

    def publish(self, *, interrupted: bool = False) -> Path:
        """Give the prepared file its name; NAME.partial.hog when the stream was interrupted."""
        path = self._path.with_suffix(".partial.hog") if interrupted else self._path
        with writing(path):
            os.replace(self._temporary, path)
        return path

    def close(self) -> None:
        """Leave what is in the work folder."""
        with suppress(OSError):  # what waits for a full disk: that of the last checkpoint is there
            self._file.close()


class AlignedFaces:
    """Writes one aligned face a row into NAME_aligned/, under OpenFace's names.

    frame_det_FF_NNNNNN.bmp has face id and frame; of a picture by itself, face_det_NNNNNN.bmp the face's number.

    Parameters
    ----------
    folder : NAME_aligned; `publish` removes the faces of an earlier run from it
    work : folder where they wait until then
    pictures : of a picture by itself
    last : go on after the face of this number (of the frame, or with `pictures` its own), of which those that are there
        with a higher one are removed; None begins

    Raises
    ------
    OutputError
        The folder cannot be written (also from every method).
    """

    def __init__(self, folder: Path, work: Path, *, pictures: bool = False, last: int | None = None) -> None:
        self._folder = folder
        self._pictures = pictures
        self._temporary = work / "aligned"
        self._last = -1 if last is None else last
        with writing(folder):
            if last is None:
                self._temporary.mkdir()
                self._count = 0
            else:
                self._count = self._keep_to(last)

    @property
    def count(self) -> int:
        """Faces so far."""
        return self._count

    @property
    def last(self) -> int:
        """The highest number so far, -1 without a face."""
        return self._last

    def add(self, index: int, face_id: int, aligned: NDArray[np.uint8]) -> None:
        """Write one face (112, 112, 3) uint8 BGR."""
        name = f"face_det_{face_id:06d}.bmp" if self._pictures else f"frame_det_{face_id:02d}_{index:06d}.bmp"
        import cv2  # only who wants these files pays for it

        done, data = cv2.imencode(".bmp", aligned)
        if not done:
            raise OutputError(f"{self._folder / name}: this face cannot be encoded as a BMP picture")
        with writing(self._folder):
            (self._temporary / name).write_bytes(data.tobytes())
        self._count += 1
        self._last = max(self._last, face_number(name))

    def _keep_to(self, last: int) -> int:
        """Remove the faces of higher numbers; how many are left."""
        count = 0
        for face in self._temporary.iterdir():
            if face_number(face.name) > last:
                face.unlink()
            else:
                count += 1
        return count

    def publish(self, *, interrupted: bool = False) -> Path:
        """Give the folder its name; NAME.partial_aligned when the stream was interrupted."""
        folder = self._folder
        if interrupted:
            folder = folder.with_name(f"{folder.name.removesuffix('_aligned')}.partial_aligned")
        with writing(folder):
            folder.mkdir(exist_ok=True)
            for old in (*folder.glob("frame_det_*.bmp"), *folder.glob("face_det_*.bmp")):
                old.unlink()
            for face in self._temporary.iterdir():
                os.replace(face, folder / face.name)
        return folder


def face_number(name: str) -> int:
    """The number by which aligned faces are in order: that of the frame, of a picture by itself the face's own."""
    return int(name.removesuffix(".bmp").rpartition("_")[2])


def read_hog(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """A .hog file: which rows are of good fits (n,), and the descriptors (n, 4464).

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds something else.
    """
    record = np.dtype([("shape", "<i4", 3), ("good", "<f4"), ("hog", "<f4", _VALUES)])
    data = path.read_bytes()
    if len(data) % record.itemsize:
        raise ValueError(f"{path}: expected rows of {record.itemsize} bytes, got {len(data)} bytes")
    rows = np.frombuffer(data, record)
    if (rows["shape"] != _SHAPE).any():
        raise ValueError(f"{path}: expected 12 x 12 x 31 descriptors")
    return rows["good"] > 0, rows["hog"]
