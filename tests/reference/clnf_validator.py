"""The landmark validator in plain NumPy, float64, straight from the records of `auflow.models.types`."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from auflow.models.types import Convolution, FullyConnected, MaxPooling, PiecewiseAffineWarp, Relu, ValidatorView

F64 = NDArray[np.float64]


def source_positions(warp: PiecewiseAffineWarp, points: NDArray[np.float32]) -> F64:
    """Where each reference pixel inside the mask is fetched from: (p, 2), column by column, unrounded."""
    x, y = points.astype(np.float64).reshape(2, -1)
    found = []
    for column in range(warp.pixel_mask.shape[1]):
        for row in range(warp.pixel_mask.shape[0]):
            if warp.pixel_mask[row, column]:
                t = warp.triangle_map[row, column]
                i, j, k = warp.triangles[t]
                place = np.array([1, warp.min_x + column, warp.min_y + row])
                a, b = warp.alphas[t] @ place, warp.betas[t] @ place
                found.append(
                    [x[i] + a * (x[j] - x[i]) + b * (x[k] - x[i]), y[i] + a * (y[j] - y[i]) + b * (y[k] - y[i])]
                )
    return np.array(found)


def bilinear_at(image: NDArray[np.float32], x: float, y: float) -> float:
    """One value at a position rounded to 1/32 px; zeros outside."""
    sx, sy = int(np.rint(x * 32)), int(np.rint(y * 32))
    total = 0.0
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = sx // 32 + dx, sy // 32 + dy
            weight = abs(1 - dx - sx % 32 / 32) * abs(1 - dy - sy % 32 / 32)
            if 0 <= column < image.shape[1] and 0 <= row < image.shape[0]:
                total += weight * float(image[row, column])
    return total


def normalise(values: F64, mean: F64, deviation: F64) -> F64:
    """The picture's own normalisation, then that of the training set."""
    spread = values.std()
    own: F64 = (values - values.mean()) / (spread if spread else 1.0)
    return (own - mean) / deviation


def convolve(maps: F64, layer: Convolution) -> F64:
    """Valid correlation: (c, h, w) to (k, h', w')."""
    windows = sliding_window_view(maps, layer.weights.shape[2:], axis=(1, 2))
    sums: F64 = np.einsum("chwij,kcij->khw", windows, layer.weights.astype(np.float64))
    return sums + layer.biases[:, None, None]


def pool(maps: F64) -> F64:
    """Maximum of 2 x 2, an odd last row or column left out."""
    height, width = maps.shape[1] // 2, maps.shape[2] // 2
    largest: F64 = maps[:, : 2 * height, : 2 * width].reshape(-1, height, 2, width, 2).max(axis=(2, 4))
    return largest


def dense(values: F64, layer: FullyConnected) -> F64:
    """values @ weights + biases."""
    sums: F64 = values @ layer.weights.astype(np.float64)
    return sums + layer.biases


def scores(view: ValidatorView, image: NDArray[np.float32], points: NDArray[np.float32]) -> F64:
    """Scores of the CNN's bins for landmarks (2n,) on image (h, w). Maps enter dense layers column by column."""
    places = source_positions(view.warp, points)
    values = normalise(np.array([bilinear_at(image, x, y) for x, y in places]), view.mean, view.std)
    picture = np.zeros(view.warp.pixel_mask.shape)
    picture.T[view.warp.pixel_mask.T] = values
    maps = picture[None]
    for layer in view.layers:
        if isinstance(layer, Convolution):
            maps = convolve(maps, layer)
        elif isinstance(layer, MaxPooling):
            maps = pool(maps)
        elif isinstance(layer, Relu):
            maps = np.maximum(maps, 0)
        else:
            maps = dense(maps.transpose(0, 2, 1).reshape(-1) if maps.ndim == 3 else maps, layer)
    return maps
