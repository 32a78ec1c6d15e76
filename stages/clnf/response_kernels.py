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
LANES = 32  # landmarks that are worked on side by side
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
def lane_statistics(area, side, mean, inverse_norm):
    """`window_statistics` of LANES patches side by side: area (s * s * LANES), results (w * w * LANES), all flat."""
    window = side - SUPPORT + 1
    centre, s, q = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    sums, squares = np.zeros((side, LANES)), np.zeros((side, LANES))
    for place in range(side * side):
        part = area[place * LANES : (place + 1) * LANES]
        for lane in range(LANES):
            centre[lane] += part[lane]
    for lane in range(LANES):
        centre[lane] = np.rint(centre[lane] / (side * side))
    for row in range(side):
        top = row - SUPPORT + 1
        for column in range(side):
            place = row * side + column
            part = area[place * LANES : (place + 1) * LANES]
            total, square = sums[column], squares[column]
            for lane in range(LANES):
                v = np.float32(part[lane] - centre[lane])
                part[lane] = v
                total[lane] += v
                square[lane] += np.float64(v) * v
            if top > 0:
                gone = area[(place - SUPPORT * side) * LANES : (place - SUPPORT * side + 1) * LANES]
                for lane in range(LANES):
                    total[lane] -= gone[lane]
                    square[lane] -= np.float64(gone[lane]) * gone[lane]
        if top < 0:
            continue
        s[:] = 0.0
        q[:] = 0.0
        for column in range(side):
            enters, enters2 = sums[column], squares[column]
            for lane in range(LANES):
                s[lane] += enters[lane]
                q[lane] += enters2[lane]
            left = column - SUPPORT + 1
            if left < 0:
                continue
            place = top * window + left
            m, n = mean[place * LANES : (place + 1) * LANES], inverse_norm[place * LANES : (place + 1) * LANES]
            leaves, leaves2 = sums[left], squares[left]
            for lane in range(LANES):
                average = s[lane] / TAPS
                variance = q[lane] - s[lane] * average
                m[lane] = average
                n[lane] = 1.0 / np.sqrt(variance) if variance > 1e-9 * TAPS else 0.0
                s[lane] -= leaves[lane]
                q[lane] -= leaves2[lane]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def convolve(area, side, weights, out):
    """Correlate LANES patches with a neuron each: area (s * s * LANES), weights (TAPS * LANES), out (w * w * LANES).

    One point of 32 landmarks a vector: no lane is wasted on the ends of short rows. Three neighbouring results share
    their 13 inputs; the last three of a row are computed again where the window is no multiple of three.
    """
    window = side - SUPPORT + 1
    for row in range(window):
        for start in range(0, window, 3):
            column = min(start, window - 3)
            c = out[(row * window + column) * LANES : (row * window + column + 3) * LANES]
            for q in range(3 * LANES):
                c[q] = F0
            for i in range(SUPPORT):
                a = area[((row + i) * side + column) * LANES : ((row + i) * side + column + SUPPORT + 2) * LANES]
                w = weights[i * SUPPORT * LANES : (i + 1) * SUPPORT * LANES]
                for lane in range(LANES):
                    x0 = a[lane]
                    x1 = a[1 * LANES + lane]
                    x2 = a[2 * LANES + lane]
                    x3 = a[3 * LANES + lane]
                    x4 = a[4 * LANES + lane]
                    x5 = a[5 * LANES + lane]
                    x6 = a[6 * LANES + lane]
                    x7 = a[7 * LANES + lane]
                    x8 = a[8 * LANES + lane]
                    x9 = a[9 * LANES + lane]
                    x10 = a[10 * LANES + lane]
                    x11 = a[11 * LANES + lane]
                    x12 = a[12 * LANES + lane]
                    w0 = w[lane]
                    w1 = w[1 * LANES + lane]
                    w2 = w[2 * LANES + lane]
                    w3 = w[3 * LANES + lane]
                    w4 = w[4 * LANES + lane]
                    w5 = w[5 * LANES + lane]
                    w6 = w[6 * LANES + lane]
                    w7 = w[7 * LANES + lane]
                    w8 = w[8 * LANES + lane]
                    w9 = w[9 * LANES + lane]
                    w10 = w[10 * LANES + lane]
                    left = w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3 + w4 * x4 + w5 * x5
                    right = w6 * x6 + w7 * x7 + w8 * x8 + w9 * x9 + w10 * x10
                    c[lane] += left + right
                    left = w0 * x1 + w1 * x2 + w2 * x3 + w3 * x4 + w4 * x5 + w5 * x6
                    right = w6 * x7 + w7 * x8 + w8 * x9 + w9 * x10 + w10 * x11
                    c[LANES + lane] += left + right
                    left = w0 * x2 + w1 * x3 + w2 * x4 + w3 * x5 + w4 * x6 + w5 * x7
                    right = w6 * x8 + w7 * x9 + w8 * x10 + w9 * x11 + w10 * x12
                    c[2 * LANES + lane] += left + right


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
def add_neuron(sums, mean, inverse_norm, neuron, exponents, response):
    """Add a neuron's sigmoid to response; all arrays of places are (w * w * LANES), flat; sums is used up.

    neuron = (weight_sums, biases, two_alphas), each (LANES,).
    """
    weight_sums, biases, two_alphas = neuron
    places = sums.size // LANES
    for place in range(places):
        start = place * LANES
        z, m, n = sums[start : start + LANES], mean[start : start + LANES], inverse_norm[start : start + LANES]
        for lane in range(LANES):
            z[lane] = (m[lane] * weight_sums[lane] - z[lane]) * n[lane] - biases[lane]
    exponential(sums, exponents, sums.size)
    for place in range(places):
        start = place * LANES
        z, r = sums[start : start + LANES], response[start : start + LANES]
        for lane in range(LANES):
            r[lane] += two_alphas[lane] / (F1 + z[lane])


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def weigh(response, lane, sigma, out):
    """out (w * w) = Sigma (w * w, w * w) times the response of one lane, raised so that nothing is below zero."""
    places = out.size
    for q in range(places):
        out[q] = F0
    for p in range(0, places - 3, 4):
        v0, v1 = response[p * LANES + lane], response[(p + 1) * LANES + lane]
        v2, v3 = response[(p + 2) * LANES + lane], response[(p + 3) * LANES + lane]
        s0, s1, s2, s3 = sigma[p], sigma[p + 1], sigma[p + 2], sigma[p + 3]
        for q in range(places):
            out[q] += v0 * s0[q] + v1 * s1[q] + v2 * s2[q] + v3 * s3[q]
    for p in range(places - places % 4, places):
        v0, s0 = response[p * LANES + lane], sigma[p]
        for q in range(places):
            out[q] += v0 * s0[q]
    lowest = F0
    for q in range(places):
        lowest = min(lowest, out[q])
    for q in range(places):
        out[q] -= lowest


@njit(cache=True, nogil=True)
def response_maps(image, points, to_img, order, experts, sigmas, out):
    """Response maps out (n, w, w) around points (2n) of the points in order; the others are left alone.

    to_img (2, 2) = [a -b; b a] turns and scales the reference frame into the image. order (g, LANES) holds the points
    of each group, -1 where a lane is empty; experts = (weights (g, k, TAPS * LANES), weight_sums, biases, two_alphas
    (g, k, LANES)), where a two_alpha of 0 switches a neuron off.
    """
    n, window, _ = out.shape
    side = window + SUPPORT - 1
    places = window * window * LANES
    weights, weight_sums, biases, two_alphas = experts
    area = np.zeros(side * side * LANES, np.float32)
    patches = area.reshape(side, side, LANES)
    mean, inverse_norm = np.empty(places, np.float32), np.empty(places, np.float32)
    sums, response, exponents = np.empty(places, np.float32), np.empty(places, np.float32), np.empty(places, np.int32)
    steps = np.empty((2, side), np.int32)
    a, b = to_img[0, 0], -to_img[0, 1]
    grid_steps(a, b, steps)
    flat = out.reshape(n, window * window)
    for g in range(order.shape[0]):
        for lane in range(LANES):
            i = order[g, lane]
            if i >= 0:
                warp_patch(image, a, b, points[i], points[n + i], steps, patches[:, :, lane])
        lane_statistics(area, side, mean, inverse_norm)
        response[:] = F0
        for k in range(weights.shape[1]):
            convolve(area, side, weights[g, k], sums)
            neuron = (weight_sums[g, k], biases[g, k], two_alphas[g, k])
            add_neuron(sums, mean, inverse_norm, neuron, exponents, response)
        for lane in range(LANES):
            i = order[g, lane]
            if i >= 0:
                weigh(response, lane, sigmas[i], flat[i])
