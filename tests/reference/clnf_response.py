"""CCNF response maps in plain NumPy, float64: cut by fixed-point sampling, im2col, Sigma from its definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from auflow.models.types import CcnfPatchExpert

F64 = NDArray[np.float64]


def bilinear(image: NDArray[np.float32], x: F64, y: F64) -> F64:
    """Values at (x, y); the image goes on with zeros."""
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros(x.shape)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - (x - left)) * np.abs(1 - dy - (y - top))
            c, r = left + dx, top + dy
            inside = (c >= 0) & (c < image.shape[1]) & (r >= 0) & (r < image.shape[0])
            total[inside] += (weight * image[np.clip(r, 0, image.shape[0] - 1), np.clip(c, 0, image.shape[1] - 1)])[
                inside
            ]
    return total


def warp_corner(a: np.float32, b: np.float32, x: np.float32, y: np.float32, side: int) -> tuple[F64, F64]:
    """OpenCV's matrix [a -b tx; b a ty] for a square centred at (x, y): (2, 2) and (2,), computed in float32."""
    half = np.float32((side - 1) / 2)
    tx, ty = x - a * half + b * half, y - a * half - b * half
    return np.array([[a, -b], [b, a]], np.float64), np.array([tx, ty], np.float64)


def warp_patch(
    image: NDArray[np.float32], a: np.float32, b: np.float32, x: np.float32, y: np.float32, side: int, *, exact: bool
) -> F64:
    """The square (side, side); `exact` leaves out the rounding of positions to 1/32 px."""
    matrix, shift = warp_corner(a, b, x, y, side)
    row, column = np.mgrid[:side, :side].astype(np.float64)
    if exact:
        return bilinear(
            image,
            matrix[0, 0] * column + matrix[0, 1] * row + shift[0],
            matrix[1, 0] * column + matrix[1, 1] * row + shift[1],
        )
    # OpenCV: whole 1/1024 px of the row's start and of the column's step, half a 1/32 added, then cut
    places = [
        (np.rint((matrix[k, 1] * row + shift[k]) * 1024) + 16 + np.rint(matrix[k, 0] * column * 1024)) // 32 / 32
        for k in (0, 1)
    ]
    return bilinear(image, places[0], places[1])


def window_statistics(area: F64, support: int) -> tuple[F64, F64]:
    """Mean, and norm of the centred values, of every window; (k, k) each."""
    windows = sliding_window_view(area, (support, support))
    mean = windows.mean(axis=(2, 3))
    return mean, np.sqrt(((windows - mean[..., None, None]) ** 2).sum(axis=(2, 3)))


def sigma(expert: CcnfPatchExpert, components: NDArray[np.float32] | None, window: int) -> F64:
    """inv(2 (sum(alpha) I + sum(beta_k S_k)))."""
    precision = expert.alphas.sum() * np.eye(window * window)
    if components is not None:
        for beta, component in zip(expert.betas, components, strict=True):
            precision = precision + beta * component.astype(np.float64)
    return np.linalg.inv(2 * precision)


def ccnf_response(area: F64, expert: CcnfPatchExpert, weight: F64) -> F64:
    """Response (w, w) of one expert on its area (w + support - 1)^2, one window after the other."""
    support = expert.weights.shape[-1]
    side = area.shape[0] - support + 1
    out = np.zeros((side, side))
    for r in range(side):
        for c in range(side):
            values = area[r : r + support, c : c + support]
            centred = values - values.mean()
            norm = np.linalg.norm(centred)
            unit = centred / norm if norm > 1e-4 else np.zeros_like(centred)
            for k in range(expert.alphas.size):
                if expert.alphas[k] > 1e-4:
                    z = expert.norm_weights[k] * (expert.weights[k] * unit).sum() + expert.biases[k]
                    out[r, c] += 2 * expert.alphas[k] / (1 + np.exp(-z))
    out = (weight @ out.reshape(-1)).reshape(side, side)
    lowest = min(0.0, float(out.min()))
    return out - lowest


def response_maps(
    image: NDArray[np.float32],
    points: NDArray[np.float32],
    to_img: NDArray[np.float32],
    experts: Sequence[CcnfPatchExpert | None],
    components: NDArray[np.float32] | None,
    window: int,
) -> F64:
    """(n, w, w); zeros where a point has no expert."""
    out = np.zeros((len(experts), window, window))
    x, y = points.reshape(2, -1)
    for i, expert in enumerate(experts):
        if expert is not None:
            side = window + expert.weights.shape[-1] - 1
            area = warp_patch(image, to_img[0, 0], -to_img[0, 1], x[i], y[i], side, exact=False)
            out[i] = ccnf_response(area, expert, sigma(expert, components, window))
    return out
