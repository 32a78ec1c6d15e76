"""Felzenszwalb's HOG of the aligned face, in single precision: 12 x 12 cells of 31 numbers."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.models.fhog import handicap, orientation_table

__all__ = ["CELL_PX", "DESCRIPTOR_SIZE", "FACE_PX", "fhog", "warm_up"]

# Sums may be taken in another order (1.3e-7 of the descriptor); nothing else is relaxed.
REASSOCIATE = {"reassoc"}

CELL_PX = 8
FACE_PX = 112
_CELLS = FACE_PX // CELL_PX
_INNER = _CELLS - 2  # the outermost ring of cells lacks neighbours to normalise by
_BINS = 18
_FEATURES = _BINS + _BINS // 2 + 4
DESCRIPTOR_SIZE = _INNER * _INNER * _FEATURES

_ORIENTATIONS = orientation_table().reshape(-1)

# One line of rows joined: what a gradient steps over, and the pixels that have all four neighbours (and, at the ends of
# the rows, some that have not: nobody asks for theirs).
_PIXELS = FACE_PX * FACE_PX
_INSIDE = _PIXELS - 2 * FACE_PX
_KEYS = 511  # of one gradient component
_LINE = (_CELLS + 2) * _BINS  # a row of cells with its border

# What a later channel of blue, green, red must have more to be taken.
_HANDICAP = np.tile(handicap(), FACE_PX)[FACE_PX:-FACE_PX]


@njit(cache=True, nogil=True)
def _gradients(
    bgr: NDArray[np.uint8],
    handicap: NDArray[np.int32],
    planes: NDArray[np.uint8],
    keys: NDArray[np.int32],
    lengths: NDArray[np.float32],
) -> None:
    """The strongest channel's gradient of every inner pixel: its place in the orientation table and its length.

    bgr (112, 112, 3) u8; handicap (12320,) i32; planes (3, 12544) u8 work space; keys and lengths (12544,).
    """
    flat = bgr.reshape(3 * _PIXELS)
    blue, green, red = planes[0], planes[1], planes[2]
    for q in range(_PIXELS):
        blue[q] = flat[3 * q]
    for q in range(_PIXELS):
        green[q] = flat[3 * q + 1]
    for q in range(_PIXELS):
        red[q] = flat[3 * q + 2]
    key, length = keys[FACE_PX : _PIXELS - FACE_PX], lengths[FACE_PX : _PIXELS - FACE_PX]
    for q in range(_INSIDE):
        dx = np.int32(blue[q + FACE_PX + 1]) - np.int32(blue[q + FACE_PX - 1])
        dy = np.int32(blue[q + 2 * FACE_PX]) - np.int32(blue[q])
        best = dx * dx + dy * dy
        at = dy * np.int32(_KEYS) + dx
        dx = np.int32(green[q + FACE_PX + 1]) - np.int32(green[q + FACE_PX - 1])
        dy = np.int32(green[q + 2 * FACE_PX]) - np.int32(green[q])
        square = dx * dx + dy * dy
        at = dy * np.int32(_KEYS) + dx if square + handicap[q] > best else at
        best = max(square, best)
        dx = np.int32(red[q + FACE_PX + 1]) - np.int32(red[q + FACE_PX - 1])
        dy = np.int32(red[q + 2 * FACE_PX]) - np.int32(red[q])
        square = dx * dx + dy * dy
        at = dy * np.int32(_KEYS) + dx if square + handicap[q] > best else at
        best = max(square, best)
        key[q] = at + np.int32(255 * _KEYS + 255)
        length[q] = np.sqrt(np.float32(best))


@njit(cache=True, nogil=True)
def _share(place: int) -> np.float32:
    """What of a pixel's vote goes to the later of the two cells between whose centres it lies."""
    return np.float32((place + CELL_PX // 2) % CELL_PX * 2 + 1) * np.float32(0.5 / CELL_PX)


@njit(cache=True, nogil=True)
def _cell_histograms(
    keys: NDArray[np.int32],
    lengths: NDArray[np.float32],
    orientations: NDArray[np.uint8],
    rows: NDArray[np.float32],
    hist: NDArray[np.float32],
) -> None:
    """Vote every inner pixel's gradient into its four nearest cells.

    keys and lengths (12544,); orientations (261121,) u8; rows (2304,) f32 work space; hist (16, 288) f32, the 14 x 14
    cells of 18 directions with a border that catches the votes of the outer half cells.

    The eight rows of pixels between two rows of cells have sums of their own, which are shared out at the end: half
    the additions, and those of neighbouring pixels, often of one direction, need not wait for one another.
    """
    hist[:] = np.float32(0.0)
    for band in range(_CELLS + 1):
        top = max(1, CELL_PX * band - CELL_PX // 2)
        height = min(FACE_PX - 1, CELL_PX * band + CELL_PX // 2) - top
        rows[:] = np.float32(0.0)
        for x in range(1, FACE_PX - 1):
            later = _share(x)
            earlier = np.float32(1.0) - later
            # Unsigned: no test for indices that count from the end.
            cell = np.uint64((x + CELL_PX // 2) // CELL_PX * _BINS)
            pixel = np.uint64(top * FACE_PX + x)
            for _ in range(height):
                length = lengths[pixel]
                at = cell + np.uint64(orientations[np.uint64(keys[pixel])])
                rows[at] += earlier * length
                rows[at + np.uint64(_BINS)] += later * length
                cell += np.uint64(_LINE)
                pixel += np.uint64(FACE_PX)
        upper, lower = hist[band], hist[band + 1]
        for r in range(height):
            later = _share(top + r)
            earlier = np.float32(1.0) - later
            row = rows[r * _LINE : (r + 1) * _LINE]
            for q in range(_LINE):
                upper[q] += earlier * row[q]
                lower[q] += later * row[q]


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


@njit(cache=True, nogil=True, fastmath=REASSOCIATE)
def _normalise(hist: NDArray[np.float32], energy: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Each inner cell normalised by its four 2 x 2 blocks, clipped at 0.2: out (12, 12, 31) f32."""
    clip = np.float32(0.2)
    half = np.float32(0.5)
    texture = np.float32(0.2357)
    scale = np.empty((_CELLS - 1, _CELLS - 1), np.float32)
    for y in range(_CELLS - 1):
        for x in range(_CELLS - 1):
            block = energy[y, x] + energy[y, x + 1] + energy[y + 1, x] + energy[y + 1, x + 1] + np.float32(0.0001)
            scale[y, x] = np.float32(1.0) / np.sqrt(block)
    for y in range(_INNER):
        for x in range(_INNER):
            s0, s1, s2, s3 = scale[y + 1, x + 1], scale[y, x + 1], scale[y + 1, x], scale[y, x]
            cell, found = hist[y + 2, x + 2], out[y, x]
            t0 = t1 = t2 = t3 = np.float32(0.0)
            for o in range(_BINS):
                value = cell[o]
                a, b = min(value * s0, clip), min(value * s1, clip)
                c, d = min(value * s2, clip), min(value * s3, clip)
                found[o] = half * (a + b + c + d)
                t0 += a
                t1 += b
                t2 += c
                t3 += d
            for o in range(_BINS // 2):
                value = cell[o] + cell[o + 9]
                total = min(value * s0, clip) + min(value * s1, clip) + min(value * s2, clip) + min(value * s3, clip)
                found[_BINS + o] = half * total
            for k, total in enumerate((t0, t1, t2, t3)):
                found[_BINS + 9 + k] = texture * total


@njit(cache=True, nogil=True)
def _fhog(
    bgr: NDArray[np.uint8],
    orientations: NDArray[np.uint8],
    handicap: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Gradients, votes, energies, normalisation."""
    planes = np.empty((3, _PIXELS), np.uint8)
    keys, lengths = np.empty(_PIXELS, np.int32), np.empty(_PIXELS, np.float32)
    rows, hist = np.empty(CELL_PX * _LINE, np.float32), np.empty((_CELLS + 2, _LINE), np.float32)
    energy = np.empty((_CELLS, _CELLS), np.float32)
    _gradients(bgr, handicap, planes, keys, lengths)
    _cell_histograms(keys, lengths, orientations, rows, hist)
    cells = hist.reshape(_CELLS + 2, _CELLS + 2, _BINS)
    _cell_energies(cells, energy)
    _normalise(cells, energy, out)


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
    _fhog(np.ascontiguousarray(bgr), _ORIENTATIONS, _HANDICAP, out)
    return out


def warm_up() -> None:
    """Compile (or load) the kernels."""
    fhog(np.zeros((FACE_PX, FACE_PX, 3), np.uint8))
