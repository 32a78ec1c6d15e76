"""The table as Apache Parquet: typed columns with unit and description, and the table's provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, UsageError
from auflow.stages.sink.columns import ColumnGroup, Layout
from auflow.stages.sink.formats import PARQUET_NEEDS
from auflow.stages.sink.meanings import MEANINGS
from auflow.stages.sink.provenance import PARQUET_KEY, Provenance
from auflow.stages.sink.spool import Block

__all__ = ["load_pyarrow", "read_metadata", "write_parquet"]

_ROWS = 4096  # of a row group: 11 MB of numbers with all columns
_LEVEL = 3  # of zstd; more costs time and saves a hundredth
# Narrower than they are computed; the others are just as they are.
_TYPES: dict[str, type[np.generic]] = {
    "index": np.int32,
    "face_id": np.int32,
    "success": np.bool_,
    "presences": np.int8,
}
_COMPARABLE = ("index", "face_id", "timestamp_s", "confidence", "success")  # groups that readers choose rows by


def load_pyarrow() -> Any:
    """The package.

    Raises
    ------
    UsageError
        It is not there, or does not load.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"{PARQUET_NEEDS} ({error})") from error
    return pyarrow


def write_parquet(
    file: IO[bytes], layout: Layout, provenance: Provenance, blocks: Callable[[int], Iterator[Block]]
) -> None:
    """Write the whole file.

    Parameters
    ----------
    file : it goes there
    layout : the columns
    provenance : for the file's metadata
    blocks : all rows, in blocks of so many; each becomes a row group

    Raises
    ------
    OSError
        `file` has taken no more.
    """
    pa = load_pyarrow()
    schema = _schema(pa, layout, provenance)
    writer = pa.parquet.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=_LEVEL,
        # The bytes of floats, by their place in the number: a third smaller, and sooner done, than one after the other.
        use_dictionary=False,
        use_byte_stream_split=[name for group in layout.groups if _is_float(group) for name in group.names],
        write_statistics=[name for group in layout.groups if group.key in _COMPARABLE for name in group.names],
    )
    try:
        for block in blocks(_ROWS):
            writer.write_table(_table(pa, schema, layout, block), row_group_size=_ROWS)
    except BaseException:
        with suppress(OSError):  # there is no room for the end of the file either
            writer.close()
        raise
    writer.close()


def read_metadata(path: Path) -> Mapping[bytes, bytes]:
    """The metadata of a Parquet file, without its columns.

    Raises
    ------
    InputError
        It cannot be read.
    UsageError
        The package is not there.
    """
    pa = load_pyarrow()
    try:
        with path.open("rb") as file:
            found: Mapping[bytes, bytes] = pa.parquet.read_metadata(file).metadata or {}
            return found
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise InputError(f"{path}: is no whole Parquet file; give one that `auflow run` has written") from error


def _schema(pa: Any, layout: Layout, provenance: Provenance) -> Any:
    types = {group.key: pa.from_numpy_dtype(np.dtype(_TYPES.get(group.key, group.dtype))) for group in layout.groups}
    fields = [pa.field(name, types[group.key], metadata=_told(name)) for group in layout.groups for name in group.names]
    text = json.dumps(provenance, allow_nan=False, separators=(",", ":")).encode()
    return pa.schema(fields, metadata={PARQUET_KEY: text})


def _told(name: str) -> dict[str, str]:
    meaning = MEANINGS[name]
    told = {"unit": meaning.unit, "description": meaning.description}
    return {**told, "range": meaning.range} if meaning.range else told


def _is_float(group: ColumnGroup) -> bool:
    return group.key not in _TYPES


def _table(pa: Any, schema: Any, layout: Layout, block: Block) -> Any:
    arrays = [array for group in layout.groups for array in _arrays(pa, group, block[group.key])]
    return pa.table(arrays, schema=schema)


def _arrays(pa: Any, group: ColumnGroup, values: NDArray[Any]) -> Iterator[Any]:
    """The columns (n,) of one group, from its numbers (n, columns).

    Made of their bytes: `pyarrow.array` would load pandas where there is one, for 50 MB and a quarter of a second.
    """
    dtype = np.dtype(_TYPES.get(group.key, group.dtype))
    kind, rows = pa.from_numpy_dtype(dtype), len(values)
    validity: list[NDArray[np.uint8] | None] = [None] * len(group.names)
    if group.key in _TYPES and not np.isfinite(values).all():
        # An integer cannot say that it is no number: nothing stands in its place.
        sound = np.isfinite(values)
        values, validity = np.where(sound, values, 0), [_bits(column) for column in sound.T]
    for column, valid in zip(np.ascontiguousarray(values.T, dtype), validity, strict=True):
        data = _bits(column) if dtype == np.bool_ else column
        buffers = [None if valid is None else pa.py_buffer(valid), pa.py_buffer(data)]
        yield pa.Array.from_buffers(kind, rows, buffers)


def _bits(flags: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(flags, bitorder="little")
