"""The columns of a table that pictures need: of a CSV of auflow or OpenFace, or of a Parquet file of auflow."""

from __future__ import annotations

import csv
import gzip
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, UsageError

__all__ = ["Columns", "read_columns"]

Columns = dict[str, NDArray[np.float64]]

ADVICE = "give one that `auflow run` or OpenFace has written"
_DAMAGED = "the file is damaged or was cut off; write it again"


def read_columns(path: Path, wanted: Callable[[str], bool]) -> Columns:
    """The columns whose names are wanted, each (rows,); NaN where a cell is empty.

    Raises
    ------
    InputError
        It cannot be read, or is no table of numbers.
    UsageError
        A Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() == ".parquet":
        return _of_parquet(path, wanted)
    try:
        with _open(path) as file:
            return _of_csv(csv.reader(file), path, wanted)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path}: cannot be read: {reason}; {ADVICE}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV of numbers ({error}); {ADVICE}") from error


def _open(path: Path) -> TextIO:
    # utf-8-sig: a spreadsheet may have put a byte order mark before the first name.
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _of_csv(rows: Iterator[list[str]], path: Path, wanted: Callable[[str], bool]) -> Columns:
    names = [name.strip() for name in next(rows, [])]
    places = [place for place, name in enumerate(names) if wanted(name)]
    data = array("d")  # not a list: an hour of video is millions of numbers
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(names):
            raise InputError(f"{path}: line {line} has {len(row)} values, its header {len(names)} names: {_DAMAGED}")
        data.extend([float(row[place]) if row[place].strip() else np.nan for place in places])
    values = np.frombuffer(data, dtype=np.float64).reshape(-1, max(len(places), 1))
    return {names[place]: values[:, column] for column, place in enumerate(places)}


def _of_parquet(path: Path, wanted: Callable[[str], bool]) -> Columns:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("reading Parquet needs pyarrow: install it with `pip install 'auflow[parquet]'`") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if wanted(name)]
            found: Any = file.read(names)
            return {name: np.asarray(found[name].to_numpy(), dtype=np.float64) for name in names}
    except (OSError, pyarrow.ArrowException, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path}: cannot be read as Parquet: {reason}; {ADVICE}") from error
