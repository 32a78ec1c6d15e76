"""What OpenFace writes beside the CSV for other programs: FHOG descriptors (.hog) and aligned faces (.bmp)."""

from __future__ import annotations

import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import OutputError

__all__ = ["AlignedFaces", "HogSink", "read_hog"]

_SHAPE = (12, 12, 31)  # columns, rows, channels, as in the file
_VALUES = 12 * 12 * 31
_RECORD = struct.Struct("<3if")


class HogSink:
    """Writes NAME.hog: per row int32 columns, rows, channels, float32 1 or -1 (fit good or not), 4464 float32.

    The file appears under its name all at once, when `finish` is called.

    Raises
    ------
    OutputError
        The file cannot be written (also from every method).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        with _writing(path):
            self._file = self._temporary.open("xb")

    def add(self, good: bool, hog: NDArray[np.float32]) -> None:
        """Append one descriptor (4464,) float32."""
        with _writing(self._path):
            self._file.write(_RECORD.pack(*_SHAPE, 1.0 if good else -1.0) + hog.astype("<f4").tobytes())

    def finish(self, *, interrupted: bool = False) -> Path:
        """Give the file its name; NAME.partial.hog when the stream was interrupted."""
        path = self._path.with_suffix(".partial.hog") if interrupted else self._path
        with _writing(path):
            self._file.close()
            os.replace(self._temporary, path)
        return path

    def discard(self) -> None:
        """Leave nothing; without effect after `finish`."""
        with suppress(OSError):
            self._file.close()
        with suppress(FileNotFoundError):
            self._temporary.unlink()


class AlignedFaces:
    """Writes one aligned face a row into NAME_aligned/, under OpenFace's names.

    frame_det_FF_NNNNNN.bmp has face id and frame; of a picture by itself, face_det_NNNNNN.bmp the face's number.
    They wait in a hidden folder until `finish`, which also removes the faces of an earlier run.

    Raises
    ------
    OutputError
        The folder cannot be written (also from every method).
    """

    def __init__(self, folder: Path, *, pictures: bool = False) -> None:
        self._folder = folder
        self._pictures = pictures
        self._temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        with _writing(folder):
            self._temporary.mkdir()

    def add(self, index: int, face_id: int, aligned: NDArray[np.uint8]) -> None:
        """Write one face (112, 112, 3) uint8 BGR."""
        name = f"face_det_{face_id:06d}.bmp" if self._pictures else f"frame_det_{face_id:02d}_{index:06d}.bmp"
        import cv2  # only who wants these files pays for it

        done, data = cv2.imencode(".bmp", aligned)
        if not done:
            raise OutputError(f"{self._folder / name}: this face cannot be encoded as a BMP picture")
        with _writing(self._folder):
            (self._temporary / name).write_bytes(data.tobytes())

    def finish(self, *, interrupted: bool = False) -> Path:
        """Give the folder its name; NAME.partial_aligned when the stream was interrupted."""
        folder = self._folder
        if interrupted:
            folder = folder.with_name(f"{folder.name.removesuffix('_aligned')}.partial_aligned")
        with _writing(folder):
            folder.mkdir(exist_ok=True)
            for old in (*folder.glob("frame_det_*.bmp"), *folder.glob("face_det_*.bmp")):
                old.unlink()
            for face in self._temporary.iterdir():
                os.replace(face, folder / face.name)
            self._temporary.rmdir()
        return folder

    def discard(self) -> None:
        """Leave nothing; without effect after `finish`."""
        shutil.rmtree(self._temporary, ignore_errors=True)


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


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; free some space or choose another folder with -o"
        ) from error
