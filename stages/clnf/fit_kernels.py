"""Kernels of the PDM and of NU-RLMS: projection, Jacobian, CalcParams, mean shift, the regularised update.

Arithmetic only; `pdm.py` and `nu_rlms.py` validate, allocate and name units. All arrays are float32 and
C-contiguous, shapes planar. Symbols: n points, m modes, g = [scale, rx, ry, rz, tx, ty], p the m local
parameters, R the rotation Rx Ry Rz, J the (2n, 6 + m) Jacobian of the image points.

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
KDE_STEP = np.float32(0.1)
CONVERGED_PX = np.float32(0.01)
CALC_PARAMS_STEP = np.float32(0.75)
CALC_PARAMS_LIMIT = 1000


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
    for j in range(p.size):
        weight = p[j]
        for i in range(mean.size):
            out[i] += weight * modes[j, i]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def project(shape, g, out):
    """Weak-perspective projection of shape (3n) to out (2n) pixels."""
    n = shape.size // 3
    R = np.empty((3, 3), np.float32)
    rotation_from_euler(g[1], g[2], g[3], R)
    s, tx, ty = g[0], g[4], g[5]
    r00, r01, r02 = R[0, 0], R[0, 1], R[0, 2]
    r10, r11, r12 = R[1, 0], R[1, 1], R[1, 2]
    for i in range(n):
        x, y, z = shape[i], shape[n + i], shape[2 * n + i]
        out[i] = s * (r00 * x + r01 * y + r02 * z) + tx
        out[n + i] = s * (r10 * x + r11 * y + r12 * z) + ty


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def jacobian(shape, components, g, J):
    """d(image points)/d(g, p) into J (2n, 6) or (2n, 6 + m); components (3n, m)."""
    n = shape.size // 3
    m = J.shape[1] - 6
    R = np.empty((3, 3), np.float32)
    rotation_from_euler(g[1], g[2], g[3], R)
    s = g[0]
    for axis in range(2):
        r0, r1, r2 = R[axis, 0], R[axis, 1], R[axis, 2]
        a0, a1, a2 = s * r0, s * r1, s * r2
        for i in range(n):
            x, y, z = shape[i], shape[n + i], shape[2 * n + i]
            row = J[axis * n + i]
            row[0] = r0 * x + r1 * y + r2 * z
            row[1] = a2 * y - a1 * z
            row[2] = a0 * z - a2 * x
            row[3] = a1 * x - a0 * y
            row[4] = F1 if axis == 0 else F0
            row[5] = F0 if axis == 0 else F1
            vx, vy, vz = components[i], components[n + i], components[2 * n + i]
            for j in range(m):
                row[6 + j] = a0 * vx[j] + a1 * vy[j] + a2 * vz[j]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def normal_equations(J, residual, weights, H, b):
    """Lower triangle of H = J' W J and b = J' W residual; weights (n) count for both coordinates of a point.

    Both rows of a point are added at once: half the traffic on H. Above the diagonal H holds no result.
    """
    n = weights.size
    k = J.shape[1]
    for i in range(k):
        b[i] = F0
        for j in range(k):
            H[i, j] = F0
    for r in range(n):
        w = weights[r]
        if w == F0:
            continue
        row_x, row_y = J[r], J[n + r]
        ex, ey = residual[r] * w, residual[n + r] * w
        for i in range(k):
            b[i] += ex * row_x[i] + ey * row_y[i]
        for i in range(k):
            fx, fy = w * row_x[i], w * row_y[i]
            line = H[i]
            for j in range(i + 1):
                line[j] += fx * row_x[j] + fy * row_y[j]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def cholesky_solve(H, b):
    """Solve H x = b in place (x in b) from the lower triangle of a positive definite H; False when it is not."""
    k = b.size
    for i in range(k):
        for j in range(i):
            s = H[i, j]
            for q in range(j):
                s -= H[i, q] * H[j, q]
            H[i, j] = s * H[j, j]
        s = H[i, i]
        for q in range(i):
            s -= H[i, q] * H[i, q]
        if not s > F0:
            return False
        H[i, i] = F1 / np.sqrt(s)
    for i in range(k):
        s = b[i]
        for q in range(i):
            s -= H[i, q] * b[q]
        b[i] = s * H[i, i]
    for i in range(k - 1, -1, -1):
        s = b[i]
        for q in range(i + 1, k):
            s -= H[q, i] * b[q]
        b[i] = s * H[i, i]
    return True


@njit(cache=True, nogil=True)
def update_params(g, p, delta):
    """Add an update to (g, p); the rotation is composed, its increment orthonormalised.

    The increment I + [w]x has as its nearest rotation (polar factor) the turn about w by atan|w|, so no
    SVD is needed.
    """
    g[0] += delta[0]
    g[4] += delta[4]
    g[5] += delta[5]
    R = np.empty((3, 3), np.float32)
    D = np.empty((3, 3), np.float32)
    rotation_from_euler(g[1], g[2], g[3], R)
    wx, wy, wz = np.float64(delta[1]), np.float64(delta[2]), np.float64(delta[3])
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
    for j in range(delta.size - 6):
        p[j] += delta[6 + j]


@njit(cache=True, nogil=True)
def _distance(a, b):
    total = 0.0
    for i in range(a.size):
        d = np.float64(a[i]) - np.float64(b[i])
        total += d * d
    return np.sqrt(total)


@njit(cache=True, nogil=True)
def calc_params(mean, components, modes, eigenvalues, landmarks, rotation, g, p):
    """Fit (g, p) to landmarks (2n), all of them visible; returns the number of iterations.

    The stop rule is OpenFace's: the error counts the new pose with the 3-D shape from before the update,
    and the third step that gains less than 0.1 % ends the fit.
    """
    n = mean.size // 3
    m = eigenvalues.size
    k = 6 + m
    x_low, x_high, y_low, y_high = landmarks[:n].min(), landmarks[:n].max(), landmarks[n:].min(), landmarks[n:].max()
    width = mean[:n].max() - mean[:n].min()
    height = mean[n : 2 * n].max() - mean[n : 2 * n].min()
    g[0] = ((x_high - x_low) / width + (y_high - y_low) / height) / F2
    g[1], g[2], g[3] = rotation[0], rotation[1], rotation[2]
    g[4], g[5] = (x_low + x_high) / F2, (y_low + y_high) / F2
    for j in range(m):
        p[j] = F0
    shape, points, residual = mean.copy(), np.empty(2 * n, np.float32), np.empty(2 * n, np.float32)
    J, H = np.empty((2 * n, k), np.float32), np.empty((k, k), np.float32)
    b, weights = np.empty(k, np.float32), np.ones(n, np.float32)
    project(shape, g, points)
    previous = _distance(points, landmarks)
    stalled = 0
    for iteration in range(CALC_PARAMS_LIMIT):
        shape_3d(mean, modes, p, shape)
        project(shape, g, points)
        for i in range(2 * n):
            residual[i] = landmarks[i] - points[i]
        jacobian(shape, components, g, J)
        normal_equations(J, residual, weights, H, b)
        for j in range(m):
            b[6 + j] -= p[j] / eigenvalues[j]
            H[6 + j, 6 + j] += F1 / eigenvalues[j]
        if not cholesky_solve(H, b):
            return iteration
        for i in range(k):
            b[i] *= CALC_PARAMS_STEP
        update_params(g, p, b)
        project(shape, g, points)
        error = _distance(points, landmarks)
        if 0.999 * previous < error:
            stalled += 1
            if stalled == 3:
                return iteration + 1
        previous = error
    return CALC_PARAMS_LIMIT


@njit(cache=True, nogil=True)
def similarity(source, target, forward, backward):
    """The 2 x 2 turn and scale that takes centred source (2n) to centred target, and its inverse, in float64 inside.

    Least squares for the turn, the scale from the ratio of the sizes, as in OpenFace's AlignShapesWithScale.
    """
    n = source.size // 2
    sx, sy, tx, ty = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        sx += source[i]
        sy += source[n + i]
        tx += target[i]
        ty += target[n + i]
    cosine, sine, source_size, target_size = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        x, y = source[i] - sx / n, source[n + i] - sy / n
        u, v = target[i] - tx / n, target[n + i] - ty / n
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
def kde_grid(window, a, out):
    """Gaussian kernel exp(a d^2) seen from every 0.1-px position: out ((10 w)^2, w^2), position row-major in (x, y)."""
    steps = 10 * window
    for ix in range(steps):
        for iy in range(steps):
            line = out[ix * steps + iy]
            for row in range(window):
                dy = np.float32(iy) * KDE_STEP - np.float32(row)
                for column in range(window):
                    dx = np.float32(ix) * KDE_STEP - np.float32(column)
                    line[row * window + column] = np.exp(a * (dy * dy + dx * dx))


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def mean_shift(responses, visible, offsets, grid, out):
    """Mean shift of each visible point in the reference frame; offsets and out (2n), responses (n, w, w).

    The offset from the window's centre is clamped to the window and rounded to the grid, as OpenFace does.
    """
    n, window, _ = responses.shape
    steps = 10 * window
    limit = np.float32(window) - KDE_STEP
    centre = np.float32((window - 1) // 2)
    half = np.float32(0.5)
    for i in range(n):
        if not visible[i]:
            out[i] = F0
            out[n + i] = F0
            continue
        dx = min(limit, max(F0, offsets[i] + centre))
        dy = min(limit, max(F0, offsets[n + i] + centre))
        kernel = grid[int(dx / KDE_STEP + half) * steps + int(dy / KDE_STEP + half)]
        response = responses[i]
        total, mx, my = F0, F0, F0
        for row in range(window):
            line, line_x = F0, F0
            for column in range(window):
                v = response[row, column] * kernel[row * window + column]
                line += v
                line_x += v * np.float32(column)
            total += line
            mx += line_x
            my += line * np.float32(row)
        out[i] = mx / total - dx
        out[n + i] = my / total - dy


@njit(cache=True, nogil=True)
def landmark_likelihood(responses, visible, offsets, a):
    """Mean log likelihood of the visible points under the KDE at the offsets (2n)."""
    n, window, _ = responses.shape
    centre = np.float32((window - 1) // 2)
    total, count = 0.0, 0
    for i in range(n):
        if not visible[i]:
            continue
        dx, dy = offsets[i] + centre, offsets[n + i] + centre
        inside = F0
        for row in range(window):
            vy = (dy - np.float32(row)) * (dy - np.float32(row))
            for column in range(window):
                vx = (dx - np.float32(column)) * (dx - np.float32(column))
                inside += responses[i, row, column] * np.exp(a * (vx + vy))
        total += np.log(np.float64(inside) + 1e-8)
        count += 1
    return total / max(count, 1)


@njit(cache=True, nogil=True)
def _reference_offsets(points, base, to_ref, out):
    n = points.size // 2
    for i in range(n):
        dx, dy = points[i] - base[i], points[n + i] - base[n + i]
        out[i] = to_ref[0, 0] * dx + to_ref[0, 1] * dy
        out[n + i] = to_ref[1, 0] * dx + to_ref[1, 1] * dy


@njit(cache=True, nogil=True)
def _image_shifts(shifts, to_img):
    n = shifts.size // 2
    for i in range(n):
        sx, sy = shifts[i], shifts[n + i]
        shifts[i] = to_img[0, 0] * sx + to_img[0, 1] * sy
        shifts[n + i] = to_img[1, 0] * sx + to_img[1, 1] * sy


@njit(cache=True, nogil=True)
def nu_rlms(model, base, responses, visible, weights, similarity, grid, settings, J, g, p):
    """One NU-RLMS optimisation of (g, p) in place; returns (log likelihood, iterations, converged).

    model = (mean, components, modes, eigenvalues); similarity = (sim_img_to_ref, sim_ref_to_img), 2 x 2;
    settings = (kde_variance, regularisation, iterations); J (2n, 6) makes the fit rigid, (2n, 6 + m) not.
    """
    mean, components, modes, eigenvalues = model
    to_ref, to_img = similarity
    variance, regularisation, limit = settings
    a = np.float32(-0.5) / variance
    k = J.shape[1]
    m = k - 6
    shape, points, previous = np.empty_like(mean), np.empty_like(base), np.empty_like(base)
    offsets, shifts = np.empty_like(base), np.empty_like(base)
    H, b = np.empty((k, k), np.float32), np.empty(k, np.float32)
    done = 0
    converged = False
    if m == 0:
        shape_3d(mean, modes, p, shape)
    for iteration in range(limit):
        if m > 0:
            shape_3d(mean, modes, p, shape)
        project(shape, g, points)
        if iteration > 0 and _distance(points, previous) < CONVERGED_PX:
            converged = True
            break
        previous[:] = points
        done += 1
        _reference_offsets(points, base, to_ref, offsets)
        mean_shift(responses, visible, offsets, grid, shifts)
        _image_shifts(shifts, to_img)
        jacobian(shape, components, g, J)
        normal_equations(J, shifts, weights, H, b)
        for j in range(m):
            b[6 + j] -= regularisation * p[j] / eigenvalues[j]
            H[6 + j, 6 + j] += regularisation / eigenvalues[j]
        if not cholesky_solve(H, b):
            break
        update_params(g, p, b)
        for j in range(m):
            bound = np.float32(3.0) * np.sqrt(eigenvalues[j])
            p[j] = min(bound, max(-bound, p[j]))
    return landmark_likelihood(responses, visible, offsets, a), done, converged
