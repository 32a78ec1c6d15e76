"""Reads a saved Core ML package back: its program, operation by operation, and its weights.

The program is a protocol buffer, read by the classes that come with coremltools. The file of the weights is read here
by itself, not by the library that has written it: a header of 64 bytes, then for each array a record of 64 bytes
(mark, type, size, offset) and its bytes, all little-endian.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.coreml.tools import coremltools

__all__ = ["Constant", "Operation", "Package", "read_package", "tell"]

Constant: TypeAlias = NDArray[Any] | str

_MARK = 0xDEADBEEF  # before each array in the file of the weights
_VERSION = 2
_BLOB_TYPES = {1: "float16", 2: "float32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 14: "int32"}
_PLACES = {"author": "author", "license": "license", "version": "versionString",
           "short_description": "shortDescription"}  # fmt: skip
_TYPES = {1: "bool", 2: "string", 10: "float16", 11: "float32", 21: "int8", 22: "int16", 23: "int32", 31: "uint8",
          32: "uint16"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a program; a constant's has no inputs."""

    kind: str  # "conv"
    inputs: Mapping[str, tuple[str, ...]]  # by parameter: names of values, several where it takes a list
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]  # of the outputs


@dataclass(frozen=True, slots=True)
class Package:
    """What a saved package has in it."""

    path: Path
    inputs: Mapping[
        str, tuple[str, tuple[tuple[int, int, int], ...]]
    ]  # dtype, and the least, usual and most of each side
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...] = field(repr=False)  # but for constants, in order
    constants: Mapping[str, Constant] = field(repr=False)
    metadata: Mapping[str, str]
    program_sha256: str  # of program and weights, whatever the metadata say

    @property
    def kinds(self) -> dict[str, int]:
        """How often each kind of operation is used."""
        kinds: dict[str, int] = {}
        for operation in self.operations:
            kinds[operation.kind] = kinds.get(operation.kind, 0) + 1
        return kinds


def read_package(path: Path) -> Package:
    """Read an .mlpackage.

    Raises
    ------
    ModelError
        It is none, or damaged: a file is missing or cut short, or the weights are not where the program says.
    BackendError
        coremltools is not installed.
    """
    file = _model_file(path)
    spec = _specification(path, file)
    if "main" not in spec.mlProgram.functions:
        raise ModelError(f"{path}: expected an ML program with the function main")
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    weights = _Weights(path, file.parent)
    constants: dict[str, Constant] = {}
    operations = []
    for each in block.operations:
        if each.type == "const":
            constants[each.outputs[0].name] = weights.value(each.attributes["val"])
        else:
            operations.append(_operation(each, constants, weights))
    digest = hashlib.sha256(spec.mlProgram.SerializeToString(deterministic=True) + weights.content)
    told = spec.description.metadata
    metadata = {key: getattr(told, place) for key, place in _PLACES.items()}
    return Package(
        path,
        {each.name: _input(each) for each in spec.description.input},
        tuple(block.outputs),
        tuple(operations),
        constants,
        {**told.userDefined, **metadata},
        digest.hexdigest(),
    )


def tell(path: Path, metadata: Mapping[str, str]) -> None:
    """Write metadata into a package: "author", "license", "version" and "short_description" go to where Core ML has
    places for them, all else to the metadata of its user.

    Raises
    ------
    ModelError
        It is none, or damaged.
    BackendError
        coremltools is not installed.
    """
    file = _model_file(path)
    spec = _specification(path, file)
    told = spec.description.metadata
    for key, text in metadata.items():
        if key in _PLACES:
            setattr(told, _PLACES[key], text)
        else:
            told.userDefined[key] = text
    file.write_bytes(spec.SerializeToString(deterministic=True))


def _specification(path: Path, file: Path) -> Any:
    coremltools()
    from coremltools.proto import Model_pb2
    from google.protobuf.message import DecodeError

    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(_bytes(path, file))
    except DecodeError as error:
        raise ModelError(f"{path}: {file.name} is damaged: {error}") from None
    return spec


def _model_file(path: Path) -> Path:
    try:
        manifest = json.loads(_bytes(path, path / "Manifest.json"))
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        return path / "Data" / str(entry)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: Manifest.json is damaged: {error}") from None


def _bytes(path: Path, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: no whole .mlpackage: {file.name} cannot be read: {error.strerror}") from None


def _input(each: Any) -> tuple[str, tuple[tuple[int, int, int], ...]]:
    array = each.type.multiArrayType
    dtype = {65568: "float32", 65552: "float16", 131104: "int32"}.get(array.dataType, str(array.dataType))
    if array.WhichOneof("ShapeFlexibility") == "shapeRange":
        ranges = zip(array.shape, array.shapeRange.sizeRanges, strict=True)
        return dtype, tuple((side.lowerBound, usual, side.upperBound) for usual, side in ranges)
    return dtype, tuple((side, side, side) for side in array.shape)


def _operation(each: Any, constants: dict[str, Constant], weights: _Weights) -> Operation:
    inputs = {}
    for parameter, argument in each.inputs.items():
        names = []
        for number, bound in enumerate(argument.arguments):
            if bound.WhichOneof("binding") == "name":
                names.append(bound.name)
            else:  # a value in the place of a name
                names.append(f"{each.outputs[0].name}/{parameter}/{number}")
                constants[names[-1]] = weights.value(bound.value)
        inputs[parameter] = tuple(names)
    if each.blocks:
        raise ModelError(f"operation {each.type}: expected none with blocks inside")
    dtypes = tuple(_TYPES.get(out.type.tensorType.dataType, "unknown") for out in each.outputs)
    return Operation(each.type, inputs, tuple(out.name for out in each.outputs), dtypes)


class _Weights:
    """The constants of a program, those in its file of weights too."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        file = folder / "weights" / "weight.bin"
        self.content = _bytes(path, file) if file.exists() else b""

    def value(self, value: Any) -> Constant:
        """One constant of the program."""
        kind = value.type.tensorType
        dtype = _TYPES.get(kind.dataType)
        if dtype is None:
            raise ModelError(f"{self._path}: a constant is of type {kind.dataType}, which is not known here")
        shape = tuple(side.constant.size for side in kind.dimensions)
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue.offset, dtype, shape)
        tensor = value.immediateValue.tensor
        held = tensor.WhichOneof("value")
        if dtype == "string":
            return str(tensor.strings.values[0])
        if held == "bytes":
            return self._shaped(np.frombuffer(tensor.bytes.values, dtype), shape)
        return self._shaped(np.array(getattr(tensor, held).values if held else [], dtype), shape)

    def _blob(self, offset: int, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if len(self.content) < offset + 64 or struct.unpack_from("<II", self.content)[1] != _VERSION:
            raise ModelError(f"{self._path}: weight.bin is cut short or of another version: no record at {offset}")
        mark, kind, size, start = struct.unpack_from("<IIQQ", self.content, offset)
        if mark != _MARK or _BLOB_TYPES.get(kind) != dtype:
            raise ModelError(f"{self._path}: weight.bin is damaged: expected an array of {dtype} at {offset}")
        if start + size > len(self.content) or size != math.prod(shape) * np.dtype(dtype).itemsize:
            raise ModelError(f"{self._path}: weight.bin is cut short, or another size: {size} bytes at {start}")
        return self._shaped(np.frombuffer(self.content, np.dtype(dtype), math.prod(shape), start), shape)

    def _shaped(self, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if values.size != math.prod(shape):
            raise ModelError(f"{self._path}: a constant has {values.size} numbers, its shape is {shape}")
        return values.reshape(shape)
