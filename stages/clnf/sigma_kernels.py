"""Sigma times a response map, without Sigma: the equations behind it are few and sparse, so they are solved instead.

A CCNF joins the neurons' answers r of all places of a window by x = inv(2 (A I + sum_k beta_k S_k)) r, where A is the
sum of the alphas. The S_k couple places at fixed distances, so a product with the matrix is a handful of shifted sums,
and A is so large that the matrix is close to its diagonal (condition 1.5 to 2.3 in OpenFace's models). Ten steps of
Chebyshev's iteration give float32's last digits, from 50 kB in the nearest caches; the inverses of one face's
points are 2 MB a scale, and took half a second to compute.

Arithmetic only; `patch_experts.py` packs the numbers. LANES landmarks are worked on side by side: element
(place * LANES + lane), places row by row.

Sources: Baltrusaitis, Robinson, Morency, ICCVW 2013 (Sigma); Saad, "Iterative methods for sparse linear systems",
2003, algorithm 12.1 (the iteration).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.stages.clnf.lanes import LANES

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
REACH = 6  # places that the matrices couple at most, along a row, a column or a diagonal; also REACH - 1, and 1
WIDEST = 15  # window
STRIDE = (WIDEST + 2 * REACH) * LANES  # of a row of a padded map; a constant, so that one address serves all shifts

_LANE = np.uint64(LANES)
_ROW = np.uint64(STRIDE)
_FAR, _FARTHER = np.uint64(REACH - 1), np.uint64(REACH)

# The helpers take whole arrays and places in them, since slices cost a quarter of the time; and places are unsigned,
# so that no test for negative ones is left in.


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _product_row(padded, row, diagonal, beside, across, distant, out):
    """One row of the matrix times a padded map; beside, across and distant (w * LANES) are its elements."""
    first = np.uint64(row * STRIDE + REACH * (STRIDE + LANES))
    target = np.uint64(row * beside.size)
    for q in range(beside.size):
        k = np.uint64(q)
        c = first + k
        up, down = c - _ROW, c + _ROW
        orthogonal = padded[c - _LANE] + padded[c + _LANE] + padded[up] + padded[down]
        oblique = padded[up - _LANE] + padded[up + _LANE] + padded[down - _LANE] + padded[down + _LANE]
        near, far = _FAR * _LANE, _FARTHER * _LANE
        level = padded[c - near] + padded[c + near] + padded[c - far] + padded[c + far]
        up, down = c - _FAR * _ROW, c + _FAR * _ROW
        inner = padded[up - near] + padded[up] + padded[up + near] + padded[down - near] + padded[down]
        inner += padded[down + near]
        up, down = c - _FARTHER * _ROW, c + _FARTHER * _ROW
        outer = padded[up - far] + padded[up] + padded[up + far] + padded[down - far] + padded[down]
        outer += padded[down + far]
        value = diagonal[target + k] * padded[c] + beside[q] * orthogonal
        out[target + k] = value + across[q] * oblique + distant[q] * (level + inner + outer)


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _advance(padded, source, product, residual, answer, target, count, kept, gained):
    start, goal = np.uint64(source), np.uint64(target)
    for q in range(count):
        k = np.uint64(q)
        left = residual[goal + k] - product[goal + k]
        done = padded[start + k]
        answer[goal + k] += done
        residual[goal + k] = left
        padded[start + k] = kept * done + gained * left


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def solve(residual, window, diagonal, couplings, schedule, padded, product, answer):
    """answer = inverse of the matrix I + sum_k (beta_k / A) S_k times residual, which is used up.

    residual, product, answer and diagonal (w * w * LANES); couplings = (beside, across, distant), each (w * LANES):
    the matrix element for a place's neighbours in row and column, across the corner, and REACH and REACH - 1 places
    away in all eight directions; schedule (s, 2): what each step keeps of the one before and takes of the residual;
    padded ((w + 2 REACH) * STRIDE), zero but for the window in its middle.
    """
    beside, across, distant = couplings
    count, corner = window * LANES, REACH * (STRIDE + LANES)
    product[:] = F0
    answer[:] = F0
    for row in range(window):
        for q in range(count):
            padded[np.uint64(corner + row * STRIDE) + np.uint64(q)] = F0
    for k in range(schedule.shape[0]):
        if k > 0:
            for row in range(window):
                _product_row(padded, row, diagonal, beside, across, distant, product)
        for row in range(window):
            source, target = corner + row * STRIDE, row * count
            _advance(padded, source, product, residual, answer, target, count, schedule[k, 0], schedule[k, 1])
    for row in range(window):
        source, target = np.uint64(corner + row * STRIDE), np.uint64(row * count)
        for q in range(count):
            answer[target + np.uint64(q)] += padded[source + np.uint64(q)]
