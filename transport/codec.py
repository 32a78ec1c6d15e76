"""Messages as bytes: `[version, tag, fields]` in msgpack, arrays as an extension type; strict in both directions.

A record is encoded only if it is exactly what its annotations say, and decoded only from bytes of this version with
a known tag, the right number of fields, the right types, and arrays of the declared dtype and shape. Anything else
is a `MessageError` that names the record and the field. There is no pickle.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from auflow.stages import records
from auflow.transport import messages
from auflow.transport.faults import MessageError

__all__ = ["VERSION", "decode", "encode"]

VERSION = 4
_ARRAY_EXT = 1
_DTYPES: dict[bytes, np.dtype[Any]] = {b"f": np.dtype("<f4"), b"d": np.dtype("<f8"), b"B": np.dtype("|u1")}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_MAX_NDIM = 4
_MAX_EMPTY = 1 << 32
_MAX_LIST = 65_536  # of fields, faces, streams: lists within lists could else take far more room than their bytes
_ODD_NAMES = "surrogateescape"  # file names need not be UTF-8, and travel as Python has them

Shape: TypeAlias = tuple[int | None, ...]

# The annotations of the records give no dtype and shape that can be checked at run time: here they are.
_ARRAYS: dict[tuple[type, str], tuple[str, Shape]] = {
    (records.FaceFit, "params_global"): ("<f4", (6,)),
    (records.FaceFit, "params_local"): ("<f4", (34,)),
    (records.FaceFit, "landmarks_px"): ("<f4", (136,)),
    (records.FaceFit, "landmarks_mm"): ("<f4", (204,)),
    (records.FaceFit, "pose"): ("<f8", (6,)),
    (records.FaceFit, "gaze"): ("<f8", (8,)),
    (records.FaceFit, "eyes_px"): ("<f4", (112,)),
    (records.FaceFit, "eyes_mm"): ("<f4", (168,)),
    (records.FaceFit, "visible"): ("|u1", (68,)),
    (records.AuFrame, "intensities"): ("<f8", (len(records.AU_INTENSITIES),)),
    (records.AuFrame, "presences"): ("<f8", (len(records.AU_PRESENCES),)),
    (records.AuFrame, "hog"): ("<f4", (4464,)),
    (records.AuFrame, "aligned"): ("|u1", (112, 112, 3)),
    (records.AuFrame, "online"): ("<f8", (len(records.AU_INTENSITIES),)),
    (records.AuTable, "intensities"): ("<f8", (None, len(records.AU_INTENSITIES))),
    (records.AuTable, "presences"): ("<f8", (None, len(records.AU_PRESENCES))),
    (records.AuTable, "online_difference"): ("<f8", (len(records.AU_INTENSITIES),)),
    (messages.Boxes, "boxes"): ("<f4", (None, 5)),
}

Check: TypeAlias = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    pack: Check
    unpack: Check


def encode(record: object) -> bytes:
    """The bytes of one message record.

    Raises
    ------
    MessageError
        The record is of no known type, or a field is not what the record declares.
    """
    kind = type(record)
    if kind not in _TAGS:
        raise MessageError(f"codec: expected a message record, got {kind.__name__}")
    packed: bytes = msgpack.packb([VERSION, _TAGS[kind], _pack_fields(kind, record)], unicode_errors=_ODD_NAMES)
    return packed


def decode(payload: bytes) -> object:
    """The record behind `payload`; arrays in it are writable copies.

    Raises
    ------
    MessageError
        Not one whole, valid message of this version.
    """
    try:
        message = msgpack.unpackb(
            payload, use_list=True, unicode_errors=_ODD_NAMES, max_array_len=_MAX_LIST, max_map_len=0
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        # Not the error's own text: it may hold the whole of what was sent.
        raise MessageError(
            f"codec: expected a message, got {len(payload)} bytes that are none: {type(error).__name__}"
        ) from None
    if not isinstance(message, list) or len(message) != 3:
        raise MessageError(f"codec: expected [version, tag, fields], got {type(message).__name__}")
    version, tag, fields = message
    if type(version) is not int or version != VERSION:
        shown = version if type(version) is int else type(version).__name__
        raise MessageError(f"codec: expected version {VERSION}, got {shown}; are two releases of auflow mixed?")
    if type(tag) is not str or tag not in _KINDS:
        shown = tag[:40] if type(tag) is str else type(tag).__name__
        raise MessageError(f"codec: expected a known message type, got {shown!r}")
    return _unpack_fields(_KINDS[tag], fields, tag)


def _pack_fields(kind: type, record: object) -> list[Any]:
    return [field.pack(getattr(record, field.name)) for field in _FIELDS[kind]]


def _unpack_fields(kind: type, values: Any, where: str) -> Any:
    fields = _FIELDS[kind]
    if not isinstance(values, list) or len(values) != len(fields):
        count = f"{len(values)}" if isinstance(values, list) else type(values).__name__
        raise MessageError(f"codec: {where}: expected {len(fields)} fields, got {count}")
    return kind(*[field.unpack(value) for field, value in zip(fields, values, strict=True)])


# Arrays: an extension whose header is dtype, number of dimensions, sides. For a shape without a free side the header
# is known beforehand, and one comparison checks it.


def _header(dtype: np.dtype[Any], shape: Sequence[int]) -> bytes:
    return struct.pack(f"<cB{len(shape)}I", _CODES[dtype], len(shape), *shape)


def _pack_array(dtype: np.dtype[Any], shape: Shape, where: str) -> Check:
    def pack(value: Any) -> msgpack.ExtType:
        _check_array(value, dtype, shape, where)
        return msgpack.ExtType(_ARRAY_EXT, _header(dtype, value.shape) + value.tobytes())

    def pack_known(value: Any) -> msgpack.ExtType:
        if type(value) is not np.ndarray or value.shape != shape or value.dtype != dtype:
            _check_array(value, dtype, shape, where)
        return msgpack.ExtType(_ARRAY_EXT, header + value.tobytes())

    if None in shape:
        return pack
    header = _header(dtype, typing.cast(tuple[int, ...], shape))
    return pack_known


def _unpack_array(dtype: np.dtype[Any], shape: Shape, where: str) -> Check:
    def unpack(value: Any) -> NDArray[Any]:
        array = _array_of(value) if isinstance(value, msgpack.ExtType) else value
        _check_array(array, dtype, shape, where)
        return typing.cast(NDArray[Any], array)

    def unpack_known(value: Any) -> NDArray[Any]:
        if type(value) is msgpack.ExtType and value.code == _ARRAY_EXT:
            data = value.data
            if len(data) == size and data.startswith(header):
                return np.frombuffer(data, dtype, offset=len(header)).reshape(sides).copy()
        return unpack(value)

    if None in shape:
        return unpack
    sides = typing.cast(tuple[int, ...], shape)
    header = _header(dtype, sides)
    size = len(header) + math.prod(sides) * dtype.itemsize
    return unpack_known


def _check_array(value: Any, dtype: np.dtype[Any], shape: Shape, where: str) -> None:
    wanted = f"{tuple('k' if side is None else side for side in shape)} {dtype.name}"
    if not isinstance(value, np.ndarray):
        raise MessageError(f"codec: {where}: expected an array {wanted}, got {type(value).__name__}")
    fits = value.ndim == len(shape) and all(
        side is None or side == got for side, got in zip(shape, value.shape, strict=True)
    )
    if not fits or value.dtype != dtype:
        raise MessageError(f"codec: {where}: expected {wanted}, got {value.shape} {value.dtype.name}")


def _array_of(extension: msgpack.ExtType) -> NDArray[Any]:
    code, data = extension
    if code != _ARRAY_EXT or len(data) < 2:
        raise MessageError(f"codec: expected an array extension, got type {code} of {len(data)} bytes")
    dtype, ndim = _DTYPES.get(data[:1]), data[1]
    at = 2 + 4 * ndim
    if dtype is None or ndim > _MAX_NDIM or len(data) < at:
        raise MessageError(f"codec: expected an array header, got {data[:16]!r}")
    shape: tuple[int, ...] = struct.unpack_from(f"<{ndim}I", data, 2)
    size = math.prod(shape) * dtype.itemsize  # Python's integers: a product beyond 64 bits does not wrap to a small one
    # No element at all: its sides may be any numbers, also ones that NumPy cannot take.
    if len(data) - at != size or (size == 0 and math.prod(side or 1 for side in shape) > _MAX_EMPTY):
        raise MessageError(f"codec: array {shape} {dtype.name}: expected {size} bytes, got {len(data) - at}")
    return np.frombuffer(data, dtype, offset=at).reshape(shape).copy()


# Scalars and records


def _exact(kind: type, where: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise MessageError(f"codec: {where}: expected {kind.__name__}, got {type(value).__name__}")
        return value

    return check


def _number(where: str) -> Check:
    def check(value: Any) -> float:
        # What type checkers take for a float: also an int and, out of an array, NumPy's own. A bool is a mistake.
        if not isinstance(value, float | int | np.floating) or isinstance(value, bool):
            raise MessageError(f"codec: {where}: expected float, got {type(value).__name__}")
        return float(value)

    return check


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _each(kind: type[list[Any]] | type[tuple[Any, ...]], into: Callable[[Any], Any], check: Check, where: str) -> Check:
    def convert(values: Any) -> Any:
        if type(values) is not kind:
            raise MessageError(f"codec: {where}: expected {kind.__name__}, got {type(values).__name__}")
        return into(check(value) for value in values)

    return convert


def _record_pack(kind: type, where: str) -> Check:
    def pack(value: Any) -> list[Any]:
        if type(value) is not kind:
            raise MessageError(f"codec: {where}: expected {kind.__name__}, got {type(value).__name__}")
        return _pack_fields(kind, value)

    return pack


def _checks(owner: type, name: str, annotation: Any) -> tuple[Check, Check]:
    """How one field is packed and unpacked."""
    where = f"{owner.__name__}.{name}"
    if (owner, name) in _ARRAYS:
        code, shape = _ARRAYS[owner, name]
        pack, unpack = _pack_array(np.dtype(code), shape, where), _unpack_array(np.dtype(code), shape, where)
        optional = type(None) in typing.get_args(annotation)
        return (_optional(pack), _optional(unpack)) if optional else (pack, unpack)
    if typing.get_origin(annotation) is tuple:
        item, _ = typing.get_args(annotation)  # tuple[X, ...]
        pack, unpack = _checks(owner, name, item)
        return _each(tuple, list, pack, where), _each(list, tuple, unpack, where)
    if isinstance(annotation, types.UnionType):
        (inner,) = (option for option in typing.get_args(annotation) if option is not type(None))
        pack, unpack = _checks(owner, name, inner)
        return _optional(pack), _optional(unpack)
    if annotation is float:
        return _number(where), _exact(float, where)
    if annotation in (int, str, bool, bytes):
        return _exact(annotation, where), _exact(annotation, where)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        kind = annotation
        _describe(kind)
        return _record_pack(kind, where), lambda values: _unpack_fields(kind, values, where)
    raise TypeError(f"{where}: {annotation!r} cannot travel in a message: give its dtype and shape in _ARRAYS")


def _describe(kind: type) -> None:
    if kind in _FIELDS:
        return
    hints = typing.get_type_hints(kind)
    _FIELDS[kind] = tuple(
        _Field(field.name, *_checks(kind, field.name, hints[field.name])) for field in dataclasses.fields(kind)
    )


def _known(names: Sequence[str]) -> dict[str, type]:
    kinds: dict[str, type] = {name: getattr(messages, name) for name in names}
    for kind in kinds.values():
        _describe(kind)
    return kinds


_FIELDS: dict[type, tuple[_Field, ...]] = {}
_KINDS = _known(messages.__all__)
_TAGS = {kind: tag for tag, kind in _KINDS.items()}
