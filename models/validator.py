"""Reader of the CNN landmark validator (`validator_cnn.txt`, binary in spite of its name)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.models.arrays import ArrayReader, frozen
from auflow.models.types import (
    CnnLayer,
    Convolution,
    FullyConnected,
    MaxPooling,
    PiecewiseAffineWarp,
    Relu,
    Validator,
    ValidatorView,
)

__all__ = ["read_validator"]

_CNN = 3
_CONVOLUTION, _MAX_POOLING, _FULLY_CONNECTED, _RELU = range(4)
_MAX_VIEWS = 64
_MAX_LAYERS = 64
_MAX_MAPS = 1024
_MAX_PIXELS = 1 << 20
_MAX_KERNEL = 32


def read_validator(path: Path) -> Validator:
    """The validator: per view a piecewise affine warp, a normalisation and a small CNN.

    Raises
    ------
    ModelError
        where the file is cut short, goes on after its end, or its layers do not fit together
    """
    reader = ArrayReader(path)
    reader.i32("validator type (3 is the CNN)", expect=_CNN)
    views = reader.i32("number of views", low=1, high=_MAX_VIEWS)
    orientations = [reader.mat_f64(f"orientation of view {v}", shape=(3, 1)).reshape(3) for v in range(views)]
    found = tuple(_read_view(reader, orientation, f"view {v}") for v, orientation in enumerate(orientations))
    reader.end()
    return Validator(found)


def _read_view(reader: ArrayReader, orientation_deg: NDArray[np.float64], where: str) -> ValidatorView:
    mean = reader.mat_f64(f"{where}: mean", shape=(1, None)).reshape(-1)
    std = reader.mat_f64(f"{where}: standard deviation", shape=(1, mean.size)).reshape(-1)
    if not (std > 0).all():
        raise reader.fail(f"{where}: standard deviation: expected above 0, got {std.min()}")
    count = reader.i32(f"{where}: number of layers", low=1, high=_MAX_LAYERS)
    layers = tuple(_read_layer(reader, f"{where}, layer {index}") for index in range(count))
    warp = _read_warp(reader, mean.size, where)
    _check_chain(reader, layers, warp.pixel_mask.shape, where)
    return ValidatorView(orientation_deg, mean, std, layers, warp)


def _read_layer(reader: ArrayReader, where: str) -> CnnLayer:
    kind = reader.i32(f"{where}: type", low=_CONVOLUTION, high=_RELU)
    if kind == _MAX_POOLING:
        return MaxPooling()
    if kind == _RELU:
        return Relu()
    if kind == _CONVOLUTION:
        return _read_convolution(reader, where)
    biases = reader.mat_f32(f"{where}: biases", shape=(None, 1)).reshape(-1)
    if not biases.size:
        raise reader.fail(f"{where}: biases: expected at least 1, got 0")
    return FullyConnected(reader.mat_f32(f"{where}: weights", shape=(None, biases.size)), biases)


def _read_convolution(reader: ArrayReader, where: str) -> Convolution:
    inputs = reader.i32(f"{where}: inputs", low=1, high=_MAX_MAPS)
    kernels = reader.i32(f"{where}: kernels", low=1, high=_MAX_MAPS)
    biases = reader.f32s(kernels, f"{where}: biases")
    # Input-major in the file: all kernels of the first input map, then all of the second.
    flat = [reader.mat_f32(f"{where}: kernel {index}") for index in range(inputs * kernels)]
    shapes = {kernel.shape for kernel in flat}
    if len(shapes) != 1 or not 1 <= min(flat[0].shape) <= max(flat[0].shape) <= _MAX_KERNEL:
        raise reader.fail(f"{where}: expected kernels of one size up to {_MAX_KERNEL}, got {sorted(shapes)}")
    stacked = np.stack(flat).reshape(inputs, kernels, *flat[0].shape)
    return Convolution(frozen(stacked.transpose(1, 0, 2, 3)), biases)


def _read_warp(reader: ArrayReader, pixels: int, where: str) -> PiecewiseAffineWarp:
    if not 1 <= pixels <= _MAX_PIXELS:
        raise reader.fail(f"{where}: mean: expected 1 to {_MAX_PIXELS} numbers, got {pixels}")
    reader.i32(f"{where}: pixels of the warp", expect=pixels)
    min_x = reader.f64(f"{where}: min x")
    min_y = reader.f64(f"{where}: min y")
    landmarks = reader.mat_f64(f"{where}: destination landmarks", shape=(None, 1)).reshape(-1)
    triangles = reader.mat_i32(f"{where}: triangles", shape=(None, 3))
    triangle_map = reader.mat_i32(f"{where}: triangle map")
    mask = reader.mat_i32(f"{where}: pixel mask", shape=triangle_map.shape)
    alphas = reader.mat_f64(f"{where}: alphas", shape=triangles.shape)
    betas = reader.mat_f64(f"{where}: betas", shape=triangles.shape)
    if landmarks.size % 2 or not landmarks.size:
        raise reader.fail(f"{where}: destination landmarks: expected 2n numbers, got {landmarks.size}")
    if triangles.size == 0 or triangles.min() < 0 or triangles.max() >= landmarks.size // 2:
        raise reader.fail(f"{where}: triangles: expected landmarks 0 to {landmarks.size // 2 - 1}, got others")
    if not np.isin(mask, (0, 1)).all() or np.count_nonzero(mask) != pixels:
        raise reader.fail(f"{where}: pixel mask: expected 0 and {pixels} times 1, got {np.count_nonzero(mask)} others")
    inside = mask == 1
    if not np.array_equal(triangle_map >= 0, inside) or triangle_map.min() < -1:
        raise reader.fail(f"{where}: triangle map: expected -1 outside the pixel mask and only there")
    if triangle_map.max() >= triangles.shape[0]:
        raise reader.fail(f"{where}: triangle map: expected below {triangles.shape[0]}, got {triangle_map.max()}")
    return PiecewiseAffineWarp(min_x, min_y, landmarks, triangles, triangle_map, frozen(inside), alphas, betas)


def _check_chain(reader: ArrayReader, layers: tuple[CnnLayer, ...], size: tuple[int, ...], where: str) -> None:
    """Each layer must accept what the layer before it gives, from one h x w picture to a vector."""
    maps, (height, width) = 1, size
    for index, layer in enumerate(layers):
        name = f"{where}, layer {index}"
        if isinstance(layer, Convolution):
            kernels, inputs, rows, columns = layer.weights.shape
            if inputs != maps or rows > height or columns > width:
                raise reader.fail(f"{name}: expected {maps} maps of {height} x {width}, takes {inputs}")
            maps, height, width = kernels, height - rows + 1, width - columns + 1
        elif isinstance(layer, MaxPooling):
            height, width = height // layer.stride, width // layer.stride
            if not height or not width:
                raise reader.fail(f"{name}: expected pixels to be left after it, got {height} x {width}")
        elif isinstance(layer, FullyConnected):
            if layer.weights.shape[0] != maps * height * width:
                raise reader.fail(f"{name}: expected {maps * height * width} inputs, takes {layer.weights.shape[0]}")
            maps, height, width = layer.weights.shape[1], 1, 1
    if not isinstance(layers[0], Convolution) or not isinstance(layers[-1], FullyConnected):
        ends = type(layers[0]).__name__, type(layers[-1]).__name__
        raise reader.fail(f"{where}: expected a convolution first and a fully connected layer last, got {ends}")
