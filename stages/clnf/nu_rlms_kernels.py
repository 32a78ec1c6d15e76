"""Kernels of NU-RLMS: mean shift over the response maps, and the regularised updates of pose and shape it drives.

Arithmetic only; `fitter.py` validates, allocates and names units. float32, C-contiguous, shapes planar. Symbols as in
`gauss_newton_kernels.py`; response maps are (w * w, N), the landmarks of a place side by side.

Sources: Saragih, Lucey, Cohn, "Deformable model fitting by regularized landmark mean-shift", IJCV 2011;
Baltrusaitis, Robinson, Morency, "Constrained local neural fields", ICCVW 2013; OpenFace 2.2.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.stages.clnf.fit_kernels import distance, project, shape_3d, similarity, update_params
from auflow.stages.clnf.gauss_newton_kernels import gauss_newton
from auflow.stages.clnf.response_kernels import response_maps

# Multiplications and additions may be fused; nothing else is relaxed.
CONTRACT = {"contract"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
KDE_STEP = np.float32(0.1)


@njit(cache=True, nogil=True)
def kde_table(window, a, out):
    """Gaussian kernel exp(a d^2) of every column seen from every 0.1-px position along one axis: out (10 w, w).

    The kernel of a place is the product of those of its row and its column.
    """
    for position in range(10 * window):
        for column in range(window):
            d = np.float32(position) * KDE_STEP - np.float32(column)
            out[position, column] = np.exp(a * (d * d))


@njit(cache=True, nogil=True)
def _seen_from(offsets, n, window, table, kernels, where):
    """The kernels (2, w, N) of columns and rows seen from the offsets (2N), and these in the window: where (2N).

    An offset from the window's centre is clamped to the window and rounded to the grid, as OpenFace does.
    """
    flat = offsets.size // 2
    limit = np.float32(window) - KDE_STEP
    centre, half = np.float32((window - 1) // 2), np.float32(0.5)
    for axis in range(2):
        for i in range(n):
            d = min(limit, max(F0, offsets[axis * flat + i] + centre))
            where[axis * flat + i] = d
            line = table[int(d / KDE_STEP + half)]
            for k in range(window):
                kernels[axis, k, i] = line[k]


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _add_place(responses, place, kernels, column, total, along):
    """Add a place of each landmark, seen through its column's kernel, to the sums of its row."""
    v, kernel, x = responses[place], kernels[0, column], np.float32(column)
    for i in range(total.size):
        seen = v[i] * kernel[i]
        total[i] += seen
        along[i] += seen * x


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def _add_row(line, along, kernel, row, sums):
    """Add a row's sums, seen through its kernel, to those of the window (3, N), and clear them."""
    total, x, y, height = sums[0], sums[1], sums[2], np.float32(row)
    for i in range(line.size):
        seen = line[i] * kernel[i]
        line[i] = F0
        total[i] += seen
        y[i] += seen * height
    for i in range(line.size):
        x[i] += along[i] * kernel[i]
        along[i] = F0


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def mean_shift(responses, visible, offsets, window, table, work, out):
    """Mean shift of each visible point in the reference frame; offsets and out (2N), 0 for the others.

    visible (n) bool, table as `kde_table`, work = (kernels (2, w, N), where (2N), sums (5, N)).
    """
    kernels, where, sums = work
    n, flat = visible.size, offsets.size // 2
    _seen_from(offsets, n, window, table, kernels, where)
    sums[:] = F0
    line, along = sums[3], sums[4]
    for row in range(window):
        for column in range(window):
            _add_place(responses, row * window + column, kernels, column, line, along)
        _add_row(line, along, kernels[1, row], row, sums)
    out[:] = F0
    for i in range(n):
        if visible[i]:
            out[i] = sums[1, i] / sums[0, i] - where[i]
            out[flat + i] = sums[2, i] / sums[0, i] - where[flat + i]


@njit(cache=True, nogil=True)
def landmark_likelihood(responses, visible, offsets, window, a):
    """Mean log likelihood of the visible points (n) under the KDE at the offsets (2N)."""
    flat = offsets.size // 2
    centre = np.float32((window - 1) // 2)
    across, down = np.empty(window, np.float32), np.empty(window, np.float32)
    total, count = 0.0, 0
    for i in range(visible.size):
        if not visible[i]:
            continue
        dx, dy = offsets[i] + centre, offsets[flat + i] + centre
        for k in range(window):
            across[k] = np.exp(a * ((dx - np.float32(k)) * (dx - np.float32(k))))
            down[k] = np.exp(a * ((dy - np.float32(k)) * (dy - np.float32(k))))
        inside = F0
        for row in range(window):
            for column in range(window):
                inside += responses[row * window + column, i] * (across[column] * down[row])
        total += np.log(np.float64(inside) + 1e-8)
        count += 1
    return total / max(count, 1)


@njit(cache=True, nogil=True)
def _turned(matrix, points, out):
    """out (2N) = the 2 x 2 matrix times each of points (2N)."""
    n = points.size // 2
    a, b, c, d = matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1]
    far = np.uint64(n)
    for q in range(n):
        i = np.uint64(q)
        x, y = points[i], points[far + i]
        out[i] = a * x + b * y
        out[far + i] = c * x + d * y


@njit(cache=True, nogil=True)
def nu_rlms(pdm, base, responses, visible, weights, turns, window, table, settings, work, g, p):
    """One NU-RLMS optimisation of (g, p) in place; returns (iterations, converged).

    pdm as in `gauss_newton`, for these weights (N); base (2N) the points around which the responses were taken; turns
    = the 2 x 2 matrices from the image to the reference frame and back; settings = (regularisation, iterations,
    tolerance in px); work = (arrays of the mean shift, of the step, points (5, 2N), shape (3N)), the step's x being (6)
    for a rigid fit and (m + 6) for another. The offsets of the last points are left in points[1].
    """
    mean, modes, eigenvalues = pdm[0], pdm[1], pdm[2]
    to_ref, to_img = turns
    regularisation, limit, tolerance = settings
    shifting, stepping, places, shape = work
    points, offsets, shifts, previous, pull = places[0], places[1], places[2], places[3], places[4]
    x, n = stepping[5], visible.size
    m = x.size - 6
    done = 0
    if m == 0:
        shape_3d(mean, modes, p, shape)
    for iteration in range(limit):
        if m > 0:
            shape_3d(mean, modes, p, shape)
        project(shape, g, points)
        if iteration > 0 and distance(points, previous, n) < tolerance:
            return done, True
        done += 1
        for i in range(points.size):
            previous[i] = points[i]
            shifts[i] = points[i] - base[i]
        _turned(to_ref, shifts, offsets)
        mean_shift(responses, visible, offsets, window, table, shifting, shifts)
        _turned(to_img, shifts, pull)
        if not gauss_newton(pdm, shape, pull, weights, g, p, regularisation, stepping):
            break
        update_params(g, p, x, F1)
        for j in range(m):
            bound = np.float32(3.0) * np.sqrt(eigenvalues[j])
            p[j] = min(bound, max(-bound, p[j]))
    return done, False


@njit(cache=True, nogil=True)
def start_scale(pdm, n, scale, g, p, shape, base, turns):
    """The shape (3N) and the points (2N) at the start of a scale, and the turns between image and reference frame."""
    to_ref, to_img = turns
    shape_3d(pdm[0], pdm[1], p, shape)
    project(shape, g, base)
    reference = shape[: base.size] * scale
    similarity(base, reference, n, to_ref, to_img)


@njit(cache=True, nogil=True)
def optimise(pdm, base, responses, visible, weights, turns, window, table, settings, work, g, p):
    """The rigid and then the non-rigid optimisation of a scale; returns (iterations, converged optimisations).

    work as in `nu_rlms`, with the step's arrays for both in turn.
    """
    shifting, rigid, free, places, shape = work
    both = 0
    iterations = 0
    done, converged = nu_rlms(
        pdm, base, responses, visible, weights, turns, window, table, settings, (shifting, rigid, places, shape), g, p
    )
    iterations += done
    both += converged
    done, converged = nu_rlms(
        pdm, base, responses, visible, weights, turns, window, table, settings, (shifting, free, places, shape), g, p
    )
    return iterations + done, both + converged


@njit(cache=True, nogil=True)
def fit_scale(gray, pdm, scale, experts, sigma, scratch, visible, weights, window, table, settings, work, maps, g, p):
    """A whole scale with CCNF experts: start, response maps into maps (w * w, N), optimisations."""
    base, turns, rest = work
    start_scale(pdm, visible.size, scale, g, p, rest[4], base, turns)
    response_maps(gray, base, turns[1], experts, sigma, scratch, maps)
    return optimise(pdm, base, maps, visible, weights, turns, window, table, settings, rest, g, p)
