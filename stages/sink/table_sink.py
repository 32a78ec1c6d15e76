"""The table of one stream: rows as numbers while they come, its files once the offline pass is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeAlias

from auflow.stages.records import AuFrame, AuTable, FaceFit
from auflow.stages.settings import Format, StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.csv_file import write_csv
from auflow.stages.sink.paths import table_path
from auflow.stages.sink.provenance import Provenance
from auflow.stages.sink.spool import Block, RowSpool
from auflow.stages.sink.workspace import WorkFolder, writing

__all__ = ["TableSink"]

_Blocks: TypeAlias = Callable[[int], Iterator[Block]]


class TableSink:
    """Collects the rows of one stream and writes its table in each format that is asked for: the CSV, for instance.

    Rows wait in a file of the work folder, so memory stays bounded on videos of any length. The files appear under
    their names when all of them are complete.

    Parameters
    ----------
    output : path of the CSV, after which the other formats are named; its folder exists
    settings : `formats`; `precision`, of the CSV alone: "openface" has the decimals that OpenFace writes, "full" six
        everywhere; `columns` and `faces` choose the layout
    work : the work folder, which is its giver's; None makes one for this table alone
    rows : go on after so many rows that are in the work folder; None begins

    Raises
    ------
    OutputError
        The folder cannot be written (also from every method, when the disk is full).
    UsageError
        A format needs a package that is not there.
    """

    def __init__(
        self, output: Path, settings: StageSettings, work: WorkFolder | None = None, rows: int | None = None
    ) -> None:
        self._output = output
        self._settings = settings
        self._layout = Layout.of(settings)
        if "parquet" in settings.formats:
            # Now, so that it loads beside the other workers, and fails before any work is done.
            from auflow.stages.sink.parquet_file import load_pyarrow

            load_pyarrow()
        self._owner = work is None
        self._work = WorkFolder(output) if work is None else work
        self._spool = RowSpool(self._work / "rows", output, self._layout, rows)

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._spool.rows

    @property
    def size(self) -> int:
        """Bytes of the rows so far."""
        return self._spool.size

    def add(self, fit: FaceFit, au: AuFrame) -> None:
        """Append the row of one face of one frame; see `RowSpool.add`."""
        self._spool.add(fit, au)

    def flush(self) -> None:
        """Have all rows so far on the disk."""
        self._spool.flush()

    def finish(self, table: AuTable, provenance: Provenance | None = None, *, interrupted: bool = False) -> Path:
        """`prepare` and `publish`, where there is no other file to wait for; the path that was written."""
        self.prepare(table, provenance)
        path = self.publish(interrupted=interrupted)
        if self._owner:
            self._work.discard()
        return path

    def prepare(self, table: AuTable, provenance: Provenance | None = None) -> None:
        """Write each file, with the values of the offline pass, into the work folder. The rows stay there.

        Parameters
        ----------
        table : one row per row that was added, in order
        provenance : for the formats that have a place for it

        Raises
        ------
        ShapeError
            `table` has another number of rows or columns.
        OutputError
        """
        self._spool.check(table)
        try:
            for form in self._settings.formats:
                with writing(table_path(self._output, form)), (self._work / form).open("wb") as file:
                    self._write(form, file, lambda rows: self._spool.blocks(table, rows), provenance or {})
                    file.flush()
                    os.fsync(file.fileno())
        except BaseException:
            # The rows stay for another attempt; halves of files would only take the room that it needs.
            for form in self._settings.formats:
                with suppress(OSError):
                    (self._work / form).unlink(missing_ok=True)
            raise

    def _write(self, form: Format, file: IO[bytes], blocks: _Blocks, provenance: Provenance) -> None:
        match form:
            case "csv":
                write_csv(file, self._layout, self._settings.precision, blocks)
            case "parquet":
                from auflow.stages.sink.parquet_file import write_parquet

                write_parquet(file, self._layout, provenance, blocks)
            case "jsonl":
                from auflow.stages.sink.json_file import write_json_lines

                write_json_lines(file, self._layout, provenance, blocks)

    def publish(self, *, interrupted: bool = False) -> Path:
        """Give the prepared files their names, NAME.partial.* where the stream did not reach its end.

        Returns
        -------
        the path of the first format, which gets its name last
        """
        for form in reversed(self._settings.formats):
            path = table_path(self._output, form, interrupted=interrupted)
            with writing(path):
                os.replace(self._work / form, path)
        self.close()
        return path

    def close(self) -> None:
        """Leave what is in the work folder; without effect a second time."""
        self._spool.close()

    def discard(self) -> None:
        """Forget all rows and leave no file; without effect after `finish`."""
        self.close()
        if self._owner:
            self._work.discard()
