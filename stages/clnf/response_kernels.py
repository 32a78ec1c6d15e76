"""Kernels of the CCNF response maps: cut the patch, normalise its contrast, convolve, squash, weigh by Sigma.

Arithmetic only; `patch_experts.py` packs the experts and calls these. float32 images and responses.

Sources: Baltrusaitis, Robinson, Morency, "Constrained local neural fields for robust facial landmark
detection in the wild", ICCVW 2013; the fixed-point sampling grid of OpenCV's warpAffine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

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
def warp_patch(image, a, b, x, y, out):
    """Cut the square out (s, s) of image, turned and scaled by [a -b; b a], its centre at (x, y).

    The sampling positions are rounded to 1/32 px exactly as OpenCV's inverse-mapped linear warpAffine does;
    pixels outside the image are 0.
    """
    side = out.shape[0]
    half = np.float32(side - 1) / np.float32(2)
    tx = np.float64(x - a * half + b * half)
    ty = np.float64(y - a * half - b * half)
    ad, bd = np.float64(a), np.float64(b)
    for row in range(side):
        x0 = np.int64(np.rint((-bd * row + tx) * _ONE)) + _ROUND
        y0 = np.int64(np.rint((ad * row + ty) * _ONE)) + _ROUND
        for column in range(side):
            sx = (x0 + np.int64(np.rint(ad * column * _ONE))) >> _EXTRA_BITS
            sy = (y0 + np.int64(np.rint(bd * column * _ONE))) >> _EXTRA_BITS
            fx = np.float32(sx & _MASK) * _FRACTION
            fy = np.float32(sy & _MASK) * _FRACTION
            out[row, column] = bilinear(image, sx >> _FRACTION_BITS, sy >> _FRACTION_BITS, fx, fy)


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


@njit(cache=True, nogil=True)
def convolve(area, weights, out):
    """Correlate area (s, s) with weights (TAPS,): out is flat with row stride s; its row ends hold no result."""
    side = area.shape[0]
    window = side - SUPPORT + 1
    count = (window - 1) * side + window
    flat = area.reshape(-1)
    for q in range(count):
        out[q] = F0
    for i in range(SUPPORT):
        for j in range(SUPPORT):
            w = weights[i * SUPPORT + j]
            part = flat[i * side + j : i * side + j + count]
            for q in range(count):
                out[q] += w * part[q]


@njit(cache=True, nogil=True)
def patch_response(area, experts, point, sigma, scratch, out):
    """Response map out (w, w) of one point's neurons on its area (w + 10, w + 10), weighed by Sigma (w*w, w*w).

    experts = (weights (n, k, TAPS), weight_sums (n, k), biases (n, k), two_alphas (n, k)); a neuron whose
    two_alpha is 0 does not count. scratch (4, s * s).
    """
    weights, weight_sums, biases, two_alphas = experts
    side, window = area.shape[0], out.shape[0]
    mean, inverse_norm, sums, response = scratch[0], scratch[1], scratch[2], scratch[3]
    window_statistics(area, mean, inverse_norm)
    for q in range(window * window):
        response[q] = F0
    for k in range(weights.shape[1]):
        amplitude = two_alphas[point, k]
        if amplitude == F0:
            continue
        convolve(area, weights[point, k], sums)
        weight_sum, bias = weight_sums[point, k], biases[point, k]
        for row in range(window):
            for column in range(window):
                q = row * side + column
                z = (sums[q] - mean[q] * weight_sum) * inverse_norm[q] + bias
                response[row * window + column] += amplitude / (F1 + np.exp(-z))
    lowest = F0
    count = window * window
    for r in range(count):
        line = sigma[r]
        total = F0
        for q in range(count):
            total += line[q] * response[q]
        out[r // window, r % window] = total
        lowest = min(lowest, total)
    if lowest < F0:
        for row in range(window):
            for column in range(window):
                out[row, column] -= lowest


@njit(cache=True, nogil=True)
def response_maps(image, points, to_img, visible, experts, sigmas, out):
    """Response maps out (n, w, w) around points (2n) of every visible point; the others are left alone.

    to_img (2, 2) = [a -b; b a] turns and scales the reference frame into the image.
    """
    n, window, _ = out.shape
    side = window + SUPPORT - 1
    area = np.empty((side, side), np.float32)
    scratch = np.empty((4, side * side), np.float32)
    for i in range(n):
        if visible[i]:
            warp_patch(image, to_img[0, 0], -to_img[0, 1], points[i], points[n + i], area)
            patch_response(area, experts, i, sigmas[i], scratch, out[i])
