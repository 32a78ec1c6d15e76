"""Computes a saved Core ML program in NumPy: a check that needs no Mac.

Each operation is computed from the program's own constants, as MIL defines it. An operation or a parameter that is not
known here is an error, never passed over. What is declared float16 is rounded to float16 after each operation; within
one (the sums of a convolution or a product) numbers are float32. What Apple's units do within an operation is not
known: some add in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from auflow.errors import BackendError, ShapeError
from auflow.models.coreml.package import Constant, Operation, Package

__all__ = ["compute"]

_Array: TypeAlias = NDArray[Any]
_CASTS = {"fp16": "float16", "fp32": "float32", "int32": "int32", "bool": "bool"}


def compute(package: Package, inputs: Mapping[str, _Array]) -> dict[str, _Array]:
    """The outputs of a program.

    Parameters
    ----------
    package : as it was saved
    inputs : of each input its array, of the dtype and within the sizes that the package states

    Raises
    ------
    BackendError
        The program has an operation, or a parameter of one, that is not known here.
    ShapeError
        An input is not what the package states.
    """
    _check_inputs(package, inputs)
    values: dict[str, Constant] = {**package.constants, **inputs}
    for operation in package.operations:
        function = _FUNCTIONS.get(operation.kind)
        if function is None:
            raise BackendError(f"{package.path.name}: the operation {operation.kind} is not known to the interpreter")
        result = function(**_arguments(package, operation, function, values))
        # Too large for half precision is infinite, as on any device: it shows in the outputs.
        with np.errstate(over="ignore"):
            values[operation.outputs[0]] = result.astype(operation.dtypes[0])
    return {name: np.asarray(values[name]) for name in package.outputs}


def _check_inputs(package: Package, inputs: Mapping[str, _Array]) -> None:
    if inputs.keys() != package.inputs.keys():
        raise ShapeError(f"{package.path.name}: expected the inputs {list(package.inputs)}, got {list(inputs)}")
    for name, (dtype, sides) in package.inputs.items():
        array = inputs[name]
        fits = array.ndim == len(sides) and all(a <= n <= b for n, (a, _, b) in zip(array.shape, sides, strict=True))
        if array.dtype != dtype or not fits:
            raise ShapeError(f"{package.path.name}: {name}: expected {dtype} {sides}, got {array.dtype} {array.shape}")


def _arguments(
    package: Package, operation: Operation, function: Callable[..., _Array], values: Mapping[str, Constant]
) -> dict[str, Any]:
    """By the names of the parameters; half precision as float32, for the sums within an operation."""
    known = function.__annotations__
    arguments: dict[str, Any] = {}
    for parameter, names in operation.inputs.items():
        if parameter not in known:
            raise BackendError(f"{package.path.name}: {operation.kind} has a parameter {parameter} that is not known")
        given = [_widened(values[name]) for name in names]
        arguments[parameter] = given if parameter == "values" else given[0]
    return arguments


def _widened(value: Constant) -> Constant:
    return value if isinstance(value, str) or value.dtype != np.float16 else value.astype(np.float32)


def _refuse_padding(kind: str, pad_type: str, pad: _Array) -> None:
    if pad_type != "valid" or pad.any():
        raise BackendError(f"{kind} with padding {pad_type} {pad.tolist()} is not known to the interpreter")


def _conv(
    x: _Array,
    weight: _Array,
    bias: _Array,
    strides: _Array,
    pad_type: str,
    pad: _Array,
    dilations: _Array,
    groups: _Array,
) -> _Array:
    _refuse_padding("conv", pad_type, pad)
    if groups != 1 or (dilations != 1).any():
        raise BackendError(f"conv with groups {groups}, dilations {dilations} is not known to the interpreter")
    windows = sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, :: strides[0], :: strides[1]]
    maps = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))  # (n, rows, columns, kernels)
    return (maps + bias).transpose(0, 3, 1, 2)


def _max_pool(
    x: _Array, kernel_sizes: _Array, strides: _Array, pad_type: str, pad: _Array, ceil_mode: _Array
) -> _Array:
    _refuse_padding("max_pool", pad_type, pad)
    if not ceil_mode:
        raise BackendError("max_pool that leaves pixels out (ceil_mode false) is not known to the interpreter")
    # The last window may hang over the edge: what lies beyond is below all.
    size, stride = kernel_sizes.tolist(), strides.tolist()
    beyond = [-(side - k) % step for side, k, step in zip(x.shape[2:], size, stride, strict=True)]
    wide = np.pad(x, ((0, 0), (0, 0), (0, beyond[0]), (0, beyond[1])), constant_values=-np.inf)
    rows, columns = (side - k + 1 for side, k in zip(wide.shape[2:], size, strict=True))
    parts = [
        wide[:, :, row : row + rows : stride[0], column : column + columns : stride[1]]
        for row, column in np.ndindex(*size)
    ]
    return reduce(np.maximum, parts)


def _prelu(x: _Array, alpha: _Array) -> _Array:
    return np.where(x > 0, x, x * alpha.reshape(-1, *(1,) * (x.ndim - 2)))


def _linear(x: _Array, weight: _Array, bias: _Array) -> _Array:
    out: _Array = x @ weight.T + bias
    return out


def _matmul(x: _Array, y: _Array, transpose_x: _Array, transpose_y: _Array) -> _Array:
    out: _Array = (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)
    return out


def _cast(x: _Array, dtype: str) -> _Array:
    if dtype not in _CASTS:
        raise BackendError(f"cast to {dtype} is not known to the interpreter")
    with np.errstate(over="ignore"):
        return x.astype(_CASTS[dtype])


def _sigmoid(x: _Array) -> _Array:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _identity(x: _Array) -> _Array:
    return x


def _select(cond: _Array, a: _Array, b: _Array) -> _Array:
    return np.where(cond, a, b)


def _transpose(x: _Array, perm: _Array) -> _Array:
    return x.transpose(perm.tolist())


def _reshape(x: _Array, shape: _Array) -> _Array:
    if (shape == 0).any():
        raise BackendError("reshape with sides of 0 is not known to the interpreter")
    return x.reshape(shape.tolist())


def _expand_dims(x: _Array, axes: _Array) -> _Array:
    return np.expand_dims(x, tuple(axes.tolist()))


def _squeeze(x: _Array, axes: _Array) -> _Array:
    return np.squeeze(x, tuple(axes.tolist()))


def _gather(x: _Array, indices: _Array, axis: _Array, batch_dims: _Array) -> _Array:
    if batch_dims != 0:
        raise BackendError("gather over a batch is not known to the interpreter")
    return np.take(x, indices, axis=int(axis))


def _concat(values: list[_Array], axis: _Array, interleave: _Array) -> _Array:
    if interleave:
        raise BackendError("concat that interleaves is not known to the interpreter")
    return np.concatenate(values, axis=int(axis))


def _slice_by_index(x: _Array, begin: _Array, end: _Array, begin_mask: _Array, end_mask: _Array) -> _Array:
    parts = zip(begin.tolist(), end.tolist(), begin_mask, end_mask, strict=True)
    part: _Array = x[tuple(slice(None if all_before else a, None if all_after else b)
                           for a, b, all_before, all_after in parts)]  # fmt: skip
    return part


def _unary(function: Callable[[_Array], _Array]) -> Callable[..., _Array]:
    def operation(x: _Array) -> _Array:
        return function(x)

    return operation


def _binary(function: Callable[[_Array, _Array], _Array]) -> Callable[..., _Array]:
    def operation(x: _Array, y: _Array) -> _Array:
        return function(x, y)

    return operation


def _reduction(function: Callable[..., Any]) -> Callable[..., _Array]:
    def operation(x: _Array, axes: _Array, keep_dims: _Array) -> _Array:
        return np.asarray(function(x, axis=tuple(axes.tolist()), keepdims=bool(keep_dims)))

    return operation


_FUNCTIONS: dict[str, Callable[..., _Array]] = {
    "conv": _conv, "max_pool": _max_pool, "prelu": _prelu, "linear": _linear, "matmul": _matmul, "cast": _cast,
    "sigmoid": _sigmoid, "identity": _identity, "select": _select, "transpose": _transpose, "reshape": _reshape,
    "expand_dims": _expand_dims, "squeeze": _squeeze, "gather": _gather, "concat": _concat,
    "slice_by_index": _slice_by_index,
    "relu": _unary(lambda x: np.maximum(x, 0)), "sqrt": _unary(np.sqrt), "exp": _unary(np.exp),
    "add": _binary(np.add), "sub": _binary(np.subtract), "mul": _binary(np.multiply), "real_div": _binary(np.divide),
    "minimum": _binary(np.minimum), "maximum": _binary(np.maximum),
    "greater": _binary(np.greater), "equal": _binary(np.equal),
    "reduce_min": _reduction(np.min), "reduce_mean": _reduction(np.mean), "reduce_sum": _reduction(np.sum),
}  # fmt: skip
