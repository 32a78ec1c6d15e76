"""Rows as numbers, on the disk while they come; given back in blocks once the values of the offline pass are known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError, StageError
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.workspace import sync_data, writing

__all__ = ["Block", "RowSpool"]

Block: TypeAlias = dict[str, NDArray[Any]]  # by the key of each column group: (rows, columns), as it was computed


class RowSpool:
    """The rows of one stream in a file (2 to 3 kB each), so that memory stays bounded on videos of any length.

    Parameters
    ----------
    path : of the file, in the work folder
    output : that errors name
    layout : the columns
    rows : go on after so many rows that are in the file; None begins

    Raises
    ------
    OutputError
        The file cannot be written (also from every method, when the disk is full).
    """

    def __init__(self, path: Path, output: Path, layout: Layout, rows: int | None = None) -> None:
        self._output = output
        self._layout = layout
        self.rows = rows or 0
        self._row = np.zeros(1, layout.spool_dtype())
        self._file = self._open(path, new=rows is None)

    def _open(self, path: Path, *, new: bool) -> IO[bytes]:
        with writing(self._output):
            file = path.open("w+b" if new else "r+b")
            file.truncate(self.size)
            file.seek(0, os.SEEK_END)
        return file

    @property
    def size(self) -> int:
        """Bytes of the rows so far."""
        return self.rows * self._row.itemsize

    def add(self, fit: FaceFit, au: AuFrame) -> None:
        """Append the row of one face of one frame.

        Raises
        ------
        StageError
            The two records are not of the same frame and face.
        """
        if (fit.index, fit.face_id) != (au.index, au.face_id):
            raise StageError(
                f"sink: the fit of frame {fit.index}, face {fit.face_id} came with the AUs of frame {au.index}, "
                f"face {au.face_id}; a stage lost or swapped a frame"
            )
        for group in self._layout.fit_groups:
            if group.value is not None:
                self._row[group.key] = group.value(fit)
        with writing(self._output):
            self._file.write(self._row.tobytes())
        self.rows += 1

    def flush(self) -> None:
        """Have all rows so far on the disk."""
        with writing(self._output):
            self._file.flush()
            sync_data(self._file.fileno())

    def check(self, table: AuTable) -> None:
        """Refuse a table that is not of these rows.

        Raises
        ------
        ShapeError
        """
        for name, values, width in (
            ("intensities", table.intensities, len(AU_INTENSITIES)),
            ("presences", table.presences, len(AU_PRESENCES)),
        ):
            if values.shape != (self.rows, width):
                raise ShapeError(f"table.{name}: expected {(self.rows, width)}, got {values.shape}")

    def blocks(self, table: AuTable, rows: int) -> Iterator[Block]:
        """All rows with the values of `table` (checked) in blocks of so many, the last one shorter.

        To be run through to its end, or closed, before anything else is done here.
        """
        self._file.seek(0)
        try:
            for start in range(0, self.rows, rows):
                part = slice(start, min(start + rows, self.rows))
                read = self._file.read((part.stop - start) * self._row.itemsize)
                fits: NDArray[Any] = np.frombuffer(read, self._row.dtype)
                block = {group.key: fits[group.key] for group in self._layout.fit_groups}
                yield block | {group.key: getattr(table, group.key)[part] for group in self._layout.au_groups}
        finally:
            self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Leave what is in the file; without effect a second time."""
        with suppress(OSError):  # rows that wait for a full disk: those of the last checkpoint are there
            self._file.close()
