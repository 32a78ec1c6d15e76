"""Writes the small part of ONNX's format that MTCNN needs, without the package `onnx`: it loads for longer than the
networks do, and takes more memory.

ONNX is protocol buffers: a message is a row of fields, each with its number and its kind. The numbers below are those
of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["model", "node", "tensor", "value_info"]

_VARINT, _BYTES = 0, 2  # kinds of fields
_FLOAT = 1  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType


def node(operator: str, inputs: Sequence[str], output: str, attributes: Mapping[str, int | Sequence[int]]) -> bytes:
    """NodeProto: one operator with one output."""
    text = b"".join(_string(1, name) for name in inputs) + _string(2, output) + _string(4, operator)
    return text + b"".join(_message(5, _attribute(*item)) for item in attributes.items())


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _string(1, name) + _number(3, value) + _number(20, _INT)
    return _string(1, name) + b"".join(_number(8, item) for item in value) + _number(20, _INTS)


def tensor(name: str, values: NDArray[np.float32]) -> bytes:
    """TensorProto: constants of any shape."""
    dims = b"".join(_number(1, side) for side in values.shape)
    return dims + _number(2, _FLOAT) + _string(8, name) + _message(9, values.astype("<f4").tobytes())


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    """ValueInfoProto: a float32 input or output; sides that are not known have a name."""
    sides = [_number(1, side) if isinstance(side, int) else _string(2, side) for side in shape]
    tensor_type = _number(1, _FLOAT) + _message(2, b"".join(_message(1, side) for side in sides))
    return _string(1, name) + _message(2, _message(1, tensor_type))


def model(
    name: str,
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    values: tuple[bytes, bytes],
    *,
    ir_version: int,
    opset: int,
) -> bytes:
    """ModelProto of a graph: its nodes in order, its constants, its (input, output)."""
    graph = b"".join(_message(1, item) for item in nodes) + _string(2, name)
    graph += b"".join(_message(5, item) for item in constants) + _message(11, values[0]) + _message(12, values[1])
    return _number(1, ir_version) + _string(2, "auflow") + _message(7, graph) + _message(8, _number(2, opset))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _string(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
