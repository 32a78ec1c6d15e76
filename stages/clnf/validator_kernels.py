"""Kernels of the landmark validator: piecewise affine warp and a small convolutional network.

Arithmetic only; `validator.py` packs the model and calls these. float32, C-contiguous.

Source: Baltrusaitis, Robinson, Morency, "OpenFace", WACV 2016, and OpenFace 2.2's LandmarkDetectionValidator.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
_FRACTION_BITS = 5
_STEPS = np.float32(1 << _FRACTION_BITS)


@njit(cache=True, nogil=True)
def piecewise_warp(image, points, corners, barycentric, out):
    """Fetch each reference pixel q from image (h, w) into out (p,): bilinear, at positions rounded to 1/32 px.

    points (2n) are the landmarks in the image, corners (p, 3) the landmarks of the pixel's triangle and
    barycentric (p, 2) its weights of the second and third corner.
    """
    n = points.size // 2
    height, width = image.shape
    for q in range(out.size):
        i, j, k = corners[q, 0], corners[q, 1], corners[q, 2]
        a, b = barycentric[q, 0], barycentric[q, 1]
        x = points[i] + a * (points[j] - points[i]) + b * (points[k] - points[i])
        y = points[n + i] + a * (points[n + j] - points[n + i]) + b * (points[n + k] - points[n + i])
        sx = np.int64(np.rint(np.float32(x) * _STEPS))
        sy = np.int64(np.rint(np.float32(y) * _STEPS))
        ix, iy = sx >> _FRACTION_BITS, sy >> _FRACTION_BITS
        fx = np.float32(sx - (ix << _FRACTION_BITS)) / _STEPS
        fy = np.float32(sy - (iy << _FRACTION_BITS)) / _STEPS
        total = F0
        for dy in range(2):
            wy = fy if dy else np.float32(1) - fy
            for dx in range(2):
                wx = fx if dx else np.float32(1) - fx
                if 0 <= ix + dx < width and 0 <= iy + dy < height:
                    total += image[iy + dy, ix + dx] * (wx * wy)
        out[q] = total


@njit(cache=True, nogil=True)
def normalise(values, mean, deviation):
    """In place: zero mean and unit deviation of the picture itself, then of the training set."""
    total = 0.0
    for q in range(values.size):
        total += values[q]
    centre = total / values.size
    squares = 0.0
    for q in range(values.size):
        d = values[q] - centre
        squares += d * d
    spread = np.sqrt(squares / values.size)
    if spread == 0.0:
        spread = 1.0
    for q in range(values.size):
        values[q] = ((values[q] - centre) / spread - mean[q]) / deviation[q]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def convolve_relu_pool(maps, weights, biases, scratch, out):
    """out (k, h', w') = 2 x 2 maximum of relu(correlation of maps (c, h, w) with weights (k, c, i, j) + bias).

    Rows are summed at the full width of the input, so that every inner loop is long; scratch (h * w).
    """
    kernels, inputs, rows, columns = weights.shape
    height, width = maps.shape[1], maps.shape[2]
    out_height, out_width = height - rows + 1, width - columns + 1
    count = (out_height - 1) * width + out_width
    flat = maps.reshape(inputs, height * width)
    for k in range(kernels):
        for q in range(count):
            scratch[q] = biases[k]
        for c in range(inputs):
            for i in range(rows):
                line = flat[c, i * width : i * width + count + columns - 1]
                w = weights[k, c, i]
                for j in range(0, columns - 2, 3):  # three taps for one load and store of the sum
                    w0, w1, w2 = w[j], w[j + 1], w[j + 2]
                    part = line[j : j + count + 2]
                    for q in range(count):
                        scratch[q] += w0 * part[q] + w1 * part[q + 1] + w2 * part[q + 2]
                for j in range(columns - columns % 3, columns):
                    rest = line[j : j + count]
                    for q in range(count):
                        scratch[q] += w[j] * rest[q]
        for y in range(out.shape[1]):
            top = 2 * y * width
            for x in range(out.shape[2]):
                q = top + 2 * x
                upper = max(scratch[q], scratch[q + 1])
                lower = max(scratch[q + width], scratch[q + width + 1])
                out[k, y, x] = max(F0, max(upper, lower))


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def dense(inputs, weights, biases, rectify, out):
    """out = inputs @ weights (inputs, outputs) + biases, with relu when asked."""
    for o in range(out.size):
        out[o] = biases[o]
    for i in range(inputs.size):
        v = inputs[i]
        line = weights[i]
        for o in range(out.size):
            out[o] += v * line[o]
    if rectify:
        for o in range(out.size):
            out[o] = max(F0, out[o])
