"""Alignment by singular value decomposition and a mask by half planes over the whole picture."""

import numpy as np


def similarity(landmarks, reference, rigid, centre, size):
    """landmarks (n, 2), reference (n, 2): the (2, 3) matrix of the similarity; `centre` goes to the middle."""
    source, target = landmarks[rigid], reference[rigid]
    source = source - source.mean(axis=0)
    target = target - target.mean(axis=0)
    scale = np.linalg.norm(target) / np.linalg.norm(source)
    u, _, vt = np.linalg.svd(source.T @ target)
    turn = np.diag([1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    matrix = scale * vt.T @ turn @ u.T
    return np.column_stack([matrix, size // 2 - matrix @ centre])


def mask(landmarks, warp, raised, raise_px, triangles, size):
    """(size, size) bool: pixels in or on any triangle of the warped landmarks (n, 2)."""
    points = landmarks @ warp[:, :2].T + warp[:, 2]
    points[list(raised), 1] -= raise_px
    y, x = np.mgrid[0:size, 0:size].astype(float)
    inside = np.zeros((size, size), bool)
    for corners in triangles:
        p = points[corners]
        sides = [
            (p[(i + 1) % 3, 0] - p[i, 0]) * (y - p[i, 1]) - (p[(i + 1) % 3, 1] - p[i, 1]) * (x - p[i, 0])
            for i in range(3)
        ]
        inside |= np.all(np.stack(sides) >= 0, axis=0) | np.all(np.stack(sides) <= 0, axis=0)
    return inside
