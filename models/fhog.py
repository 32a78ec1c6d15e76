"""What the FHOG descriptor is by definition, for all that computes it: kernel and graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FHOG_CELL_PX", "FHOG_FACE_PX", "KEYS", "LARGEST_STEP", "cell_shares", "handicap", "orientation_table"]

# The kernel has them again: what a compiled function depends on must stand in its own module.
FHOG_FACE_PX = 112
FHOG_CELL_PX = 8

LARGEST_STEP = 255  # between two pixels
KEYS = 2 * LARGEST_STEP + 1  # values that one component of a gradient may have

# Four decimals are part of the descriptor's definition: finer ones move gradients at the borders of the bins.
_HALF_TURN_COS = (1.0, 0.9397, 0.7660, 0.5000, 0.1736, -0.1736, -0.5000, -0.7660, -0.9397)
_HALF_TURN_SIN = (0.0, 0.3420, 0.6428, 0.8660, 0.9848, 0.9848, 0.8660, 0.6428, 0.3420)

# Of channels with equally strong gradients the first counts: blue, green, red in the columns that the C++
# library handles eight at a time from column 1 on, red, green, blue in the remainder.
_TAIL_PX = 1 + (FHOG_FACE_PX - 2) // 8 * 8


def orientation_table() -> NDArray[np.uint8]:
    """Orientation bin of every integer gradient, indexed [dy + 255, dx + 255], (511, 511) uint8.

    Bins 0 to 8 lie 20 degrees apart from the x axis towards positive y, bin o + 9 opposite to bin o;
    the first of equal candidates wins.
    """
    span = np.arange(-LARGEST_STEP, LARGEST_STEP + 1, dtype=np.float32)
    best = np.zeros((KEYS, KEYS), np.float32)
    table = np.zeros((KEYS, KEYS), np.uint8)
    for o, (cos, sin) in enumerate(zip(_HALF_TURN_COS, _HALF_TURN_SIN, strict=True)):
        dot = np.float32(cos) * span[None, :] + np.float32(sin) * span[:, None]
        length = np.abs(dot)
        np.copyto(table, np.where(dot > 0, np.uint8(o), np.uint8(o + 9)), where=length > best)
        np.maximum(best, length, out=best)
    return table


def handicap() -> NDArray[np.int32]:
    """By column, (112,) int32: added to the squared gradient of green, then of red, either counts where it is *more*
    than what is there. So an equal one is enough in the columns that have 1.
    """
    return (np.arange(FHOG_FACE_PX) >= _TAIL_PX).astype(np.int32)


def cell_shares() -> NDArray[np.float32]:
    """What of the vote of a pixel goes to each cell of its line, (14, 112) float32.

    Linear between the centres of two cells; beyond the outermost centres a part is lost. The pixels at both ends have
    no gradient, and no share.
    """
    shares = np.zeros((FHOG_FACE_PX // FHOG_CELL_PX + 2, FHOG_FACE_PX), np.float32)  # with the two that are lost
    for pixel in range(1, FHOG_FACE_PX - 1):
        cell, place = divmod(pixel + FHOG_CELL_PX // 2, FHOG_CELL_PX)
        later = (2 * place + 1) / (2 * FHOG_CELL_PX)
        shares[cell, pixel], shares[cell + 1, pixel] = 1 - later, later
    return shares[1:-1]
