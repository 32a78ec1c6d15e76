"""OpenFace's CSV, written in two steps: rows as numbers while they come, text once the offline pass is known."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import OutputError, ShapeError, StageError
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit
from auflow.stages.settings import StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.rows import RowText

__all__ = ["CsvSink"]

ROWS_PER_CHUNK = 32  # of 700 numbers: what is worked on stays in the processor's cache


class CsvSink:
    """Collects the rows of one stream and writes its CSV.

    Rows wait in a nameless temporary file of the output folder (2 kB each), so memory stays bounded on videos of any
    length and a killed process leaves nothing of it behind. The CSV appears under its name all at once.

    Parameters
    ----------
    output : path of the CSV; its folder exists
    settings : `precision` "openface" has the decimals that OpenFace writes, "full" six everywhere; `columns` and
        `faces` choose the layout

    Raises
    ------
    OutputError
        The folder cannot be written (also from every method, when the disk is full).
    """

    def __init__(self, output: Path, settings: StageSettings) -> None:
        self._output = output
        self._layout = Layout.of(settings)
        self._precision = settings.precision
        self._rows = 0
        self._row = np.zeros(1, self._layout.spool_dtype())
        with _writing(output):
            self._spool: IO[bytes] = tempfile.TemporaryFile(dir=output.parent)  # noqa: SIM115 - closed by finish/discard

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
        with _writing(self._output):
            self._spool.write(self._row.tobytes())
        self._rows += 1

    def finish(self, table: AuTable, *, interrupted: bool = False) -> Path:
        """Write the CSV with the values of the offline pass.

        Parameters
        ----------
        table : one row per row that was added, in order
        interrupted : the stream did not reach its end: NAME.partial.csv is written instead of NAME.csv

        Returns
        -------
        the path that was written

        Raises
        ------
        ShapeError
            `table` has another number of rows or columns.
        OutputError
            Nothing is left under the final name.
        """
        for name, values, width in (
            ("intensities", table.intensities, len(AU_INTENSITIES)),
            ("presences", table.presences, len(AU_PRESENCES)),
        ):
            if values.shape != (self._rows, width):
                raise ShapeError(f"table.{name}: expected {(self._rows, width)}, got {values.shape}")
        path = self._output
        if interrupted:
            path = path.with_name(f"{path.name.removesuffix('.csv')}.partial.csv")
        with _writing(path):
            self._spool.seek(0)
            _write_atomically(path, self._lines(table))
        self._spool.close()
        return path

    def discard(self) -> None:
        """Forget all rows and leave no file; without effect after `finish`."""
        with suppress(OSError):  # rows that wait for a full disk are thrown away with the rest
            self._spool.close()

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


def _write_atomically(path: Path, chunks: Iterator[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; free some space or choose another folder with -o"
        ) from error
