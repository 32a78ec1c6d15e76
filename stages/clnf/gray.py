"""Colour pictures to the float32 gray that the fit works on, in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.errors import ShapeError

__all__ = ["to_gray"]

# OpenCV's fixed-point weights of BT.601. In float32 products and sums are exact too: 23 bits at most.
_BLUE = np.float32(3735 / 32768)
_GREEN = np.float32(19235 / 32768)
_RED = np.float32(9798 / 32768)
_HALF = np.float32(0.5)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _weigh(bgr: NDArray[np.uint8], gray: NDArray[np.float32]) -> None:
    """gray (h, w) f32 = rounded weighted sum of bgr (h, w, 3) u8."""
    count = gray.size
    source, line = bgr.reshape(3 * count), gray.reshape(count)
    for q in range(count):
        blue, green, red = np.float32(source[3 * q]), np.float32(source[3 * q + 1]), np.float32(source[3 * q + 2])
        line[q] = np.floor(blue * _BLUE + green * _GREEN + red * _RED + _HALF)


def to_gray(bgr: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """The gray values 0 to 255 of a picture, the very ones of OpenCV's BGR2GRAY.

    Parameters
    ----------
    bgr : (h, w, 3) uint8; may be read-only
    out : (h, w) float32, C-contiguous

    Raises
    ------
    ShapeError
    """
    if bgr.dtype != np.uint8 or bgr.shape != (*out.shape, 3):
        raise ShapeError(f"bgr: expected {(*out.shape, 3)} uint8, got {bgr.shape} {bgr.dtype}; give a colour picture")
    picture = np.ascontiguousarray(bgr).view()
    picture.flags.writeable = False  # whatever came: one signature to compile
    _weigh(picture, out)
