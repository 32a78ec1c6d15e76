"""Kernels of the CCNF response maps: convolve the patches, normalise the contrast, squash, apply Sigma.

Arithmetic only; `patch_experts.py` packs the experts and calls these. float32 images and responses. Everything from
the patch to the response is laid out with LANES landmarks side by side: element (place * LANES + lane), places row by
row. Inner loops run over whole rows of places, or over LANES with a body so large that the compiler makes vectors
instead of unrolling it.

Source: Baltrusaitis, Robinson, Morency, "Constrained local neural fields for robust facial landmark detection in
the wild", ICCVW 2013.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.stages.clnf.lanes import LANES
from auflow.stages.clnf.patch_kernels import SUPPORT, grid_steps, lane_statistics, warp_patch
from auflow.stages.clnf.sigma_kernels import solve

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
_INTEGER = np.float32(12582912.0)  # 1.5 * 2^23: a float32 this large has no fraction left


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _taps(a, w, x, lane):
    """A row of SUPPORT products of the inputs from x on."""
    left = (
        w[lane] * a[x]
        + w[LANES + lane] * a[x + LANES]
        + w[2 * LANES + lane] * a[x + 2 * LANES]
        + w[3 * LANES + lane] * a[x + 3 * LANES]
        + w[4 * LANES + lane] * a[x + 4 * LANES]
        + w[5 * LANES + lane] * a[x + 5 * LANES]
    )
    right = (
        w[6 * LANES + lane] * a[x + 6 * LANES]
        + w[7 * LANES + lane] * a[x + 7 * LANES]
        + w[8 * LANES + lane] * a[x + 8 * LANES]
        + w[9 * LANES + lane] * a[x + 9 * LANES]
        + w[10 * LANES + lane] * a[x + 10 * LANES]
    )
    return left + right


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _three(area, side, at, weights, c):
    """Three neighbouring results: the sums of the products share their inputs and stay in registers."""
    c[: 3 * LANES] = F0
    for i in range(SUPPORT):
        a = area[(at + i * side) * LANES : (at + i * side + SUPPORT + 2) * LANES]
        w = weights[i * SUPPORT * LANES : (i + 1) * SUPPORT * LANES]
        for lane in range(LANES):
            s0 = _taps(a, w, lane, lane)
            s1 = _taps(a, w, LANES + lane, lane)
            s2 = _taps(a, w, 2 * LANES + lane, lane)
            c[lane] += s0
            c[LANES + lane] += s1
            c[2 * LANES + lane] += s2


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _five(area, side, at, weights, c):
    c[: 5 * LANES] = F0
    for i in range(SUPPORT):
        a = area[(at + i * side) * LANES : (at + i * side + SUPPORT + 4) * LANES]
        w = weights[i * SUPPORT * LANES : (i + 1) * SUPPORT * LANES]
        for lane in range(LANES):
            s0 = _taps(a, w, lane, lane)
            s1 = _taps(a, w, LANES + lane, lane)
            s2 = _taps(a, w, 2 * LANES + lane, lane)
            s3 = _taps(a, w, 3 * LANES + lane, lane)
            s4 = _taps(a, w, 4 * LANES + lane, lane)
            c[lane] += s0
            c[LANES + lane] += s1
            c[2 * LANES + lane] += s2
            c[3 * LANES + lane] += s3
            c[4 * LANES + lane] += s4


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _seven(area, side, at, weights, c):
    c[: 7 * LANES] = F0
    for i in range(SUPPORT):
        a = area[(at + i * side) * LANES : (at + i * side + SUPPORT + 6) * LANES]
        w = weights[i * SUPPORT * LANES : (i + 1) * SUPPORT * LANES]
        for lane in range(LANES):
            s0 = _taps(a, w, lane, lane)
            s1 = _taps(a, w, LANES + lane, lane)
            s2 = _taps(a, w, 2 * LANES + lane, lane)
            s3 = _taps(a, w, 3 * LANES + lane, lane)
            s4 = _taps(a, w, 4 * LANES + lane, lane)
            s5 = _taps(a, w, 5 * LANES + lane, lane)
            s6 = _taps(a, w, 6 * LANES + lane, lane)
            c[lane] += s0
            c[LANES + lane] += s1
            c[2 * LANES + lane] += s2
            c[3 * LANES + lane] += s3
            c[4 * LANES + lane] += s4
            c[5 * LANES + lane] += s5
            c[6 * LANES + lane] += s6


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _nine(area, side, at, weights, c):
    c[: 9 * LANES] = F0
    for i in range(SUPPORT):
        a = area[(at + i * side) * LANES : (at + i * side + SUPPORT + 8) * LANES]
        w = weights[i * SUPPORT * LANES : (i + 1) * SUPPORT * LANES]
        for lane in range(LANES):
            s0 = _taps(a, w, lane, lane)
            s1 = _taps(a, w, LANES + lane, lane)
            s2 = _taps(a, w, 2 * LANES + lane, lane)
            s3 = _taps(a, w, 3 * LANES + lane, lane)
            s4 = _taps(a, w, 4 * LANES + lane, lane)
            s5 = _taps(a, w, 5 * LANES + lane, lane)
            s6 = _taps(a, w, 6 * LANES + lane, lane)
            s7 = _taps(a, w, 7 * LANES + lane, lane)
            s8 = _taps(a, w, 8 * LANES + lane, lane)
            c[lane] += s0
            c[LANES + lane] += s1
            c[2 * LANES + lane] += s2
            c[3 * LANES + lane] += s3
            c[4 * LANES + lane] += s4
            c[5 * LANES + lane] += s5
            c[6 * LANES + lane] += s6
            c[7 * LANES + lane] += s7
            c[8 * LANES + lane] += s8


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def convolve(area, side, weights, out):
    """Correlate LANES patches with a neuron each: area (s * s * LANES), weights (TAPS * LANES), out (w * w * LANES).

    A row in pieces of 3, 5, 7 or 9 results, the larger the better; the window is odd and at least 3.
    """
    window = side - SUPPORT + 1
    for row in range(window):
        column = 0
        while column < window:
            left = window - column
            at, c = row * side + column, out[(row * window + column) * LANES : (row + 1) * window * LANES]
            if left == 9:
                _nine(area, side, at, weights, c)
                column += 9
            elif left == 7:
                _seven(area, side, at, weights, c)
                column += 7
            elif left == 5 or left >= 8:
                _five(area, side, at, weights, c)
                column += 5
            else:
                _three(area, side, at, weights, c)
                column += 3


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def exponential(values):
    """2^x for values x in place, |x| <= 64 (clamped).

    x is split into an integer, which goes into the exponent's bits, and a rest of at most 1/2, for which the series
    of degree 6 is within 2 units in the last place. Free of calls and jumps, so that the compiler makes vectors of it.
    """
    for q in range(values.size):
        x = min(np.float32(64.0), max(np.float32(-64.0), values[q]))
        n = np.float32(x + _INTEGER)
        r = x - (n - _INTEGER)
        p = np.float32(1.5403530e-4) * r + np.float32(1.3333558e-3)
        p = p * r + np.float32(9.6181291e-3)
        p = p * r + np.float32(5.5504109e-2)
        p = p * r + np.float32(2.4022651e-1)
        p = p * r + np.float32(6.9314718e-1)
        p = np.float32(p * r + F1)
        values[q] = np.int32(p.view(np.int32) + np.int32(n.view(np.int32) << np.int32(23))).view(np.float32)


@njit(cache=True, nogil=True, fastmath=CONTRACT, error_model="numpy")  # no test for a divisor of 0
def _squash_row(sums, mean, inverse_norm, start, weight_sums, biases, shares, response):
    """`add_neuron` for a row of places from `start`, the neuron's numbers repeated along the row."""
    count, begin = weight_sums.size, np.uint64(start)
    z = sums[start : start + count]
    for q in range(count):
        k = begin + np.uint64(q)
        z[q] = (mean[k] * weight_sums[q] - z[q]) * inverse_norm[k] - biases[q]
    exponential(z)
    for q in range(count):
        response[begin + np.uint64(q)] += shares[q] / (F1 + z[q])


@njit(cache=True, nogil=True)
def add_neuron(sums, mean, inverse_norm, window, neuron, rows, response):
    """Add a neuron's sigmoid to response; all arrays of places are (w * w * LANES), flat; sums is used up.

    neuron = (weight_sums, biases, shares), each (LANES,), the first two times log2(e); rows (3, w * LANES) is
    scratch.
    """
    count = window * LANES
    for k in range(3):
        line, numbers = rows[k], neuron[k]
        for q in range(LANES):
            line[q] = numbers[q]
        for q in range(count - LANES):
            line[q + LANES] = line[q]
    for row in range(window):
        _squash_row(sums, mean, inverse_norm, row * window * LANES, rows[0], rows[1], rows[2], response)


@njit(cache=True, nogil=True)
def _raise(answer, places, column, out):
    """out (places, N) at `column` = the answers (places * LANES), each map raised so that nothing is below zero."""
    lowest = np.zeros(LANES, np.float32)
    for place in range(places):
        for lane in range(LANES):
            lowest[lane] = min(lowest[lane], answer[place * LANES + lane])
    for place in range(places):
        for lane in range(LANES):
            out[place, column + lane] = answer[place * LANES + lane] - lowest[lane]


@njit(cache=True, nogil=True)
def response_maps(image, points, to_img, experts, sigma, scratch, out):
    """Response maps out (w * w, N) around points (2 N) of the points that have experts; 0 for the others.

    to_img (2, 2) = [a -b; b a] turns and scales the reference frame into the image. experts = (present (N) bool,
    weights (g, k, TAPS * LANES), weight_sums, biases, shares (g, k, LANES)) of g groups of lanes, where a share
    of 0 switches a neuron off; sigma as `sigma.PackedSigma`; scratch as `patch_experts.make_scratch`.
    """
    present, weights, weight_sums, biases, shares = experts
    diagonal, beside, across, distant, schedule = sigma
    area, mean, inverse_norm, sums, response, answer, padded, rows, steps = scratch
    n, side = present.size, steps.shape[1]
    window = side - SUPPORT + 1
    patches = area.reshape(side, side, LANES)
    a, b = to_img[0, 0], -to_img[0, 1]
    grid_steps(a, b, steps)
    for g in range(weights.shape[0]):
        some = False
        for i in range(g * LANES, (g + 1) * LANES):
            if present[i]:
                some = True
                warp_patch(image, a, b, points[i], points[n + i], steps, patches[:, :, i - g * LANES])
        if not some:
            out[:, g * LANES : (g + 1) * LANES] = F0
            continue
        lane_statistics(area, side, mean, inverse_norm)
        response[:] = F0
        for k in range(weights.shape[1]):
            convolve(area, side, weights[g, k], sums)
            neuron = (weight_sums[g, k], biases[g, k], shares[g, k])
            add_neuron(sums, mean, inverse_norm, window, neuron, rows, response)
        couplings = (beside[g], across[g], distant[g])
        solve(response, window, diagonal[g], couplings, schedule, padded, sums, answer)
        _raise(answer, window * window, g * LANES, out)
