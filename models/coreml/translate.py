"""From an ONNX graph to a Core ML program (MIL, "ML Program"), and that into a package on the disk.

One translator serves the files that `auflow models export coreml` writes and the backend `coreml`. It knows the
operators that our graphs have, with the attributes that they use; any other is an error that names it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.errors import BackendError
from auflow.models.coreml.prelu import find_prelus
from auflow.models.coreml.tools import coremltools, quiet
from auflow.models.onnx.graph import Node, OnnxModel

__all__ = ["TARGET", "Precision", "Sides", "write_package"]

TARGET = "macOS13"  # the oldest that takes the packages, with iOS 16 and tvOS 16
Precision: TypeAlias = Literal["float16", "float32"]
Sides: TypeAlias = Mapping[str, int | tuple[int, int, int]]  # of a named side its size, or the least, usual and most

_INPUTS = {"float32": "fp32", "int32": "int32", "int64": "int32", "uint8": "int32", "int8": "int32"}  # as given
_CASTS = {1: "fp32", 6: "int32", 7: "int32", 9: "bool"}  # by TensorProto's number of the type
_UNARY = {"Relu": "relu", "Sigmoid": "sigmoid", "Sqrt": "sqrt", "Exp": "exp", "Identity": "identity"}
_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "real_div", "Min": "minimum", "Max": "maximum",
    "Greater": "greater", "Equal": "equal", "MatMul": "matmul",
}  # fmt: skip
_REDUCTIONS = {"ReduceMin": "reduce_min", "ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum"}


def write_package(model: OnnxModel, path: Path, *, sides: Sides, precision: Precision) -> None:
    """Write a graph as an .mlpackage.

    Inputs and outputs keep their names and are float32 whatever the precision inside; integers are int32, the only
    ones that Core ML's arrays have.

    Parameters
    ----------
    model : the graph
    path : of the package, NAME.mlpackage, a folder; one that is there is replaced
    sides : of each named side of the inputs
    precision : of the weights and of all that lies between inputs and outputs

    Raises
    ------
    BackendError
        coremltools is not installed, or the graph has an operator that is not known here.
    """
    tools = coremltools()
    with quiet():
        package = tools.convert(
            _program(model, sides),
            source="milinternal",
            convert_to="mlprogram",
            inputs=[_tensor_type(value.name, value.shape, sides) for value in model.inputs],
            minimum_deployment_target=getattr(tools.target, TARGET),
            compute_precision=getattr(tools.precision, precision.upper()),
            compute_units=tools.ComputeUnit.ALL,
            skip_model_load=True,
        )
    try:
        package.save(str(path))
    finally:  # else it lies there until this process ends
        shutil.rmtree(package.package_path, ignore_errors=True)


def _tensor_type(name: str, shape: Sequence[int | str], sides: Sides) -> Any:
    tools = coremltools()
    out = []
    for side in shape:
        size = side if isinstance(side, int) else sides[side]
        out.append(size if isinstance(size, int) else tools.RangeDim(size[0], size[2], default=size[1]))
    return tools.TensorType(name=name, shape=tuple(out))


def _program(model: OnnxModel, sides: Sides) -> Any:
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, get_new_symbol, types

    symbols: dict[str, Any] = {}

    def side_of(side: int | str) -> Any:
        size = side if isinstance(side, int) else sides[side]
        if isinstance(size, int):
            return size
        assert isinstance(side, str)
        return symbols.setdefault(side, get_new_symbol())

    inputs = {
        value.name: mb.placeholder(
            shape=[side_of(side) for side in value.shape], dtype=getattr(types, _INPUTS[value.dtype]), name=value.name
        )
        for value in model.inputs
    }
    program = Program()
    with Function(inputs, opset_version=getattr(coremltools().target, TARGET)) as function:
        translation = _Translation(mb, model.name, {**model.constants, **function.inputs})
        prelus = find_prelus(model)
        for node in model.nodes:
            if prelu := prelus.get(node.outputs[0]):
                translation.prelu(prelu.x, prelu.slopes, node.outputs[0])
            elif not any(node.outputs[0] in each.inner for each in prelus.values()):
                translation.add(node)
        function.set_outputs([translation.values[value.name] for value in model.outputs])
        program.add_function("main", function)
    return program


@dataclass(slots=True)
class _Translation:
    """A program in the making."""

    mb: Any  # coremltools' builder
    name: str  # of the graph
    values: dict[str, Any]  # by their names in the graph: arrays, and what the builder has given

    def add(self, node: Node) -> None:
        """Translate one node."""
        attributes = dict(node.attributes)
        inputs = [self._value(name) for name in node.inputs]
        name = node.outputs[0]
        if node.operator in _UNARY:
            out = getattr(self.mb, _UNARY[node.operator])(x=inputs[0], name=name)
        elif node.operator in _BINARY:
            out = getattr(self.mb, _BINARY[node.operator])(x=inputs[0], y=inputs[1], name=name)
        elif node.operator in _OTHERS:
            out = _OTHERS[node.operator](self, inputs, attributes, name)
        else:
            raise BackendError(f"{self.name}: the operator {node.operator} cannot be translated for Core ML yet")
        if attributes:
            raise BackendError(f"{self.name}: {node.operator} with {attributes} cannot be translated for Core ML yet")
        self.values[name] = out

    def prelu(self, x: str, slopes: NDArray[np.float32], name: str) -> None:
        """PReLU of maps (n, c, h, w), or of (n, c): the operator wants maps, so these become maps of one pixel."""
        maps = self.values[x]
        if len(maps.shape) == 4:
            self.values[name] = self.mb.prelu(x=maps, alpha=slopes, name=name)
            return
        maps = self.mb.prelu(x=self.mb.expand_dims(x=maps, axes=[2, 3]), alpha=slopes)
        self.values[name] = self.mb.squeeze(x=maps, axes=[2, 3], name=name)

    def _value(self, name: str) -> Any:
        value = self.values[name]
        if isinstance(value, np.ndarray) and value.dtype == np.int64:
            return value.astype(np.int32)
        return value


Attributes: TypeAlias = dict[str, Any]
_Operator: TypeAlias = Callable[[_Translation, Sequence[Any], Attributes, str], Any]


# Each takes from `attributes` those that it understands; one that is left over is an error.


def _convolution(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    attributes.pop("kernel_shape")
    x, weights, bias = inputs
    strides = list(attributes.pop("strides", (1, 1)))
    return to.mb.conv(x=x, weight=weights, bias=bias, strides=strides, pad_type="valid", name=name)


def _max_pool(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.max_pool(
        x=inputs[0],
        kernel_sizes=list(attributes.pop("kernel_shape")),
        strides=list(attributes.pop("strides")),
        pad_type="valid",
        ceil_mode=bool(attributes.pop("ceil_mode", 0)),
        name=name,
    )


def _gemm(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    x, weights, bias = inputs
    if not attributes.pop("transB", 0):
        weights = np.ascontiguousarray(weights.T)
    return to.mb.linear(x=x, weight=weights, bias=bias, name=name)


def _transpose(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.transpose(x=inputs[0], perm=list(attributes.pop("perm")), name=name)


def _flatten(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    if attributes.pop("axis") != 1:
        raise BackendError(f"{to.name}: Flatten at another axis than 1 cannot be translated for Core ML yet")
    return to.mb.reshape(x=inputs[0], shape=[-1, int(np.prod(inputs[0].shape[1:]))], name=name)


def _reshape(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    x, shape = inputs
    # 0 takes a side over as it is; one that is not known is what the others leave over.
    sides = [x.shape[k] if side == 0 else int(side) for k, side in enumerate(shape)]
    sides = [side if isinstance(side, (int, np.integer)) else -1 for side in sides]
    return to.mb.reshape(x=x, shape=[int(side) for side in sides], name=name)


def _gather(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.gather(x=inputs[0], indices=inputs[1], axis=attributes.pop("axis"), name=name)


def _concat(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.concat(values=list(inputs), axis=attributes.pop("axis"), name=name)


def _where(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.select(cond=inputs[0], a=inputs[1], b=inputs[2], name=name)


def _cast(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.cast(x=inputs[0], dtype=_CASTS[attributes.pop("to")], name=name)


def _reciprocal(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    return to.mb.real_div(x=np.float32(1), y=inputs[0], name=name)


def _slice(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
    x, first, last, axes = inputs
    begin, end = [0] * len(x.shape), [0] * len(x.shape)
    whole = [True] * len(x.shape)
    for start, stop, axis in zip(first.tolist(), last.tolist(), axes.tolist(), strict=True):
        begin[axis], end[axis], whole[axis] = start, stop, False
    return to.mb.slice_by_index(x=x, begin=begin, end=end, begin_mask=whole, end_mask=whole, name=name)


def _reduction(operator: str) -> _Operator:
    def reduce(to: _Translation, inputs: Sequence[Any], attributes: Attributes, name: str) -> Any:
        axes = inputs[1].tolist() if len(inputs) > 1 else list(attributes.pop("axes"))
        keep = bool(attributes.pop("keepdims", 1))
        return getattr(to.mb, operator)(x=inputs[0], axes=axes, keep_dims=keep, name=name)

    return reduce


_OTHERS: dict[str, _Operator] = {
    "Conv": _convolution, "MaxPool": _max_pool, "Gemm": _gemm, "Transpose": _transpose, "Flatten": _flatten,
    "Reshape": _reshape, "Gather": _gather, "Concat": _concat, "Where": _where, "Cast": _cast,
    "Reciprocal": _reciprocal, "Slice": _slice,
    **{operator: _reduction(name) for operator, name in _REDUCTIONS.items()},
}  # fmt: skip
