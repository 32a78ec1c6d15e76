"""A strict cursor over OpenFace's binary model files: every read is checked against the end of the file."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.text import damaged

__all__ = ["BinaryReader"]

_MAT_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("u1"), 4: np.dtype("<i4"), 5: np.dtype("<f4"), 6: np.dtype("<f8")}
_MAX_SIDE = 1 << 20


class BinaryReader:
    """Little-endian integers, doubles and MatBin matrices from one file, read whole.

    With `mapped` the file is mapped instead of copied: matrices are views of it, and processes share its memory.
    Raises `ModelError` that names the file, the offset and what was expected on any short or odd read.
    """

    def __init__(self, path: Path, *, mapped: bool = False) -> None:
        self.path = path
        self.offset = 0  # of the next value
        try:
            self._data = memoryview(_map(path) if mapped else path.read_bytes())
        except OSError as error:
            raise damaged(path, f"cannot be read: {error.strerror}") from error

    def fail(self, what: str) -> ModelError:
        """The error for this file at this offset; the caller raises it."""
        return damaged(self.path, f"at byte {self.offset} of {len(self._data)}: {what}")

    def _take(self, count: int, what: str) -> memoryview:
        end = self.offset + count
        if end > len(self._data):
            raise self.fail(f"expected {what} ({count} bytes), got the end of the file")
        chunk = self._data[self.offset : end]
        self.offset = end
        return chunk

    def i32(self, what: str, *, expect: int | None = None, low: int = -(1 << 31), high: int = (1 << 31) - 1) -> int:
        """One int32; `expect`, or `low` and `high`, bound it."""
        value: int = struct.unpack("<i", self._take(4, what))[0]
        if expect is not None and value != expect:
            raise self.fail(f"{what}: expected {expect}, got {value}")
        if not low <= value <= high:
            raise self.fail(f"{what}: expected {low} to {high}, got {value}")
        return value

    def f64(self, what: str) -> float:
        """One finite double."""
        value: float = struct.unpack("<d", self._take(8, what))[0]
        if not np.isfinite(value):
            raise self.fail(f"{what}: expected a finite number, got {value}")
        return value

    def mat(self, what: str, *, shape: tuple[int | None, int | None] = (None, None)) -> NDArray[Any]:
        """One MatBin (int32 rows, columns, type, then row-major data); a side of `shape` that is None is free."""
        rows = self.i32(f"rows of {what}", low=0, high=_MAX_SIDE)
        columns = self.i32(f"columns of {what}", low=0, high=_MAX_SIDE)
        kind = self.i32(f"type of {what}")
        for name, wanted, got in (("rows", shape[0], rows), ("columns", shape[1], columns)):
            if wanted is not None and wanted != got:
                raise self.fail(f"{what}: expected {wanted} {name}, got {got}")
        if kind not in _MAT_TYPES:
            raise self.fail(f"{what}: expected a matrix type of {sorted(_MAT_TYPES)}, got {kind}")
        dtype = _MAT_TYPES[kind]
        data: NDArray[Any] = np.frombuffer(self._take(rows * columns * dtype.itemsize, what), dtype).reshape(
            rows, columns
        )
        if dtype.kind == "f" and not np.isfinite(data).all():
            raise self.fail(f"{what}: expected finite numbers")
        return data

    def end(self) -> None:
        """Every byte must have been read."""
        if self.offset != len(self._data):
            raise self.fail(f"expected the end of the file, got {len(self._data) - self.offset} more bytes")


def _map(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as stream:
        # An empty file cannot be mapped; it is refused at its first value like any other that is cut short.
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
