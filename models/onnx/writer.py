"""Writes the small part of ONNX's format that our graphs need, without the package `onnx`: it loads for longer than the
networks do, and takes more memory.

ONNX is protocol buffers: a message is a row of fields, each with its number and its kind. The numbers below are those
of onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["DTYPES", "Attribute", "Dtype", "model", "node", "tensor", "value_info"]

Dtype = Literal["float32", "uint8", "int8", "int32", "int64", "bool"]
Attribute: TypeAlias = int | float | Sequence[int]

_VARINT, _BYTES, _FOUR_BYTES = 0, 2, 5  # kinds of fields
DTYPES: dict[Dtype, int] = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}  # of TensorProto
_FLOAT, _INT, _INTS = 1, 2, 7  # AttributeProto.AttributeType


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Attribute]) -> bytes:
    """NodeProto: one operator; an input that is left out is ""."""
    text = b"".join(_string(1, name) for name in inputs) + b"".join(_string(2, name) for name in outputs)
    return text + _string(4, operator) + b"".join(_message(5, _attribute(*item)) for item in attributes.items())


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, float):
        return _string(1, name) + _varint(2 << 3 | _FOUR_BYTES) + struct.pack("<f", value) + _number(20, _FLOAT)
    if isinstance(value, int):
        return _string(1, name) + _number(3, value) + _number(20, _INT)
    return _string(1, name) + b"".join(_number(8, item) for item in value) + _number(20, _INTS)


def tensor(name: str, values: NDArray[Any]) -> bytes:
    """TensorProto: constants of any shape, of one of `DTYPES`."""
    dims = b"".join(_number(1, side) for side in values.shape)
    kind = DTYPES[cast(Dtype, values.dtype.name)]
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return dims + _number(2, kind) + _string(8, name) + _message(9, little.tobytes())


def value_info(name: str, shape: Sequence[int | str], dtype: Dtype = "float32") -> bytes:
    """ValueInfoProto: an input or output; sides that are not known have a name."""
    sides = [_number(1, side) if isinstance(side, int) else _string(2, side) for side in shape]
    tensor_type = _number(1, DTYPES[dtype]) + _message(2, b"".join(_message(1, side) for side in sides))
    return _string(1, name) + _message(2, _message(1, tensor_type))


def model(
    name: str,
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    values: tuple[Sequence[bytes], Sequence[bytes]],
    *,
    ir_version: int,
    opset: int,
    metadata: Mapping[str, str],
) -> bytes:
    """ModelProto of a graph: its nodes in order, its constants, its (inputs, outputs), and what is said of it."""
    graph = b"".join(_message(1, item) for item in nodes) + _string(2, name)
    graph += b"".join(_message(5, item) for item in constants)
    graph += b"".join(_message(11, item) for item in values[0]) + b"".join(_message(12, item) for item in values[1])
    told = b"".join(_message(14, _string(1, key) + _string(2, value)) for key, value in metadata.items())
    return _number(1, ir_version) + _string(2, "auflow") + _message(7, graph) + _message(8, _number(2, opset)) + told


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _string(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow. Below zero: as 64 bits."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
