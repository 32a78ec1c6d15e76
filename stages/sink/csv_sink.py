"""OpenFace's CSV, written in two steps: rows as numbers while they come, text once the offline pass is known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError, StageError
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit
from auflow.stages.settings import StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.rows import RowText
from auflow.stages.sink.workspace import WorkFolder, sync_data, writing

__all__ = ["CsvSink"]

ROWS_PER_CHUNK = 32  # of 700 numbers: what is worked on stays in the processor's cache


class CsvSink:
    """Collects the rows of one stream and writes its CSV.

    Rows wait in a file of the work folder (2 kB each), so memory stays bounded on videos of any length. The CSV
    appears under its name all at once.

    Parameters
    ----------
    output : path of the CSV; its folder exists
    settings : `precision` "openface" has the decimals that OpenFace writes, "full" six everywhere; `columns` and
        `faces` choose the layout
    work : the work folder, which is its giver's; None makes one for this CSV alone
    rows : go on after so many rows that are in the work folder; None begins

    Raises
    ------
    OutputError
        The folder cannot be written (also from every method, when the disk is full).
    """

    def __init__(
        self, output: Path, settings: StageSettings, work: WorkFolder | None = None, rows: int | None = None
    ) -> None:
        self._output = output
        self._layout = Layout.of(settings)
        self._precision = settings.precision
        self._rows = rows or 0
        self._row = np.zeros(1, self._layout.spool_dtype())
        self._owner = work is None
        self._work = WorkFolder(output) if work is None else work
        self._spool = self._open(new=rows is None)

    def _open(self, *, new: bool) -> IO[bytes]:
        with writing(self._output):
            spool = (self._work / "rows").open("w+b" if new else "r+b")
            spool.truncate(self.size)
            spool.seek(0, os.SEEK_END)
        return spool

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._rows

    @property
    def size(self) -> int:
        """Bytes of the rows so far."""
        return self._rows * self._row.itemsize

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
            self._spool.write(self._row.tobytes())
        self._rows += 1

    def flush(self) -> None:
        """Have all rows so far on the disk."""
        with writing(self._output):
            self._spool.flush()
            sync_data(self._spool.fileno())

    def finish(self, table: AuTable, *, interrupted: bool = False) -> Path:
        """`prepare` and `publish`, where there is no other file to wait for; the path that was written."""
        self.prepare(table)
        path = self.publish(interrupted=interrupted)
        if self._owner:
            self._work.discard()
        return path

    def prepare(self, table: AuTable) -> None:
        """Write the CSV, with the values of the offline pass, into the work folder. The rows stay there.

        Parameters
        ----------
        table : one row per row that was added, in order

        Raises
        ------
        ShapeError
            `table` has another number of rows or columns.
        OutputError
        """
        for name, values, width in (
            ("intensities", table.intensities, len(AU_INTENSITIES)),
            ("presences", table.presences, len(AU_PRESENCES)),
        ):
            if values.shape != (self._rows, width):
                raise ShapeError(f"table.{name}: expected {(self._rows, width)}, got {values.shape}")
        with writing(self._output):
            self._spool.seek(0)
            try:
                with (self._work / "csv").open("wb") as file:
                    for chunk in self._lines(table):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                self._spool.seek(0, os.SEEK_END)

    def publish(self, *, interrupted: bool = False) -> Path:
        """Give the prepared CSV its name, NAME.partial.csv where the stream did not reach its end; that path."""
        path = self._output
        if interrupted:
            path = path.with_name(f"{path.name.removesuffix('.csv')}.partial.csv")
        with writing(path):
            os.replace(self._work / "csv", path)
        self.close()
        return path

    def close(self) -> None:
        """Leave what is in the work folder; without effect a second time."""
        with suppress(OSError):  # rows that wait for a full disk: those of the last checkpoint are there
            self._spool.close()

    def discard(self) -> None:
        """Forget all rows and leave no file; without effect after `finish`."""
        self.close()
        if self._owner:
            self._work.discard()

    def _lines(self, table: AuTable) -> Iterator[bytes]:
        yield (self._layout.header() + "\n").encode()
        text = RowText(self._layout, self._precision)
        for start in range(0, self._rows, ROWS_PER_CHUNK):
            count = min(ROWS_PER_CHUNK, self._rows - start)
            rows = np.frombuffer(self._spool.read(count * self._row.itemsize), self._row.dtype)
            numbers = self._numbers(rows, table, slice(start, start + count))
            yield b"".join(text.lines(numbers))

    def _numbers(self, rows: NDArray[Any], table: AuTable, part: slice) -> NDArray[np.float64]:
        fits = [rows[group.key].astype(np.float64) for group in self._layout.fit_groups]
        aus = [getattr(table, group.key)[part] for group in self._layout.au_groups]
        return np.concatenate([*fits, *aus], axis=1)
