"""Kernels of the CCNF response maps: cut the patch, normalise its contrast, convolve, squash, weigh by Sigma.

Arithmetic only; `patch_experts.py` packs the experts and calls these. float32 images and responses.

Sources: Baltrusaitis, Robinson, Morency, "Constrained local neural fields for robust facial landmark
detection in the wild", ICCVW 2013; the fixed-point sampling grid of OpenCV's warpAffine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
SUPPORT = 11  # side of an expert's convolution window
TAPS = SUPPORT * SUPPORT
_FRACTION_BITS = 5  # OpenCV interpolates at 1/32 px ...
_EXTRA_BITS = 5  # ... and steps through the row at 1/1024 px
_ONE = 1 << (_FRACTION_BITS + _EXTRA_BITS)
_ROUND = 1 << (_EXTRA_BITS - 1)
_MASK = (1 << _FRACTION_BITS) - 1
_FRACTION = np.float32(1.0 / (1 << _FRACTION_BITS))


@njit(cache=True, nogil=True)
def pixel_or_zero(image, x, y):
    """The pixel, or 0 outside the image."""
    if 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
        return image[y, x]
    return F0


@njit(cache=True, nogil=True)
def bilinear(image, ix, iy, fx, fy):
    """Bilinear value at (ix + fx, iy + fy), zero outside."""
    w11, w10, w01 = fx * fy, fx * (F1 - fy), (F1 - fx) * fy
    w00 = (F1 - fx) * (F1 - fy)
    if 0 <= ix < image.shape[1] - 1 and 0 <= iy < image.shape[0] - 1:
        return image[iy, ix] * w00 + image[iy, ix + 1] * w10 + image[iy + 1, ix] * w01 + image[iy + 1, ix + 1] * w11
    return (
        pixel_or_zero(image, ix, iy) * w00
        + pixel_or_zero(image, ix + 1, iy) * w10
        + pixel_or_zero(image, ix, iy + 1) * w01
        + pixel_or_zero(image, ix + 1, iy + 1) * w11
    )


@njit(cache=True, nogil=True)
def grid_steps(a, b, out):
    """Fixed-point steps (x, y) along a row of the warp [a -b; b a]: out (2, s) int32."""
    for column in range(out.shape[1]):
        out[0, column] = np.int32(np.rint(np.float64(a) * column * _ONE))
        out[1, column] = np.int32(np.rint(np.float64(b) * column * _ONE))


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def warp_patch(image, a, b, x, y, steps, out):
    """Cut the square out (s, s) of image, turned and scaled by [a -b; b a], its centre at (x, y).

    steps (2, s) are those of `grid_steps`. The sampling positions are rounded to 1/32 px exactly as OpenCV's
    inverse-mapped linear warpAffine does; pixels outside the image are 0.
    """
    side = out.shape[0]
    half = np.float32(side - 1) / np.float32(2)
    tx = np.float64(x - a * half + b * half)
    ty = np.float64(y - a * half - b * half)
    width, height = image.shape[1], image.shape[0]
    reach = np.float32(side) * (abs(a) + abs(b)) + np.float32(2)
    inside = x - reach > F0 and y - reach > F0 and x + reach < width and y + reach < height
    for row in range(side):
        x0 = np.int64(np.rint((tx - np.float64(b) * row) * _ONE)) + _ROUND
        y0 = np.int64(np.rint((ty + np.float64(a) * row) * _ONE)) + _ROUND
        for column in range(side):
            sx = (x0 + steps[0, column]) >> _EXTRA_BITS
            sy = (y0 + steps[1, column]) >> _EXTRA_BITS
            fx = np.float32(sx & _MASK) * _FRACTION
            fy = np.float32(sy & _MASK) * _FRACTION
            ix, iy = sx >> _FRACTION_BITS, sy >> _FRACTION_BITS
            if inside:
                upper = image[iy, ix] * (F1 - fx) + image[iy, ix + 1] * fx
                lower = image[iy + 1, ix] * (F1 - fx) + image[iy + 1, ix + 1] * fx
                out[row, column] = upper * (F1 - fy) + lower * fy
            else:
                out[row, column] = bilinear(image, ix, iy, fx, fy)


@njit(cache=True, nogil=True)
def window_statistics(area, mean, inverse_norm):
    """Mean and 1 / norm of the centred values of every SUPPORT x SUPPORT window of area (s, s).

    Both out arrays are flat with row stride s, as `convolve` leaves its sums. The area is centred on its
    own mean first (in place), so that the sums of squares keep their digits.
    """
    side = area.shape[0]
    window = side - SUPPORT + 1
    total = 0.0
    for row in range(side):
        for column in range(side):
            total += area[row, column]
    centre = np.float32(total / (side * side))
    for row in range(side):
        for column in range(side):
            area[row, column] -= centre
    sums, squares = np.zeros(side), np.zeros(side)
    for row in range(side):
        for column in range(side):
            v = np.float64(area[row, column])
            sums[column] += v
            squares[column] += v * v
            if row >= SUPPORT:
                u = np.float64(area[row - SUPPORT, column])
                sums[column] -= u
                squares[column] -= u * u
        top = row - SUPPORT + 1
        if top < 0:
            continue
        s, q = 0.0, 0.0
        for column in range(SUPPORT - 1):
            s += sums[column]
            q += squares[column]
        for column in range(window):
            s += sums[column + SUPPORT - 1]
            q += squares[column + SUPPORT - 1]
            m = s / TAPS
            variance = q - s * m
            mean[top * side + column] = m
            inverse_norm[top * side + column] = 1.0 / np.sqrt(variance) if variance > 1e-9 * TAPS else 1.0
            s -= sums[column]
            q -= squares[column]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def convolve(area, weights, out):
    """Correlate area (s, s) with weights (TAPS,): out is flat with row stride s; its row ends hold no result.

    The sums run over whole stretches of the flat area, one row of taps at a time, so that the inner loop is
    long, has no jump and needs its accumulator once per 11 products.
    """
    side = area.shape[0]
    window = side - SUPPORT + 1
    count = (window - 1) * side + window
    flat = area.reshape(-1)
    for q in range(count):
        out[q] = F0
    for i in range(SUPPORT):
        w = weights[i * SUPPORT : (i + 1) * SUPPORT]
        w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10]
        r = flat[i * side : i * side + count + SUPPORT - 1]
        for q in range(count):
            left = w0 * r[q] + w1 * r[q + 1] + w2 * r[q + 2] + w3 * r[q + 3] + w4 * r[q + 4] + w5 * r[q + 5]
            right = w6 * r[q + 6] + w7 * r[q + 7] + w8 * r[q + 8] + w9 * r[q + 9] + w10 * r[q + 10]
            out[q] += left + right


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def exponential(values, exponents, count):
    """exp of values[:count] in place, |values| <= 87 (clamped); exponents (count,) int32 is scratch.

    exp(x) = 2^n exp(r) with |r| <= ln 2 / 2 and exp(r) by its series of degree 6: within 2 units in the last
    place, and free of calls and jumps, so that the compiler makes vectors of it.
    """
    power = exponents.view(np.float32)
    for q in range(count):
        x = min(np.float32(87.0), max(np.float32(-87.0), values[q]))
        n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
        p = np.float32(1.0 / 720.0) * r + np.float32(1.0 / 120.0)
        p = p * r + np.float32(1.0 / 24.0)
        p = p * r + np.float32(1.0 / 6.0)
        p = p * r + np.float32(0.5)
        values[q] = p * r * r + r + F1
        exponents[q] = (np.int32(n) + np.int32(127)) << np.int32(23)
    for q in range(count):
        values[q] *= power[q]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def patch_response(area, experts, point, sigma, scratch, exponents, out):
    """Response map out (w * w,) of one point's neurons on its area (w + 10, w + 10), weighed by Sigma (w*w, w*w).

    experts = (weights (n, k, TAPS), weight_sums (n, k), biases (n, k), two_alphas (n, k)); a neuron whose
    two_alpha is 0 does not count. scratch (4, s * s) and exponents (s * s,) are working space.
    """
    weights, weight_sums, biases, two_alphas = experts
    side = area.shape[0]
    window = side - SUPPORT + 1
    mean, inverse_norm, sums, response = scratch[0], scratch[1], scratch[2], scratch[3]
    count = (window - 1) * side + window
    window_statistics(area, mean, inverse_norm)
    for q in range(count):
        response[q] = F0
    for k in range(weights.shape[1]):
        amplitude = two_alphas[point, k]
        if amplitude == F0:
            continue
        convolve(area, weights[point, k], sums)
        weight_sum, bias = weight_sums[point, k], biases[point, k]
        for q in range(count):
            sums[q] = (mean[q] * weight_sum - sums[q]) * inverse_norm[q] - bias
        exponential(sums, exponents, count)
        for q in range(count):
            response[q] += amplitude / (F1 + sums[q])
    positions = window * window
    for q in range(positions):
        out[q] = F0
    for row in range(window):
        for column in range(window):
            value = response[row * side + column]
            line = sigma[row * window + column]
            for q in range(positions):
                out[q] += value * line[q]
    lowest = F0
    for q in range(positions):
        lowest = min(lowest, out[q])
    for q in range(positions):
        out[q] -= lowest


@njit(cache=True, nogil=True)
def response_maps(image, points, to_img, visible, experts, sigmas, out):
    """Response maps out (n, w, w) around points (2n) of every visible point; the others are left alone.

    to_img (2, 2) = [a -b; b a] turns and scales the reference frame into the image.
    """
    n, window, _ = out.shape
    side = window + SUPPORT - 1
    area = np.empty((side, side), np.float32)
    scratch = np.zeros((4, side * side), np.float32)
    exponents = np.empty(side * side, np.int32)
    steps = np.empty((2, side), np.int32)
    a, b = to_img[0, 0], -to_img[0, 1]
    grid_steps(a, b, steps)
    flat = out.reshape(n, window * window)
    for i in range(n):
        if visible[i]:
            warp_patch(image, a, b, points[i], points[n + i], steps, area)
            patch_response(area, experts, i, sigmas[i], scratch, exponents, flat[i])
