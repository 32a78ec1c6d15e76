"""Kernels of the landmark validator: piecewise affine warp and a small convolutional network.

Arithmetic only; `validator.py` packs the model and calls `certainty`. float32, C-contiguous unless told otherwise.

Source: Baltrusaitis, Robinson, Morency, "OpenFace", WACV 2016, and OpenFace 2.2's LandmarkDetectionValidator.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Multiplications and additions may be fused; sums may be taken in another order; nothing else is relaxed.
CONTRACT = {"contract"}
REASSOCIATE = {"contract", "reassoc"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
MARGIN_PX = 3.0
TAPS = 5  # lines that `weigh_lines` adds in one pass ...
MAPS = 5  # ... to this many maps: their weights just fit into the 32 registers of AVX-512; more would be spilled
LANES = 16  # numbers in a vector: lines and layers are padded to whole ones
INPUTS = 8  # that `dense` adds in one pass
_FRACTION_BITS = 5
_STEPS = np.float32(1 << _FRACTION_BITS)
_FRACTION = np.float32(1.0 / (1 << _FRACTION_BITS))
_MASK = (1 << _FRACTION_BITS) - 1


@njit(cache=True, nogil=True)
def region(height, width, points):
    """Left, top, width and height of the part of a picture around the points (2n), cut at whole pixels."""
    n = points.size // 2
    left, top = max(0.0, points[:n].min() - MARGIN_PX), max(0.0, points[n:].min() - MARGIN_PX)
    right, bottom = min(width - 1.0, points[:n].max() + MARGIN_PX), min(height - 1.0, points[n:].max() + MARGIN_PX)
    if not (right > left and bottom > top):
        return 0, 0, 0, 0
    return int(left), int(top), int(right - left), int(bottom - top)


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def warp_positions(points, triangles, barycentric, starts, places, out):
    """Where each reference pixel is fetched from, in 1/32 px: out (2, p) i32.

    points (2n) are the landmarks; triangles (t, 3) i32 their corners; barycentric (t, 6) f64 gives, of (1, x, y), the
    weights of the second and of the third corner; places (2, p) f64 are the reference pixels, triangle by triangle:
    those of triangle i from starts[i] to starts[i + 1].
    """
    n = points.size // 2
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        span = slice(starts[t], starts[t + 1])
        x, y = places[0, span], places[1, span]
        for axis in range(2):
            origin = np.float64(points[axis * n + i])
            second = np.float64(points[axis * n + j] - points[axis * n + i])
            third = np.float64(points[axis * n + k] - points[axis * n + i])
            c0 = origin + barycentric[t, 0] * second + barycentric[t, 3] * third
            c1 = barycentric[t, 1] * second + barycentric[t, 4] * third
            c2 = barycentric[t, 2] * second + barycentric[t, 5] * third
            line = out[axis, span]
            for q in range(line.size):
                line[q] = np.int32(np.rint(np.float32(c0 + c1 * x[q] + c2 * y[q]) * _STEPS))


@njit(cache=True, nogil=True)
def fetch(image, positions, out):
    """Bilinear values out (p,) of image (h, w), of any layout, at positions (2, p) i32 in 1/32 px; zero outside."""
    height, width = image.shape
    for q in range(out.size):
        sx, sy = np.int64(positions[0, q]), np.int64(positions[1, q])
        ix, iy = sx >> _FRACTION_BITS, sy >> _FRACTION_BITS
        fx, fy = np.float32(sx & _MASK) * _FRACTION, np.float32(sy & _MASK) * _FRACTION
        gx, gy = F1 - fx, F1 - fy
        if 0 <= ix < width - 1 and 0 <= iy < height - 1:
            upper = image[iy, ix] * (gx * gy) + image[iy, ix + 1] * (fx * gy)
            out[q] = upper + image[iy + 1, ix] * (gx * fy) + image[iy + 1, ix + 1] * (fx * fy)
            continue
        total = F0
        for dy in range(2):
            for dx in range(2):
                if 0 <= ix + dx < width and 0 <= iy + dy < height:
                    total += image[iy + dy, ix + dx] * ((fx if dx else gx) * (fy if dy else gy))
        out[q] = total


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def normalise(values, mean, inverse_deviation):
    """In place: zero mean and unit deviation of the picture itself, then of the training set (both f64)."""
    total = 0.0
    for q in range(values.size):
        total += values[q]
    centre = total / values.size
    squares = 0.0
    for q in range(values.size):
        d = values[q] - centre
        squares += d * d
    spread = np.sqrt(squares / values.size)
    scale = 1.0 / spread if spread > 0.0 else 1.0
    for q in range(values.size):
        values[q] = ((values[q] - centre) * scale - mean[q]) * inverse_deviation[q]


@njit(cache=True, nogil=True)
def shifted_copies(maps, columns, out):
    """The `columns` pictures of width w - columns + 1 that lie side by side in each of maps (c, h, w).

    out, flat, takes c x columns pictures, rows joined: with them a correlation is a sum of long weighted lines.
    """
    count, height, width = maps.shape
    narrow = width - columns + 1
    pictures = out[: count * columns * height * narrow].reshape(count, columns, height, narrow)
    for c in range(count):
        for j in range(columns):
            for y in range(height):
                source, line = maps[c, y, j : j + narrow], pictures[c, j, y]
                for x in range(narrow):
                    line[x] = source[x]


@njit(inline="always")
def _five(values, at):
    return values[at], values[at + 1], values[at + 2], values[at + 3], values[at + 4]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def weigh_lines(flat, offsets, weights, biases, out):
    """out (k, count) = biases (k) + the sum over t of weights (k, t) times the line of flat that starts at offsets (t).

    k is a multiple of MAPS, t one of TAPS (padded with zero weights) and count one of LANES: one load of a point serves
    five maps, one load and store of a sum five points.
    """
    maps, count = out.shape[0], out.shape[1] // LANES * LANES
    for k in range(maps):
        line = out[k]
        for q in range(count):
            line[q] = biases[k]
    for t in range(0, offsets.size, TAPS):
        a, b, c, d, e = _five(offsets, t)
        l0, l1, l2 = flat[a : a + count], flat[b : b + count], flat[c : c + count]
        l3, l4 = flat[d : d + count], flat[e : e + count]
        for k in range(0, maps, MAPS):
            o0, o1, o2, o3, o4 = _five(out, k)
            a0, a1, a2, a3, a4 = _five(weights[k], t)
            b0, b1, b2, b3, b4 = _five(weights[k + 1], t)
            c0, c1, c2, c3, c4 = _five(weights[k + 2], t)
            d0, d1, d2, d3, d4 = _five(weights[k + 3], t)
            e0, e1, e2, e3, e4 = _five(weights[k + 4], t)
            for q in range(count):
                x0, x1, x2, x3, x4 = l0[q], l1[q], l2[q], l3[q], l4[q]
                o0[q] = o0[q] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + a4 * x4
                o1[q] = o1[q] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3 + b4 * x4
                o2[q] = o2[q] + c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3 + c4 * x4
                o3[q] = o3[q] + d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3 + d4 * x4
                o4[q] = o4[q] + e0 * x0 + e1 * x1 + e2 * x2 + e3 * x3 + e4 * x4


@njit(cache=True, nogil=True)
def relu_pool(sums, width, out):
    """out (m, h // 2, w // 2) = 2 x 2 maximum of relu(sums (k, >= h * w)); an odd last row or column is left out."""
    for k in range(out.shape[0]):
        for y in range(out.shape[1]):
            upper, lower, line = sums[k, 2 * y * width :], sums[k, (2 * y + 1) * width :], out[k, y]
            for x in range(line.size):
                a = max(upper[2 * x], upper[2 * x + 1])
                b = max(lower[2 * x], lower[2 * x + 1])
                line[x] = max(F0, max(a, b))


@njit(cache=True, nogil=True)
def convolve(maps, layer):
    """layer.maps = the maximum of 2 x 2 of relu(correlation of maps (c, h, w) + bias); layer is a `PackedLayer`."""
    shifted_copies(maps, layer.columns, layer.flat)
    weigh_lines(layer.flat, layer.offsets, layer.weights, layer.biases, layer.sums)
    relu_pool(layer.sums, layer.width, layer.maps)


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def dense(inputs, weights, biases, rectify, out):
    """out = inputs @ weights (inputs, outputs) + biases, with relu when asked. The inputs are a multiple of INPUTS."""
    for o in range(out.size):
        out[o] = biases[o]
    for i in range(0, inputs.size, INPUTS):
        v0, v1, v2, v3 = inputs[i], inputs[i + 1], inputs[i + 2], inputs[i + 3]
        v4, v5, v6, v7 = inputs[i + 4], inputs[i + 5], inputs[i + 6], inputs[i + 7]
        w0, w1, w2, w3 = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        w4, w5, w6, w7 = weights[i + 4], weights[i + 5], weights[i + 6], weights[i + 7]
        for o in range(out.size):
            left = v0 * w0[o] + v1 * w1[o] + v2 * w2[o] + v3 * w3[o]
            out[o] += left + (v4 * w4[o] + v5 * w5[o] + v6 * w6[o] + v7 * w7[o])
    if rectify:
        for o in range(out.size):
            out[o] = max(F0, out[o])


@njit(cache=True, nogil=True)
def scores(image, points, view):
    """The CNN's scores (bins,) for points (2n) on image (h, w): a view into the scratch of `view`, a `PackedView`."""
    warp_positions(points, view.triangles, view.barycentric, view.starts, view.places, view.positions)
    fetch(image, view.positions, view.values)
    normalise(view.values, view.mean, view.inverse_deviation)
    maps = view.face
    picture = maps.reshape(maps.size)
    for q in range(view.values.size):
        picture[view.pixels[q]] = view.values[q]
    for layer in view.convolutions:
        convolve(maps, layer)
        maps = layer.maps
    dense(view.features, view.hidden_weights, view.hidden_biases, True, view.hidden)
    dense(view.hidden, view.score_weights, view.score_biases, False, view.scores)
    return view.scores[: view.bins]


@njit(cache=True, nogil=True)
def certainty(image, points, view):
    """The centre of the likeliest of the CNN's bins, 0 to 1; 0 where the points lie outside the image."""
    left, top, width, height = region(image.shape[0], image.shape[1], points)
    if width == 0 or height == 0:
        return 0.0
    local = np.empty_like(points)
    n = points.size // 2
    for i in range(n):
        local[i], local[n + i] = points[i] - np.float32(left), points[n + i] - np.float32(top)
    found = scores(image[top : top + height, left : left + width], local, view)
    return 1.0 - (found.argmax() + 0.5) / found.size
