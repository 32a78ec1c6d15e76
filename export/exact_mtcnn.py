"""MTCNN's layers in plain NumPy and float64: what an exported network is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from auflow.models.mtcnn import Convolution, Dense, Layer, MaxPool, PRelu

__all__ = ["forward"]

F64 = NDArray[np.float64]


def forward(layers: Sequence[Layer], images: NDArray[np.floating], *, sliding: bool) -> F64:
    """The raw values of the last layer for images (n, 3, h, w).

    Parameters
    ----------
    sliding : dense layers look at every pixel of the maps by itself (PNet), and the result is (n, k, rows, columns);
        else at all of a map together, column by column, and it is (n, k)
    """
    x = images.astype(np.float64)
    for layer in layers:
        match layer:
            case Convolution():
                x = _convolved(x, layer.weights, layer.bias)
            case MaxPool():
                x = _pooled(x, layer.size, layer.stride)
            case PRelu():
                slopes = layer.slopes.reshape(-1, *(1,) * (x.ndim - 2)).astype(np.float64)
                x = np.where(x > 0, x, slopes * x)
            case Dense() if sliding:
                x = _convolved(x, layer.weights[:, :, None, None], layer.bias)
            case Dense():
                flat = x.swapaxes(2, 3).reshape(len(x), -1) if x.ndim == 4 else x
                x = flat @ layer.weights.T.astype(np.float64) + layer.bias
    return x


def _convolved(x: F64, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> F64:
    windows = sliding_window_view(x, weights.shape[2:], axis=(2, 3))
    found: F64 = np.tensordot(windows, weights.astype(np.float64), axes=([1, 4, 5], [1, 2, 3]))
    return np.moveaxis(found + bias, -1, 1)


def _pooled(x: F64, size: int, stride: int) -> F64:
    """The last window may hang over the right and lower edge."""
    over = [-(side - size) % stride for side in x.shape[2:]]
    padded = np.pad(x, ((0, 0), (0, 0), (0, over[0]), (0, over[1])), constant_values=-np.inf)
    windows = sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    found: F64 = windows.max(axis=(4, 5))
    return found
