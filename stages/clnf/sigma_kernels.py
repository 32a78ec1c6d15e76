"""Sigma times a response map, without Sigma: the equations behind it are few and sparse, so they are solved instead.

A CCNF joins the neurons' answers r of all places of a window by x = inv(2 (A I + sum_k beta_k S_k)) r, where A is the
sum of the alphas. The S_k couple places at fixed distances, so a product with the matrix is a handful of shifted sums,
and A is so large that the matrix is close to its diagonal (condition 1.5 to 2.3 in OpenFace's models). Ten steps of
Chebyshev's iteration give float32's last digits, from 50 kB in the first-level cache; the inverses of one face's
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
_LANE = np.uint64(LANES)


# The helpers take whole arrays and places in them instead of slices, which cost as much as their work; and places are
# unsigned, since a test for negative ones would stand in the way of vectors.


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _near_row(padded, at, stride, diagonal, beside, across, out, target):
    """One row of the matrix times a map without the far shifts; `at` is the place above and left of the row's first."""
    first, line, goal = np.uint64(at), np.uint64(stride), np.uint64(target)
    for q in range(beside.size):
        k = np.uint64(q)
        above = first + k
        here = above + line
        below = here + line
        orthogonal = padded[here] + padded[here + _LANE + _LANE] + padded[above + _LANE] + padded[below + _LANE]
        oblique = (padded[above] + padded[above + _LANE + _LANE]) + (padded[below] + padded[below + _LANE + _LANE])
        out[goal + k] = diagonal[goal + k] * padded[here + _LANE] + beside[q] * orthogonal + across[q] * oblique


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _add_shifted(padded, source, factor, out, target, count):
    start, goal = np.uint64(source), np.uint64(target)
    for q in range(count):
        k = np.uint64(q)
        out[goal + k] += factor[k] * padded[start + k]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _product(padded, window, diagonal, couplings, far, out):
    """out (w * w * LANES) = the matrix times the map in padded ((w + 2) * (w + 2) * LANES)."""
    beside, across, distant = couplings
    stride, count = (window + 2) * LANES, window * LANES
    for row in range(window):
        _near_row(padded, row * stride, stride, diagonal, beside, across, out, row * count)
    for shift in range(far.shape[0]):
        down, right = far[shift, 0], far[shift, 1]
        first, last = max(0, -right), window - max(0, right)
        for row in range(max(0, -down), window - max(0, down)):
            source = (row + down + 1) * stride + (first + right + 1) * LANES
            _add_shifted(padded, source, distant, out, row * count + first * LANES, (last - first) * LANES)


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
def solve(residual, window, diagonal, couplings, far, schedule, padded, product, answer):
    """answer = inverse of the matrix I + sum_k (beta_k / A) S_k times residual, which is used up.

    residual, product, answer and diagonal (w * w * LANES); couplings = (beside, across, distant), each (w * LANES):
    the matrix element for a place's neighbours in row and column, across the corner, and at the shifts far (k, 2)
    [rows, columns]; schedule (s, 2): what each step keeps of the one before and takes of the residual; padded
    ((w + 2)^2 * LANES), zero at its border.
    """
    stride, count = (window + 2) * LANES, window * LANES
    product[:] = F0
    answer[:] = F0
    for row in range(window):
        padded[(row + 1) * stride + LANES : (row + 2) * stride - LANES] = F0
    for k in range(schedule.shape[0]):
        if k > 0:
            _product(padded, window, diagonal, couplings, far, product)
        for row in range(window):
            source, target = (row + 1) * stride + LANES, row * count
            _advance(padded, source, product, residual, answer, target, count, schedule[k, 0], schedule[k, 1])
    for row in range(window):
        source, target = np.uint64((row + 1) * stride + LANES), np.uint64(row * count)
        for q in range(count):
            answer[target + np.uint64(q)] += padded[source + np.uint64(q)]
