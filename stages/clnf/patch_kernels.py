"""Kernels that cut the patches around landmarks and measure the contrast of every convolution window in them.

Arithmetic only. float32 images. `warp_patch` and `window_statistics` work on one patch, `lane_statistics` on LANES
patches side by side: element (place * LANES + lane), places row by row.

Source: the fixed-point sampling grid of OpenCV's warpAffine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.stages.clnf.lanes import LANES

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
    """Mean and 1 / norm of the centred values of every SUPPORT x SUPPORT window of area (s, s); 0 without contrast.

    Both out arrays are flat with row stride s, as `convolve` leaves its sums. The area is centred on its
    own mean first (in place), so that the sums of squares keep their digits: on the nearest
    whole grey value, so that no value is rounded, which would show where there is little contrast.
    """
    side = area.shape[0]
    window = side - SUPPORT + 1
    total = 0.0
    for row in range(side):
        for column in range(side):
            total += area[row, column]
    centre = np.float32(np.rint(total / (side * side)))
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
            inverse_norm[top * side + column] = 1.0 / np.sqrt(variance) if variance > 1e-9 * TAPS else 0.0
            s -= sums[column]
            q -= squares[column]


@njit(cache=True, nogil=True)
def _centre(area, side):
    """Take each patch's mean, as a whole grey value, from it: sums of squares keep their digits, values theirs."""
    count = side * LANES
    sums = np.zeros(count)
    for row in range(side):
        start = np.uint64(row * count)
        for q in range(count):
            sums[q] += area[start + np.uint64(q)]
    for q in range(count - LANES):
        sums[q + LANES] += sums[q]
    centre = np.empty(count, np.float32)
    last = np.uint64(count - LANES)
    for q in range(LANES):
        centre[q] = np.rint(sums[last + np.uint64(q)] / (side * side))
    for q in range(count - LANES):
        centre[q + LANES] = centre[q]
    for row in range(side):
        start = np.uint64(row * count)
        for q in range(count):
            area[start + np.uint64(q)] -= centre[q]


@njit(cache=True, nogil=True, error_model="numpy")  # a test for a divisor of 0 would stand in the way of vectors
def lane_statistics(area, side, mean, inverse_norm):
    """`window_statistics` of LANES patches side by side: area (s * s * LANES), results (w * w * LANES), all flat."""
    window, count = side - SUPPORT + 1, side * LANES
    _centre(area, side)
    sums, squares = np.zeros(count + LANES), np.zeros(count + LANES)  # of columns; the last LANES stay 0
    total, square = np.zeros(count + LANES), np.zeros(count + LANES)  # of all columns to the left
    lane, reach = np.uint64(LANES), np.uint64(SUPPORT * LANES)
    for row in range(side):
        new = np.uint64(row * count)
        for q in range(count):
            v = np.float64(area[new + np.uint64(q)])
            sums[q] += v
            squares[q] += v * v
        if row >= SUPPORT:
            old = np.uint64((row - SUPPORT) * count)
            for q in range(count):
                v = np.float64(area[old + np.uint64(q)])
                sums[q] -= v
                squares[q] -= v * v
        if row < SUPPORT - 1:
            continue
        for q in range(count):
            total[np.uint64(q) + lane] = total[q] + sums[q]
            square[np.uint64(q) + lane] = square[q] + squares[q]
        goal = np.uint64((row - SUPPORT + 1) * window * LANES)
        for q in range(window * LANES):
            k = np.uint64(q)
            s = total[k + reach] - total[k]
            average = s / TAPS
            variance = (square[k + reach] - square[k]) - s * average
            mean[goal + k] = average
            inverse_norm[goal + k] = F1 / np.sqrt(np.float32(variance)) if variance > 1e-9 * TAPS else F0
