"""Kernels of the CEN response maps, around the matrix products: inputs of the networks, activations, interpolation.

Arithmetic only; `cen_experts.py` multiplies between `view_inputs` and `place_view`.

Source: Zadeh, Baltrusaitis, Morency, "Convolutional experts constrained local model for 3D facial landmark
detection", ICCVW 2017.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.stages.clnf.patch_kernels import SUPPORT, warp_patch, window_statistics

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)


@njit(cache=True, nogil=True)
def mirror(area):
    """Flip area (s, s) left to right in place."""
    side = area.shape[1]
    for row in range(area.shape[0]):
        for column in range(side // 2):
            left = area[row, column]
            area[row, column] = area[row, side - 1 - column]
            area[row, side - 1 - column] = left


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def columns(area, mean, inverse_norm, support, places, out):
    """Inputs out (k, 1 + support^2) of the networks: a 1, then one contrast-normalised window of area (s, s).

    Windows are read row by row. places (k,) are their top-left corners, row * s + column; mean and inverse_norm
    (s * s,) are indexed by them.
    """
    side = area.shape[0]
    flat = area.reshape(-1)
    for k in range(places.size):
        start = places[k]
        m, inverse = mean[start], inverse_norm[start]
        line = out[k]
        line[0] = F1
        for i in range(support):
            source = flat[start + i * side : start + i * side + support]
            target = line[1 + i * support : 1 + (i + 1) * support]
            for j in range(support):
                target[j] = (source[j] - m) * inverse


@njit(cache=True, nogil=True)
def rectify(values, biases):
    """max(values + biases, 0) in place: values (k, u), biases (u,)."""
    for k in range(values.shape[0]):
        line = values[k]
        for u in range(biases.size):
            v = line[u] + biases[u]
            line[u] = v if v > F0 else F0


@njit(cache=True, nogil=True)
def squash(values, biases):
    """The logistic function of values + biases in place: values (k, u), biases (u,)."""
    for k in range(values.shape[0]):
        for u in range(biases.size):
            values[k, u] = F1 / (F1 + np.exp(-(values[k, u] + biases[u])))


@njit(cache=True, nogil=True)
def place_dense(values, mirrored, out):
    """Response map out (w, w) from its w * w values, row by row; flipped left to right where mirrored."""
    window = out.shape[0]
    for row in range(window):
        for column in range(window):
            target = window - 1 - column if mirrored else column
            out[row, target] = values[row * window + column]


@njit(cache=True, nogil=True)
def place_sparse(values, mirrored, out):
    """Response map out (w, w), w odd, from the values at its positions of odd row + column, row by row.

    A position between them is the mean of its direct neighbours: four inside, three at an edge, two in a corner.
    """
    window = out.shape[0]
    k = 0
    for row in range(window):
        for column in range(1 - row % 2, window, 2):
            target = window - 1 - column if mirrored else column
            out[row, target] = values[k]
            k += 1
    for row in range(window):
        for column in range(row % 2, window, 2):
            total, count = F0, F0
            if row > 0:
                total += out[row - 1, column]
                count += F1
            if row < window - 1:
                total += out[row + 1, column]
                count += F1
            if column > 0:
                total += out[row, column - 1]
                count += F1
            if column < window - 1:
                total += out[row, column + 1]
                count += F1
            out[row, column] = total / count


@njit(cache=True, nogil=True)
def view_inputs(image, turn, points_px, served, mirrored, steps, places, memory, out):
    """Inputs out (k, 1 + SUPPORT^2) of all networks of a view, for each served point the places in its patch.

    image (h, w), turn (a, b), points_px (2n,): as of `warp_patch`. served (s,) are the points, mirrored (s,) whether
    their patch is flipped; k = s * places.size. memory: area (s, s), mean and inverse_norm (s * s,).
    """
    area, mean, inverse_norm = memory
    n, count = points_px.size // 2, places.size
    for k in range(served.size):
        point = served[k]
        warp_patch(image, turn[0], turn[1], points_px[point], points_px[n + point], steps, area)
        if mirrored[k]:
            mirror(area)
        window_statistics(area, mean, inverse_norm)
        columns(area, mean, inverse_norm, SUPPORT, places, out[k * count : (k + 1) * count])


@njit(cache=True, nogil=True)
def place_view(values, served, mirrored, sparse, out):
    """Response maps out (n, w, w) of a view's values (k,), in the order of `view_inputs`."""
    count = values.size // max(served.size, 1)
    for k in range(served.size):
        held = values[k * count : (k + 1) * count]
        if sparse:
            place_sparse(held, mirrored[k], out[served[k]])
        else:
            place_dense(held, mirrored[k], out[served[k]])
