"""Kernels of the PDM: rotation, shape, projection, the update of pose and shape, the similarity of two shapes.

Arithmetic only; `pdm.py` validates, allocates and names units. All arrays are float32 and C-contiguous, shapes
planar. Symbols: n points, m modes, g = [scale, rx, ry, rz, tx, ty], p the m local parameters, R the rotation Rx Ry Rz.

Sources: Saragih, Lucey, Cohn, "Deformable model fitting by regularized landmark mean-shift", IJCV 2011;
Baltrusaitis, Robinson, Morency, "Constrained local neural fields", ICCVW 2013; OpenFace 2.2.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
F2 = np.float32(2.0)


@njit(cache=True, nogil=True)
def rotation_from_euler(rx, ry, rz, out):
    """R = Rx Ry Rz of three angles in radians."""
    s1, s2, s3 = np.sin(rx), np.sin(ry), np.sin(rz)
    c1, c2, c3 = np.cos(rx), np.cos(ry), np.cos(rz)
    out[0, 0] = c2 * c3
    out[0, 1] = -c2 * s3
    out[0, 2] = s2
    out[1, 0] = c1 * s3 + c3 * s1 * s2
    out[1, 1] = c1 * c3 - s1 * s2 * s3
    out[1, 2] = -c2 * s1
    out[2, 0] = s1 * s3 - c1 * c3 * s2
    out[2, 1] = c3 * s1 + c1 * s2 * s3
    out[2, 2] = c1 * c2


@njit(cache=True, nogil=True)
def euler_from_rotation(R):
    """The three angles of R = Rx Ry Rz, by way of the unit quaternion."""
    q0 = np.sqrt(F1 + R[0, 0] + R[1, 1] + R[2, 2]) / F2
    q1 = (R[2, 1] - R[1, 2]) / (F2 * F2 * q0)
    q2 = (R[0, 2] - R[2, 0]) / (F2 * F2 * q0)
    q3 = (R[1, 0] - R[0, 1]) / (F2 * F2 * q0)
    sine = min(F1, max(-F1, F2 * (q0 * q2 + q1 * q3)))
    rx = np.arctan2(F2 * (q0 * q1 - q2 * q3), q0 * q0 - q1 * q1 - q2 * q2 + q3 * q3)
    ry = np.arcsin(sine)
    rz = np.arctan2(F2 * (q0 * q3 - q1 * q2), q0 * q0 + q1 * q1 - q2 * q2 - q3 * q3)
    return rx, ry, rz


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def shape_3d(mean, modes, p, out):
    """out (3n) = mean + p . modes, where modes (m, 3n) holds one principal component a row."""
    for i in range(mean.size):
        out[i] = mean[i]
    m = p.size
    for j in range(0, m - 3, 4):  # four modes for one load and store of the sum
        p0, p1, p2, p3 = p[j], p[j + 1], p[j + 2], p[j + 3]
        v0, v1, v2, v3 = modes[j], modes[j + 1], modes[j + 2], modes[j + 3]
        for i in range(mean.size):
            out[i] += (p0 * v0[i] + p1 * v1[i]) + (p2 * v2[i] + p3 * v3[i])
    for j in range(m - m % 4, m):
        weight, mode = p[j], modes[j]
        for i in range(mean.size):
            out[i] += weight * mode[i]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def project(shape, g, out):
    """Weak-perspective projection of shape (3n) to out (2n) pixels."""
    n = shape.size // 3
    R = np.empty((3, 3), np.float32)
    rotation_from_euler(g[1], g[2], g[3], R)
    s, tx, ty = g[0], g[4], g[5]
    r00, r01, r02 = R[0, 0], R[0, 1], R[0, 2]
    r10, r11, r12 = R[1, 0], R[1, 1], R[1, 2]
    far = np.uint64(n)  # unsigned: a test for places below zero would stand in the way of vectors
    for q in range(n):
        i = np.uint64(q)
        x, y, z = shape[i], shape[far + i], shape[far + far + i]
        out[i] = s * (r00 * x + r01 * y + r02 * z) + tx
        out[far + i] = s * (r10 * x + r11 * y + r12 * z) + ty


@njit(cache=True, nogil=True)
def landmarks(mean, modes, g, p, out):
    """The image points out (2n) of the parameters."""
    shape = np.empty_like(mean)
    shape_3d(mean, modes, p, shape)
    project(shape, g, out)


@njit(cache=True, nogil=True)
def update_params(g, p, x, step):
    """Add `step` times x (m + 6: p first, or 6: only g) to (g, p); the rotation is composed, its increment made one.

    The increment I + [w]x has as its nearest rotation (polar factor) the turn about w by atan|w|, so no
    SVD is needed.
    """
    m = x.size - 6
    g[0] += step * x[m]
    g[4] += step * x[m + 4]
    g[5] += step * x[m + 5]
    R = np.empty((3, 3), np.float32)
    D = np.empty((3, 3), np.float32)
    rotation_from_euler(g[1], g[2], g[3], R)
    wx, wy, wz = np.float64(step * x[m + 1]), np.float64(step * x[m + 2]), np.float64(step * x[m + 3])
    norm2 = wx * wx + wy * wy + wz * wz
    c = 1.0 / np.sqrt(1.0 + norm2)
    # (1 - cos)/|w|^2 written so that it stays exact for small |w|
    q = c * c / (1.0 + c)
    D[0, 0], D[0, 1], D[0, 2] = c + q * wx * wx, q * wx * wy - c * wz, q * wx * wz + c * wy
    D[1, 0], D[1, 1], D[1, 2] = q * wx * wy + c * wz, c + q * wy * wy, q * wy * wz - c * wx
    D[2, 0], D[2, 1], D[2, 2] = q * wx * wz - c * wy, q * wy * wz + c * wx, c + q * wz * wz
    T = np.empty((3, 3), np.float32)
    for i in range(3):
        for j in range(3):
            T[i, j] = R[i, 0] * D[0, j] + R[i, 1] * D[1, j] + R[i, 2] * D[2, j]
    rx, ry, rz = euler_from_rotation(T)
    if np.isnan(rx) or np.isnan(ry) or np.isnan(rz):
        rx, ry, rz = F0, F0, F0
    g[1], g[2], g[3] = rx, ry, rz
    for j in range(m):
        p[j] += step * x[j]


@njit(cache=True, nogil=True)
def distance(a, b, n):
    """Euclidean distance of the first n points of a and b (2N)."""
    flat = a.size // 2
    total = 0.0
    for axis in range(2):
        for i in range(axis * flat, axis * flat + n):
            d = np.float64(a[i]) - np.float64(b[i])
            total += d * d
    return np.sqrt(total)


@njit(cache=True, nogil=True)
def similarity(source, target, n, forward, backward):
    """The 2 x 2 turn and scale that takes n centred points of source to target, and its inverse, in float64 inside.

    source and target are planar, (2N) or longer, of N points an axis.

    Least squares for the turn, the scale from the ratio of the sizes, as in OpenFace's AlignShapesWithScale.
    """
    flat = source.size // 2
    sx, sy, tx, ty = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        sx += source[i]
        sy += source[flat + i]
        tx += target[i]
        ty += target[flat + i]
    cosine, sine, source_size, target_size = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        x, y = source[i] - sx / n, source[flat + i] - sy / n
        u, v = target[i] - tx / n, target[flat + i] - ty / n
        cosine += x * u + y * v
        sine += x * v - y * u
        source_size += x * x + y * y
        target_size += u * u + v * v
    factor = np.sqrt(target_size / source_size) / np.sqrt(cosine * cosine + sine * sine)
    a, b = factor * cosine, factor * sine
    square = a * a + b * b
    forward[0, 0], forward[0, 1], forward[1, 0], forward[1, 1] = a, -b, b, a
    backward[0, 0], backward[0, 1], backward[1, 0], backward[1, 1] = a / square, b / square, -b / square, a / square


@njit(cache=True, nogil=True)
def nearest_view(centres, g):
    """The view whose centre (k, 3) float64, radians, is nearest to the head's rotation; the first of equals."""
    best, least = 0, np.inf
    for view in range(centres.shape[0]):
        away = 0.0
        for axis in range(3):
            d = centres[view, axis] - np.float64(g[1 + axis])
            away += d * d
        if away < least:
            best, least = view, away
    return best
