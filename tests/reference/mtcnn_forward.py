"""Forward pass of a network of `auflow.models.mtcnn` in plain NumPy, in float64: slow, and easy to check by eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from auflow.models.mtcnn import Convolution, Dense, Layer, MaxPool


def convolve(maps: NDArray[np.float64], layer: Convolution) -> NDArray[np.float64]:
    """Valid cross-correlation of (channels, h, w) maps."""
    side = layer.weights.shape[-1]
    windows = sliding_window_view(maps, (side, side), axis=(1, 2))
    return np.einsum("chwij,kcij->khw", windows, layer.weights.astype(np.float64)) + layer.bias[:, None, None]


def max_pool(maps: NDArray[np.float64], layer: MaxPool) -> NDArray[np.float64]:
    """Maximum over windows; the last one may hang over the edge."""
    channels, height, width = maps.shape
    rows = -(-(height - layer.size) // layer.stride) + 1
    columns = -(-(width - layer.size) // layer.stride) + 1
    out = np.empty((channels, rows, columns))
    for r in range(rows):
        for c in range(columns):
            top, left = r * layer.stride, c * layer.stride
            out[:, r, c] = maps[:, top : top + layer.size, left : left + layer.size].max(axis=(1, 2))
    return out


def forward(layers: Sequence[Layer], image: NDArray[np.float32], *, per_pixel: bool) -> NDArray[np.float64]:
    """Raw outputs of the last layer for a (3, h, w) image.

    `per_pixel` applies dense layers at every position (PNet) and gives (outputs, h, w); otherwise (outputs,).
    """
    x = image.astype(np.float64)
    for layer in layers:
        if isinstance(layer, Convolution):
            x = convolve(x, layer)
        elif isinstance(layer, MaxPool):
            x = max_pool(x, layer)
        elif isinstance(layer, Dense):
            weights = layer.weights.astype(np.float64)
            if per_pixel:
                x = np.einsum("oc,chw->ohw", weights, x) + layer.bias[:, None, None]
            else:
                flat = x.transpose(0, 2, 1).ravel() if x.ndim == 3 else x
                x = weights @ flat + layer.bias
        else:
            slopes = layer.slopes.reshape((-1,) + (1,) * (x.ndim - 1))
            x = np.maximum(x, 0) + slopes * np.minimum(x, 0)
    return x
