"""Kernels of the regularised Gauss-Newton step in pose and shape, and of CalcParams, which repeats it.

Arithmetic only; `pdm.py` packs the model. All arrays are float32 and C-contiguous, shapes planar. Symbols: n points, N
their number in whole groups of lanes (those behind the n-th have weight 0), m modes, g = [scale, rx, ry, rz, tx, ty],
p the m local parameters, R the rotation Rx Ry Rz, J the Jacobian of the image points.

The step solves J' W J x = J' W r. Point i's share of J by the modes is a fixed matrix V times rows of R, so
J' W J over the modes is a sum of six constant matrices (`gram`), and everything about the pose follows from the
moments of the shape: the Jacobian itself is never written down.

Sources: Saragih, Lucey, Cohn, "Deformable model fitting by regularized landmark mean-shift", IJCV 2011; OpenFace 2.2.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.stages.clnf.fit_kernels import distance, project, rotation_from_euler, shape_3d, update_params
from auflow.stages.clnf.lanes import LANES

# Multiplications and additions may be fused; nothing else is relaxed ...
CONTRACT = {"contract"}
# ... but in long sums, whose parts may be added in any order.
SUMS = {"contract", "reassoc"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
F2 = np.float32(2.0)
_STEP = np.float32(0.75)
_LIMIT = 1000


@njit(cache=True, nogil=True, fastmath=SUMS)
def moments(shape, residual, weights, out):
    """Weighted sums (18,) over the points of shape (3N) and residual (2N).

    xx yy zz xy xz yz | x y z | 1 | x.rx y.rx z.rx rx | x.ry y.ry z.ry ry
    """
    n = np.uint64(weights.size)
    xx, yy, zz, xy, xz, yz, x1, y1, z1, one = F0, F0, F0, F0, F0, F0, F0, F0, F0, F0
    for q in range(weights.size):
        i = np.uint64(q)
        x, y, z, w = shape[i], shape[n + i], shape[n + n + i], weights[i]
        wx, wy, wz = w * x, w * y, w * z
        xx += wx * x
        yy += wy * y
        zz += wz * z
        xy += wx * y
        xz += wx * z
        yz += wy * z
        x1 += wx
        y1 += wy
        z1 += wz
        one += w
    out[0], out[1], out[2], out[3], out[4], out[5] = xx, yy, zz, xy, xz, yz
    out[6], out[7], out[8], out[9] = x1, y1, z1, one
    for axis in range(2):
        begin = np.uint64(axis) * n
        rx, ry, rz, r1 = F0, F0, F0, F0
        for q in range(weights.size):
            i = np.uint64(q)
            r = weights[i] * residual[begin + i]
            rx += r * shape[i]
            ry += r * shape[n + i]
            rz += r * shape[n + n + i]
            r1 += r
        place = 10 + 4 * axis
        out[place], out[place + 1], out[place + 2], out[place + 3] = rx, ry, rz, r1


@njit(cache=True, nogil=True)
def pose_rows(R, s, A):
    """d(point)/d(scale and turn) is linear in the point: A (2, 4, 3) are its factors for both image axes."""
    for axis in range(2):
        r0, r1, r2 = R[axis, 0], R[axis, 1], R[axis, 2]
        for row in range(4):
            for column in range(3):
                A[axis, row, column] = F0
        A[axis, 0, 0], A[axis, 0, 1], A[axis, 0, 2] = r0, r1, r2
        A[axis, 1, 1], A[axis, 1, 2] = s * r2, -s * r1
        A[axis, 2, 0], A[axis, 2, 2] = -s * r2, s * r0
        A[axis, 3, 0], A[axis, 3, 1] = s * r1, -s * r0


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def pose_equations(M, A, m, H):
    """The six rows of the pose, at m of H, from the moments M (18,) and the factors A; column m + 6 is J' W r."""
    last = m + 6
    for i in range(4):
        for axis in range(2):
            a = A[axis, i]
            sx = a[0] * M[0] + a[1] * M[3] + a[2] * M[4]
            sy = a[0] * M[3] + a[1] * M[1] + a[2] * M[5]
            sz = a[0] * M[4] + a[1] * M[5] + a[2] * M[2]
            for j in range(i, 4):
                c = A[axis, j]
                value = sx * c[0] + sy * c[1] + sz * c[2]
                H[m + i, m + j] = value if axis == 0 else H[m + i, m + j] + value
            H[m + i, m + 4 + axis] = a[0] * M[6] + a[1] * M[7] + a[2] * M[8]
            k = 10 + 4 * axis
            value = a[0] * M[k] + a[1] * M[k + 1] + a[2] * M[k + 2]
            H[m + i, last] = value if axis == 0 else H[m + i, last] + value
    H[m + 4, m + 4], H[m + 4, m + 5], H[m + 4, last] = M[9], F0, M[13]
    H[m + 5, m + 5], H[m + 5, last] = M[9], M[17]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _pulls(shape, residual, weights, R, s, A, U):
    """U (5, 3N): what V' has to be multiplied with for J' W J between modes and pose (4 rows), and for J' W r (1)."""
    n = np.uint64(weights.size)
    for axis in range(3):
        begin = np.uint64(axis) * n
        a, b = s * R[0, axis], s * R[1, axis]
        for k in range(4):
            c0 = a * A[0, k, 0] + b * A[1, k, 0]
            c1 = a * A[0, k, 1] + b * A[1, k, 1]
            c2 = a * A[0, k, 2] + b * A[1, k, 2]
            row = U[k]
            for q in range(weights.size):
                i = np.uint64(q)
                row[begin + i] = weights[i] * (c0 * shape[i] + c1 * shape[n + i] + c2 * shape[n + n + i])
        row = U[4]
        for q in range(weights.size):
            i = np.uint64(q)
            row[begin + i] = weights[i] * (a * residual[i] + b * residual[n + i])


@njit(cache=True, nogil=True, fastmath=SUMS)
def _coupled(modes, U, m, H):
    """Rows of the modes in H: their products with scale and turn, and J' W r."""
    u0, u1, u2, u3, u4 = U[0], U[1], U[2], U[3], U[4]
    for j in range(m):
        v = modes[j]
        s0, s1, s2, s3, s4 = F0, F0, F0, F0, F0
        for i in range(v.size):
            s0 += v[i] * u0[i]
            s1 += v[i] * u1[i]
            s2 += v[i] * u2[i]
            s3 += v[i] * u3[i]
            s4 += v[i] * u4[i]
        H[j, m], H[j, m + 1], H[j, m + 2], H[j, m + 3], H[j, m + 6] = s0, s1, s2, s3, s4


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _modes_block(gram, s, R, m, H):
    """The modes' own block of H, above the diagonal: six constant matrices, weighed by products of rows of R."""
    square = s * s
    xx = square * (R[0, 0] * R[0, 0] + R[1, 0] * R[1, 0])
    yy = square * (R[0, 1] * R[0, 1] + R[1, 1] * R[1, 1])
    zz = square * (R[0, 2] * R[0, 2] + R[1, 2] * R[1, 2])
    xy = square * (R[0, 0] * R[0, 1] + R[1, 0] * R[1, 1])
    xz = square * (R[0, 0] * R[0, 2] + R[1, 0] * R[1, 2])
    yz = square * (R[0, 1] * R[0, 2] + R[1, 1] * R[1, 2])
    width, size = gram.shape[1], np.uint64(gram.shape[1] * m)
    flat = gram.reshape(-1)
    for j in range(m):
        begin = j // LANES * LANES
        row, start = H[j, begin:width], np.uint64(j * width + begin)
        for q in range(row.size):
            a = start + np.uint64(q)
            b = a + size
            c = b + size
            d = c + size
            e = d + size
            row[q] = (xx * flat[a] + yy * flat[b] + zz * flat[c]) + (xy * flat[d] + xz * flat[e] + yz * flat[e + size])


@njit(cache=True, nogil=True)
def gauss_newton(pdm, shape, residual, weights, g, p, damping, work):
    """Solve the regularised step (p and g, in this order) into work's x (m + 6); False where there is none.

    pdm = (mean (3N), modes (m, 3N), eigenvalues (m), gram (6 m, M), sums (3, m)), gram and sums for these weights;
    damping is the factor of the prior on p; m = 0 leaves the shape alone.
    """
    _, modes, eigenvalues, gram, sums = pdm
    R, A, M, U, H, x = work
    m, s = x.size - 6, g[0]
    rotation_from_euler(g[1], g[2], g[3], R)
    pose_rows(R, s, A)
    moments(shape, residual, weights, M)
    pose_equations(M, A, m, H)
    if m > 0:
        _modes_block(gram, s, R, m, H)
        _pulls(shape, residual, weights, R, s, A, U)
        _coupled(modes, U, m, H)
        for j in range(m):
            for axis in range(2):
                H[j, m + 4 + axis] = s * (R[axis, 0] * sums[0, j] + R[axis, 1] * sums[1, j] + R[axis, 2] * sums[2, j])
            H[j, m + 6] -= damping * p[j] / eigenvalues[j]
            H[j, j] += damping / eigenvalues[j]
    return solve_upper(H, x)


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _eliminate(H, width, k, begin):
    """Take from row k of the flat H, from column `begin` on, what the rows above it explain: four of them at a time."""
    size, row = width - begin, np.uint64(k * width + begin)
    for i in range(0, k - 3, 4):
        at = i * width
        f0, f1, f2, f3 = H[at + k], H[at + width + k], H[at + 2 * width + k], H[at + 3 * width + k]
        r0, r1 = np.uint64(at + begin), np.uint64(at + width + begin)
        r2, r3 = np.uint64(at + 2 * width + begin), np.uint64(at + 3 * width + begin)
        for q in range(size):
            c = np.uint64(q)
            H[row + c] -= (f0 * H[r0 + c] + f1 * H[r1 + c]) + (f2 * H[r2 + c] + f3 * H[r3 + c])
    for i in range(k - k % 4, k):
        f0, r0 = H[i * width + k], np.uint64(i * width + begin)
        for q in range(size):
            c = np.uint64(q)
            H[row + c] -= f0 * H[r0 + c]


@njit(cache=True, nogil=True, fastmath=SUMS)
def solve_upper(H, x):
    """Solve for x (k) from the upper triangle of a positive definite H (k, >= k + 1), column k the right-hand side.

    Cholesky's factor and the solved right-hand side replace them. False where H is not positive definite.
    """
    k, width = x.size, H.shape[1]
    flat = H.reshape(-1)
    for i in range(k):
        _eliminate(flat, width, i, i // LANES * LANES)
        pivot = flat[i * width + i]
        if not pivot > F0:
            return False
        factor, row = F1 / np.sqrt(pivot), np.uint64(i * width + i)
        for q in range(k + 1 - i):
            flat[row + np.uint64(q)] *= factor
    for i in range(k - 1, -1, -1):
        total, row = flat[i * width + k], np.uint64(i * width)
        for q in range(i + 1, k):
            total -= flat[row + np.uint64(q)] * x[q]
        x[i] = total / flat[i * width + i]
    return True


@njit(cache=True, nogil=True)
def _start(mean, landmarks, n, rotation, g):
    """Scale and place of the mean shape from the landmarks' extent."""
    flat = mean.size // 3
    x, y, u, v = landmarks[:n], landmarks[flat : flat + n], mean[:n], mean[flat : flat + n]
    x_low, x_high, y_low, y_high = x.min(), x.max(), y.min(), y.max()
    g[0] = ((x_high - x_low) / (u.max() - u.min()) + (y_high - y_low) / (v.max() - v.min())) / F2
    g[1], g[2], g[3] = rotation[0], rotation[1], rotation[2]
    g[4], g[5] = (x_low + x_high) / F2, (y_low + y_high) / F2


@njit(cache=True, nogil=True)
def calc_params(pdm, weights, landmarks, n, rotation, work, g, p):
    """Fit (g, p) to the first n of landmarks (2N), all of them visible; returns the number of iterations.

    pdm as for `gauss_newton`, for weights (N) of 1. The stop rule is OpenFace's: the error counts the new pose with
    the 3-D shape from before the update, and the third step that gains less than 0.1 % ends the fit.
    """
    mean, modes = pdm[0], pdm[1]
    x = work[5]
    _start(mean, landmarks, n, rotation, g)
    for j in range(p.size):
        p[j] = F0
    shape, points, residual = mean.copy(), np.empty_like(landmarks), np.empty_like(landmarks)
    project(shape, g, points)
    previous = distance(points, landmarks, n)
    stalled = 0
    for iteration in range(_LIMIT):
        shape_3d(mean, modes, p, shape)
        project(shape, g, points)
        for i in range(landmarks.size):
            residual[i] = landmarks[i] - points[i]
        if not gauss_newton(pdm, shape, residual, weights, g, p, F1, work):
            return iteration
        update_params(g, p, x, _STEP)
        project(shape, g, points)
        error = distance(points, landmarks, n)
        if 0.999 * previous < error:
            stalled += 1
            if stalled == 3:
                return iteration + 1
        previous = error
    return _LIMIT
