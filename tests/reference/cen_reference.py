"""CEN response maps in plain NumPy, float64, one position after the other, from the definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
SUPPORT = 11


def network(
    inputs: F64, layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], *, hidden: int = 2
) -> float:
    """Output of a chain of dense layers; the last one is logistic, the others ReLU (2) or logistic (0)."""
    values = inputs
    for index, (weights, biases) in enumerate(layers):
        values = values @ weights.astype(np.float64) + biases
        logistic = index == len(layers) - 1 or hidden == 0
        values = 1 / (1 + np.exp(-values)) if logistic else np.maximum(values, 0)
    return float(values.item())


def at(
    area: F64, row: int, column: int, layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], hidden: int
) -> float:
    """The network on the window with this top-left corner: a 1, then its pixels column by column, normalised."""
    pixels = area[row : row + SUPPORT, column : column + SUPPORT].astype(np.float64)
    centred = pixels - pixels.mean()
    norm = np.sqrt((centred**2).sum())
    if norm > 1e-4:
        centred = centred / norm
    return network(np.concatenate([[1.0], centred.T.reshape(-1)]), layers, hidden=hidden)


def response(
    area: F64,
    layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    *,
    mirrored: bool = False,
    sparse: bool = True,
    hidden: int = 2,
) -> F64:
    """Response (w, w) on an area (w + 10, w + 10).

    Sparse: positions of odd row + column are evaluated, each other one is the mean of its direct neighbours.
    """
    if mirrored:
        return response(area[:, ::-1], layers, sparse=sparse, hidden=hidden)[:, ::-1]
    window = area.shape[0] - SUPPORT + 1
    out = np.full((window, window), np.nan)
    for r in range(window):
        for c in range(window):
            if not sparse or (r + c) % 2:
                out[r, c] = at(area, r, c, layers, hidden)
    fenced = np.pad(out, 1, constant_values=np.nan)
    for r, c in np.argwhere(np.isnan(out)):
        out[r, c] = np.nanmean([fenced[r, c + 1], fenced[r + 2, c + 1], fenced[r + 1, c], fenced[r + 1, c + 2]])
    return out
