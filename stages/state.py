"""The state of a stage as bytes and back: what a restart needs to go on as if nothing had happened. There is no pickle.

Layout: magic (8 bytes), SHA-256 of all that follows (32), length of the header (u64), the header as JSON (kind,
version, and of each array its name, dtype and shape), then the arrays, little-endian and C-contiguous. Header and
arrays are padded to 8 bytes each.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.errors import StageError

__all__ = ["Arrays", "StateError", "as_bytes", "field", "pack_state", "unpack_state"]

Arrays: TypeAlias = Mapping[str, NDArray[Any] | np.generic | bytes | bool | int | float]

_MAGIC = b"auflow\x00\x01"
_DIGEST = 32
_LENGTH = struct.Struct("<Q")
_HEAD = len(_MAGIC) + _DIGEST + _LENGTH.size
_DTYPES = {code: np.dtype(code) for code in ("|b1", "|u1", "<u2", "<u4", "<i4", "<i8", "<f4", "<f8")}
_START_AGAIN = "it cannot be gone on from; start from the first frame"


class StateError(StageError):
    """A state that is damaged, of another kind or version, or of a stage with other settings."""


def pack_state(kind: str, version: int, arrays: Arrays) -> bytes:
    """The bytes of a state.

    Parameters
    ----------
    kind, version : what `unpack_state` must be told again
    arrays : by name; numbers are kept as arrays without a side, bytes as (n,) uint8

    Raises
    ------
    StateError
        An array is of a dtype that states do not have.
    """
    described: list[tuple[str, str, tuple[int, ...]]] = []
    parts: list[bytes | memoryview] = []
    for name, value in arrays.items():
        array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
        if array.dtype.str not in _DTYPES:
            raise StateError(f"state {kind}: {name}: expected one of {', '.join(_DTYPES)}, got {array.dtype.str}")
        described.append((name, array.dtype.str, array.shape))
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        parts += [data, _padding(data.nbytes)]
    header = json.dumps({"kind": kind, "version": version, "arrays": described}).encode()
    parts = [_LENGTH.pack(len(header)), header, _padding(len(header)), *parts]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"".join([_MAGIC, digest.digest(), *parts])


def unpack_state(blob: bytes, kind: str, version: int) -> dict[str, NDArray[Any]]:
    """The arrays behind `blob`, as writable copies.

    Raises
    ------
    StateError
        Not one whole, undamaged state of this kind and version.
    """
    if len(blob) < _HEAD or not blob.startswith(_MAGIC):
        raise StateError(f"state: expected one of {kind}, got {len(blob)} bytes that are none; {_START_AGAIN}")
    body = memoryview(blob)[len(_MAGIC) + _DIGEST :]
    if hashlib.sha256(body).digest() != blob[len(_MAGIC) : len(_MAGIC) + _DIGEST]:
        raise StateError(f"state: the check sum of these {len(blob)} bytes is not theirs: damaged; {_START_AGAIN}")
    header, at = _header(body)
    if header.get("kind") != kind or header.get("version") != version:
        raise StateError(
            f"state: expected {kind} of version {version}, got {header.get('kind')} of version "
            f"{header.get('version')}; {_START_AGAIN}"
        )
    return _arrays(header.get("arrays"), body[at:])


def field(arrays: Mapping[str, NDArray[Any]], name: str, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """One array of a state, which must be of this dtype and shape; None in `shape` is any length.

    Raises
    ------
    StateError
    """
    array = arrays.get(name)
    if array is None:
        raise StateError(f"state: expected an array {name}, got {', '.join(arrays) or 'none at all'}; {_START_AGAIN}")
    fits = array.ndim == len(shape) and all(s is None or s == got for s, got in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        sides = ", ".join("k" if side is None else str(side) for side in shape)
        wanted = f"({sides}) {np.dtype(dtype).name}"
        raise StateError(f"state: {name}: expected {wanted}, got {array.shape} {array.dtype.name}; {_START_AGAIN}")
    return array


def as_bytes(arrays: Mapping[str, NDArray[Any]], name: str) -> bytes:
    """What was given as bytes.

    Raises
    ------
    StateError
    """
    return field(arrays, name, np.uint8, (None,)).tobytes()


def _padding(length: int) -> bytes:
    return bytes(-length % 8)


def _header(body: memoryview) -> tuple[dict[str, Any], int]:
    """The header, and where the arrays begin."""
    (length,) = _LENGTH.unpack_from(body)
    end = _LENGTH.size + length
    try:
        header = json.loads(bytes(body[_LENGTH.size : end])) if end <= len(body) else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise StateError(f"state: expected a header of {length} bytes, got something else; {_START_AGAIN}")
    return header, end + -length % 8


def _arrays(described: Any, data: memoryview) -> dict[str, NDArray[Any]]:
    try:
        entries = [(str(name), _DTYPES[code], tuple(int(s) for s in shape)) for name, code, shape in described]
    except (TypeError, ValueError, KeyError) as error:
        raise StateError(f"state: expected a list of arrays, got {error!r}; {_START_AGAIN}") from error
    found = {}
    at = 0
    for name, dtype, shape in entries:
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or at + size > len(data):
            raise StateError(f"state: {name}: expected {size} bytes, got {len(data) - at}; {_START_AGAIN}")
        found[name] = np.frombuffer(data[at : at + size], dtype).reshape(shape).copy()
        at += size + -size % 8
    if at != len(data):
        raise StateError(f"state: expected {at} bytes of arrays, got {len(data)}; {_START_AGAIN}")
    return found
