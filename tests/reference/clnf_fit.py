"""PDM, CalcParams and NU-RLMS in plain NumPy, float64: written from the equations, slow, and easy to check by eye.

Symbols as in `stages/clnf/fit_kernels.py`: g = [scale, rx, ry, rz, tx, ty], p the local parameters, shapes planar.
A model is the tuple (mean (3n,), components (3n, m), eigenvalues (m,)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Model = tuple[F64, F64, F64]


def rotation(rx: float, ry: float, rz: float) -> F64:
    """Rx @ Ry @ Rz."""
    (s1, s2, s3), (c1, c2, c3) = np.sin([rx, ry, rz]), np.cos([rx, ry, rz])
    about_x = np.array([[1, 0, 0], [0, c1, -s1], [0, s1, c1]])
    about_y = np.array([[c2, 0, s2], [0, 1, 0], [-s2, 0, c2]])
    about_z = np.array([[c3, -s3, 0], [s3, c3, 0], [0, 0, 1]])
    matrix: F64 = about_x @ about_y @ about_z
    return matrix


def euler(matrix: F64) -> F64:
    """The angles of Rx @ Ry @ Rz, read off its last column and first row."""
    return np.array(
        [
            np.arctan2(-matrix[1, 2], matrix[2, 2]),
            np.arcsin(np.clip(matrix[0, 2], -1, 1)),
            np.arctan2(-matrix[0, 1], matrix[0, 0]),
        ]
    )


def cross_matrix(w: F64) -> F64:
    """[w]x."""
    return np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])


def polar_factor(matrix: F64) -> F64:
    """The rotation nearest to a matrix, by SVD."""
    u, _, vt = np.linalg.svd(matrix)
    fix = np.diag([1, 1, np.linalg.det(u @ vt)])
    nearest: F64 = u @ fix @ vt
    return nearest


def shape_3d(model: Model, p: F64) -> F64:
    """(3n,)."""
    return model[0] + model[1] @ p


def project(shape: F64, g: F64) -> F64:
    """Weak perspective: (3n,) to (2n,)."""
    turned = rotation(*g[1:4]) @ shape.reshape(3, -1)
    points: F64 = g[0] * turned[:2] + g[4:6, None]
    return points.reshape(-1)


def update(g: F64, p: F64, delta: F64) -> tuple[F64, F64]:
    """Add a step: the rotation's increment I + [w]x is made orthonormal and composed on the right."""
    turn = rotation(*g[1:4]) @ polar_factor(np.eye(3) + cross_matrix(delta[1:4]))
    return np.array([g[0] + delta[0], *euler(turn), g[4] + delta[4], g[5] + delta[5]]), p + delta[6:]


def jacobian(model: Model, g: F64, p: F64, *, rigid: bool = False) -> F64:
    """d(image points)/d(step) at step 0: (2n, 6) or (2n, 6 + m)."""
    n = model[0].size // 3
    top = rotation(*g[1:4])[:2]
    shape = shape_3d(model, p).reshape(3, n)
    columns = [(top @ shape).reshape(-1)]
    columns += [(g[0] * top @ np.cross(axis, shape.T).T).reshape(-1) for axis in np.eye(3)]
    columns += [np.repeat([1.0, 0.0], n), np.repeat([0.0, 1.0], n)]
    if not rigid:
        columns += [(g[0] * top @ mode.reshape(3, n)).reshape(-1) for mode in model[1].T]
    return np.stack(columns, axis=1)


def jacobian_by_differences(model: Model, g: F64, p: F64, step: float = 1e-5) -> F64:
    """The same by central differences through `update`."""
    columns = []
    for unit in np.eye(6 + p.size):
        ahead = update(g, p, step * unit)
        back = update(g, p, -step * unit)
        columns.append(project(shape_3d(model, ahead[1]), ahead[0]) - project(shape_3d(model, back[1]), back[0]))
    return np.stack(columns, axis=1) / (2 * step)


def normal_equations(J: F64, residual: F64, weights: F64) -> tuple[F64, F64]:
    """J' W J and J' W residual with W from one weight a point."""
    W = np.diag(np.tile(weights, 2))
    return J.T @ W @ J, J.T @ W @ residual


def _solve(J: F64, residual: F64, weights: F64, p: F64, eigenvalues: F64, strength: float) -> F64:
    H, b = normal_equations(J, residual, weights)
    m = J.shape[1] - 6
    if m:
        b[6:] -= strength * p / eigenvalues
        H[6:, 6:] += strength * np.diag(1 / eigenvalues)
    solution: F64 = np.linalg.solve(H, b).astype(np.float64)
    return solution


def calc_params(model: Model, landmarks: F64, turn: F64) -> tuple[F64, F64]:
    """OpenFace's PDM::CalcParams with its own stop rule."""
    n = model[0].size // 3
    xy, flat = landmarks.reshape(2, n), model[0].reshape(3, n)[:2]
    scale = (np.ptp(xy, axis=1) / np.ptp(flat, axis=1)).mean()
    g = np.array([scale, *turn, *((xy.min(axis=1) + xy.max(axis=1)) / 2)])
    p = np.zeros(model[2].size)
    previous = np.linalg.norm(project(model[0], g) - landmarks)
    stalled = 0
    for _ in range(1000):
        shape = shape_3d(model, p)
        residual = landmarks - project(shape, g)
        step = 0.75 * _solve(jacobian(model, g, p), residual, np.ones(n), p, model[2], 1.0)
        g, p = update(g, p, step)
        error = np.linalg.norm(project(shape, g) - landmarks)
        stalled += bool(0.999 * previous < error)
        if stalled == 3:
            break
        previous = error
    return g, p


def kde_grid(window: int, a: float) -> F64:
    """exp(a d^2) of every cell of the window from every 0.1-px position (x outer, y inner)."""
    steps, cells = np.arange(10 * window) * 0.1, np.arange(window)
    away = (steps[:, None] - cells) ** 2
    return np.exp(a * (away[:, None, None, :] + away[None, :, :, None])).reshape(steps.size**2, window**2)


def mean_shift(responses: F64, visible: NDArray[np.bool_], offsets: NDArray[np.float32], a: float) -> F64:
    """KDE mean shift of each point without a precomputed grid; positions are rounded to 0.1 px in float32."""
    n, window, _ = responses.shape
    out = np.zeros((2, n))
    cells = np.arange(window)
    tenth, top = np.float32(0.1), np.float32(window) - np.float32(0.1)
    for i in np.flatnonzero(visible):
        at = np.clip(offsets.reshape(2, n)[:, i] + np.float32((window - 1) // 2), np.float32(0), top)
        x, y = np.floor(at / tenth + np.float32(0.5)) * 0.1
        weight = responses[i] * np.exp(a * ((cells - x) ** 2 + ((cells - y) ** 2)[:, None]))
        out[0, i] = (weight * cells).sum() / weight.sum() - at[0]
        out[1, i] = (weight * cells[:, None]).sum() / weight.sum() - at[1]
    return out.reshape(-1)


def landmark_likelihood(responses: F64, visible: NDArray[np.bool_], offsets: F64, a: float) -> float:
    """Mean over the visible points of log(sum(response * exp(a d^2)) + 1e-8)."""
    n, window, _ = responses.shape
    cells = np.arange(window)
    total = []
    for i in np.flatnonzero(visible):
        x, y = offsets.reshape(2, n)[:, i] + (window - 1) // 2
        density = responses[i] * np.exp(a * ((cells - x) ** 2 + ((cells - y) ** 2)[:, None]))
        total.append(np.log(density.sum() + 1e-8))
    return float(np.mean(total))


def nu_rlms(
    model: Model,
    base: F64,
    responses: F64,
    visible: NDArray[np.bool_],
    weights: F64,
    similarity: tuple[F64, F64],
    settings: tuple[float, float, int],
    start: tuple[F64, F64],
    *,
    rigid: bool,
) -> tuple[F64, F64, float]:
    """One optimisation from `start`; settings = (kde variance, regularisation, iterations)."""
    to_ref, to_img = similarity
    variance, strength, limit = settings
    a, n = -0.5 / variance, weights.size
    g, p = start[0].copy(), start[1].copy()
    previous = None
    for _ in range(limit):
        points = project(shape_3d(model, p), g)
        if previous is not None and np.linalg.norm(points - previous) < 0.01:
            break
        previous = points
        offsets = (to_ref @ (points - base).reshape(2, n)).reshape(-1)
        shifts = mean_shift(responses, visible, offsets.astype(np.float32), a)
        residual = (to_img @ shifts.reshape(2, n)).reshape(-1)
        step = _solve(jacobian(model, g, p, rigid=rigid), residual, weights, p, model[2], strength)
        g, p = update(g, p, np.concatenate([step, np.zeros(p.size)]) if rigid else step)
        p = np.clip(p, -3 * np.sqrt(model[2]), 3 * np.sqrt(model[2])) if not rigid else p
    return g, p, landmark_likelihood(responses, visible, offsets, a)
