"""Felzenszwalb's HOG of the aligned face, in single precision: 12 x 12 cells of 31 numbers."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.errors import ShapeError

__all__ = ["CELL_PX", "DESCRIPTOR_SIZE", "FACE_PX", "fhog", "warm_up"]

CELL_PX = 8
FACE_PX = 112
_CELLS = FACE_PX // CELL_PX
_INNER = _CELLS - 2  # the outermost ring of cells lacks neighbours to normalise by
_BINS = 18
_FEATURES = _BINS + _BINS // 2 + 4
DESCRIPTOR_SIZE = _INNER * _INNER * _FEATURES

# Four decimals are part of the descriptor's definition: finer ones move gradients at the borders of the bins.
_HALF_TURN_COS = (1.0, 0.9397, 0.7660, 0.5000, 0.1736, -0.1736, -0.5000, -0.7660, -0.9397)
_HALF_TURN_SIN = (0.0, 0.3420, 0.6428, 0.8660, 0.9848, 0.9848, 0.8660, 0.6428, 0.3420)


def _orientation_table() -> NDArray[np.uint8]:
    """Orientation bin of every integer gradient, indexed [dy + 255, dx + 255], (511, 511) uint8.

    Bins 0 to 8 lie 20 degrees apart from the x axis towards positive y, bin o + 9 opposite to bin o;
    the first of equal candidates wins.
    """
    span = np.arange(-255, 256, dtype=np.float32)
    best = np.zeros((511, 511), np.float32)
    table = np.zeros((511, 511), np.uint8)
    for o, (cos, sin) in enumerate(zip(_HALF_TURN_COS, _HALF_TURN_SIN, strict=True)):
        dot = np.float32(cos) * span[None, :] + np.float32(sin) * span[:, None]
        for value, index in ((dot, o), (-dot, o + 9)):
            better = value > best
            best[better] = value[better]
            table[better] = index
    return table


_ORIENTATIONS = _orientation_table()

# Of channels with equally strong gradients the first counts: blue, green, red in the columns that the C++
# library handles eight at a time from column 1 on, red, green, blue in the remainder.
_TAIL_PX = 1 + (FACE_PX - 2) // 8 * 8


@njit(cache=True, nogil=True)
def _cell_histograms(bgr: NDArray[np.uint8], orientations: NDArray[np.uint8], hist: NDArray[np.float32]) -> None:
    """Vote every inner pixel's strongest channel gradient into its four nearest cells.

    bgr (112, 112, 3) u8; orientations (511, 511) u8; hist (16, 16, 18) f32, the 14 x 14 cells with a border
    that catches the votes of the outer half cells.
    """
    hist[:] = np.float32(0.0)
    height, width = bgr.shape[0], bgr.shape[1]
    inv_cell = np.float32(1.0 / CELL_PX)
    half = np.float32(0.5)
    one = np.float32(1.0)
    for y in range(1, height - 1):
        yp = (np.float32(y) + half) * inv_cell + half  # in cells of the bordered grid
        iy = int(yp)
        vy1 = yp - np.float32(iy)
        vy0 = one - vy1
        for x in range(1, width - 1):
            best = np.int32(0)
            gx = np.int32(0)
            gy = np.int32(0)
            for k in range(3):
                c = k if x < _TAIL_PX else 2 - k
                dx = np.int32(bgr[y, x + 1, c]) - np.int32(bgr[y, x - 1, c])
                dy = np.int32(bgr[y + 1, x, c]) - np.int32(bgr[y - 1, x, c])
                square = dx * dx + dy * dy
                if square > best:
                    best, gx, gy = square, dx, dy
            if best == 0:
                continue
            o = orientations[gy + 255, gx + 255]
            length = np.float32(math.sqrt(np.float32(best)))
            xp = (np.float32(x) + half) * inv_cell + half
            ix = int(xp)
            vx1 = xp - np.float32(ix)
            vx0 = one - vx1
            hist[iy, ix, o] += vy0 * vx0 * length
            hist[iy + 1, ix, o] += vy1 * vx0 * length
            hist[iy, ix + 1, o] += vy0 * vx1 * length
            hist[iy + 1, ix + 1, o] += vy1 * vx1 * length


@njit(cache=True, nogil=True)
def _cell_energies(hist: NDArray[np.float32], energy: NDArray[np.float32]) -> None:
    """Squared length of each cell's histogram over the nine undirected orientations: (14, 14) f32."""
    for y in range(energy.shape[0]):
        for x in range(energy.shape[1]):
            total = np.float32(0.0)
            for o in range(9):
                both = hist[y + 1, x + 1, o] + hist[y + 1, x + 1, o + 9]
                total += both * both
            energy[y, x] = total


@njit(cache=True, nogil=True)
def _normalise(hist: NDArray[np.float32], energy: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Each inner cell normalised by its four 2 x 2 blocks, clipped at 0.2: out (12, 12, 31) f32."""
    eps = np.float32(0.0001)
    clip = np.float32(0.2)
    half = np.float32(0.5)
    texture = np.float32(0.2357)
    zero = np.float32(0.0)
    scale = np.empty(4, np.float32)
    gradient = np.empty(4, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for k in range(4):
                r = y + 1 - k % 2
                c = x + 1 - k // 2
                block = energy[r, c] + energy[r, c + 1] + energy[r + 1, c] + energy[r + 1, c + 1] + eps
                scale[k] = np.float32(1.0) / np.float32(math.sqrt(block))
                gradient[k] = zero
            for o in range(18):
                value = hist[y + 2, x + 2, o]
                total = zero
                for k in range(4):
                    h = min(value * scale[k], clip)
                    total += h
                    gradient[k] += h
                out[y, x, o] = half * total
            for o in range(9):
                value = hist[y + 2, x + 2, o] + hist[y + 2, x + 2, o + 9]
                total = zero
                for k in range(4):
                    total += min(value * scale[k], clip)
                out[y, x, 18 + o] = half * total
            for k in range(4):
                out[y, x, 27 + k] = texture * gradient[k]


@njit(cache=True, nogil=True)
def _fhog(
    bgr: NDArray[np.uint8],
    orientations: NDArray[np.uint8],
    hist: NDArray[np.float32],
    energy: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """The three passes: votes, energies, normalisation."""
    _cell_histograms(bgr, orientations, hist)
    _cell_energies(hist, energy)
    _normalise(hist, energy, out)


def fhog(bgr: NDArray[np.uint8], *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Felzenszwalb's histogram of oriented gradients of an aligned face.

    Each pixel votes with its strongest channel, shared out bilinearly over cells of 8 x 8 pixels and 18 directions;
    each cell is normalised by its four 2 x 2 neighbourhoods and clipped at 0.2. Per cell: 18 directed sums, 9
    undirected sums, 4 texture energies.

    Parameters
    ----------
    bgr : (112, 112, 3) uint8, C-contiguous
    out : (12, 12, 31) float32, C-contiguous, or None

    Returns
    -------
    (12, 12, 31) float32, rows and columns of the inner cells, 0 to 0.4 (textures to 0.85); 4464 when flattened

    Raises
    ------
    ShapeError

    References
    ----------
    Felzenszwalb, Girshick, McAllester, Ramanan, PAMI 2010, section 6; King, dlib (its order of the features, its
    constants and its single precision; measured against it: 1.5e-7).
    """
    if bgr.shape != (FACE_PX, FACE_PX, 3) or bgr.dtype != np.uint8:
        raise ShapeError(f"bgr: expected ({FACE_PX}, {FACE_PX}, 3) uint8, got {bgr.shape} {bgr.dtype}; align it first")
    shape = (_INNER, _INNER, _FEATURES)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32:
        raise ShapeError(f"out: expected {shape} float32, got {out.shape} {out.dtype}")
    hist = np.empty((_CELLS + 2, _CELLS + 2, _BINS), np.float32)
    energy = np.empty((_CELLS, _CELLS), np.float32)
    _fhog(np.ascontiguousarray(bgr), _ORIENTATIONS, hist, energy, out)
    return out


def warm_up() -> None:
    """Compile (or load) the kernels."""
    fhog(np.zeros((FACE_PX, FACE_PX, 3), np.uint8))
