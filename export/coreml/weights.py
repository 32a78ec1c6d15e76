"""Compares the weights of a saved program with those of the model files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.au_heads import AuHeads
from auflow.models.coreml.package import Package
from auflow.models.coreml.translate import Precision
from auflow.models.mtcnn import Convolution, Dense, Layer, MaxPool, PRelu

__all__ = ["Expected", "check_weights", "weights_of_heads", "weights_of_network"]

Expected: TypeAlias = Sequence[tuple[str, NDArray[Any]]]  # what each is, and its numbers, in the program's order

# The parameters of operations that hold weights, in the order of `Expected`.
_WEIGHTS = {"conv": ("weight", "bias"), "linear": ("weight", "bias"), "prelu": ("alpha",), "matmul": ("y",),
            "select": ("a", "b")}  # fmt: skip


def check_weights(package: Package, expected: Expected, precision: Precision) -> float:
    """The largest difference between a weight of the program and that of the model files.

    Raises
    ------
    ModelError
        One is not that of the files, rounded to float32 and then to the precision, bit for bit; there are more or
        fewer; or there are numbers in the program that are no weights.
    """
    used = [
        (f"{operation.kind} {operation.outputs[0]}: {parameter}", operation.inputs[parameter][0])
        for operation in package.operations
        for parameter in _WEIGHTS.get(operation.kind, ())
    ]
    if len(used) != len(expected):
        raise ModelError(f"{package.path.name}: expected {len(expected)} arrays of weights, got {len(used)}")
    largest = 0.0
    for (place, name), (what, wanted) in zip(used, expected, strict=True):
        got = package.constants.get(name)
        rounded = wanted.astype(np.float32).astype(precision)
        if not isinstance(got, np.ndarray) or got.dtype != precision or not np.array_equal(got, rounded):
            raise ModelError(f"{package.path.name}: {place}: expected {what} as the model files have it")
        largest = max(largest, float(np.abs(got.astype(np.float64) - wanted).max()))
    known = {name for _, name in used}
    for name, array in package.constants.items():
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.ndim and name not in known:
            raise ModelError(f"{package.path.name}: {name}: expected no numbers but the weights, got {array.shape}")
    return largest


def weights_of_network(layers: Sequence[Layer], name: str) -> Expected:
    """Of a network of MTCNN; PNet's dense layers are convolutions of one pixel."""
    out: list[tuple[str, NDArray[Any]]] = []
    for number, layer in enumerate(layers):
        match layer:
            case Convolution(weights, bias):
                out += [(f"weights of layer {number}", weights), (f"bias of layer {number}", bias)]
            case Dense(weights, bias):
                maps = weights[:, :, None, None] if name == "PNet" else weights
                out += [(f"weights of layer {number}", maps), (f"bias of layer {number}", bias)]
            case PRelu(slopes):
                out.append((f"slopes of layer {number}", slopes))
            case MaxPool():
                pass
    return out


def weights_of_heads(heads: AuHeads) -> Expected:
    """Of all heads: each set's weights and offsets, the weights of the medians, and the labels of the presences."""
    out: list[tuple[str, NDArray[Any]]] = []
    for kind, of in (("intensities", heads.intensities), ("presences", heads.presences)):
        out += [
            (f"weights of the {kind}", of.weights),
            (f"offsets of the {kind}", of.offsets),
            (f"weights of the {kind}' medians", (of.weights * of.dynamic[:, None]).T),
        ]
    return [*out, ("labels", heads.presences.positive), ("labels", heads.presences.negative)]
