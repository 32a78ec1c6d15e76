"""The arithmetic between MTCNN's networks: pyramid, decoding, suppression, regression and crops. Plain NumPy.

Boxes are rows of x, y, w, h [px, top-left corner] and, where a fifth column stands, the score. Rounding, order and
the odd extra pixel are the C++ program's: its traces are met to the last integer.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MIN_FACE_PX",
    "decode_cells",
    "face_probability",
    "fit_to_landmarks",
    "level_size_px",
    "normalised_patches",
    "pyramid_scales",
    "regress",
    "resize_to_planes",
    "square",
    "suppress",
    "widest",
]

MIN_FACE_PX = 60
PYRAMID_FACTOR = 0.709
RECEPTIVE_FIELD_PX = 12
CELL_STRIDE_PX = 2


def pyramid_scales(height_px: int, width_px: int) -> list[float]:
    """Scales at which PNet looks at an image: the first makes a face of 60 px 12 px large; none for a tinier image."""
    scale = RECEPTIVE_FIELD_PX / MIN_FACE_PX
    scales = []
    while min(height_px, width_px) * scale >= RECEPTIVE_FIELD_PX:
        scales.append(scale)
        scale *= PYRAMID_FACTOR
    return scales


def level_size_px(height_px: int, width_px: int, scale: float) -> tuple[int, int]:
    """Height and width of a pyramid level, rounded up."""
    return math.ceil(height_px * scale), math.ceil(width_px * scale)


def resize_to_planes(image: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Bilinear resize of (h, w, 3) BGR values of 0 to 255 to (3, h', w') RGB planes of about -1 to 1 in `out`."""
    resized = cv2.resize(image, (out.shape[2], out.shape[1]), interpolation=cv2.INTER_LINEAR)
    np.subtract(resized[:, :, ::-1].transpose(2, 0, 1), np.float32(127.5), out=out)
    out *= np.float32(0.0078125)


def face_probability(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax of the first two of (n, k) raw outputs: (n,) float32.

    Kept in float32 on purpose: near 1 it has few values, and equal scores decide the order of `suppress`.
    """
    with np.errstate(over="ignore"):  # exp may reach infinity: the probability is 0 then
        odds = np.exp(outputs[:, 0] - outputs[:, 1])
    probability: NDArray[np.float32] = np.float32(1) / (np.float32(1) + odds)
    return probability


def decode_cells(
    outputs: NDArray[np.float32], scale: float, threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes of PNet's cells that pass the threshold, in row-major order.

    Parameters
    ----------
    outputs : (6, rows, columns) float32
        PNet's raw outputs: no face, face, then the corrections of the left, upper, right and lower edge.
    scale : float
        Of this pyramid level against the image.
    threshold : float
        Least face probability.

    Returns
    -------
    boxes : (k, 5) float32
        Whole pixels of the image, and score.
    corrections : (k, 4) float32
        As fractions of the box's size.
    """
    rows, columns = np.nonzero(outputs[1] - outputs[0] > math.log(threshold / (1 - threshold)) - 0.01)
    cells = outputs[:, rows, columns].T
    score = face_probability(cells)
    passed = score >= np.float32(threshold)
    first = CELL_STRIDE_PX * np.stack((columns, rows), 1)[passed]
    # The field starts at 1 and not at 0: coordinates counted from one, here and in the crops below.
    start = np.trunc((first + 1) / scale)
    end = np.trunc((first + RECEPTIVE_FIELD_PX) / scale)
    boxes = np.concatenate((start, end - start, score[passed, None]), axis=1).astype(np.float32)
    return boxes, cells[passed, 2:6]


def suppress(boxes: NDArray[np.float32], overlap: float, *, by_minimum: bool = False) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes : (n, 5) float32
    overlap : float
        A box goes when it overlaps a better one by more than this fraction of their union.
    by_minimum : bool
        Fraction of the smaller area instead.

    Returns
    -------
    (k,) intp
        Kept rows, the best first. Of equal scores the later row is taken first, as in the C++ program.
    """
    order = np.argsort(boxes[:, 4], kind="stable")[::-1]
    x, y, width, height = boxes[order, :4].T
    right, lower, area = x + width, y + height, width * height
    alive = np.ones(len(order), bool)
    kept = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = slice(i + 1, None)
        across = np.minimum(right[i], right[rest]) - np.maximum(x[i], x[rest])
        down = np.minimum(lower[i], lower[rest]) - np.maximum(y[i], y[rest])
        common = np.maximum(across, 0) * np.maximum(down, 0)
        # Compared as products: boxes without area then overlap nothing, instead of dividing by zero.
        base = np.minimum(area[i], area[rest]) if by_minimum else area[i] + area[rest] - common
        alive[rest] &= common <= np.float32(overlap) * base
    return order[kept]


def regress(boxes: NDArray[np.float32], corrections: NDArray[np.float32], *, extra_px: int = 0) -> NDArray[np.float32]:
    """Move the edges of (n, 4) boxes by (n, 4) corrections (left, upper, right, lower; fractions of the size).

    `extra_px` is added to the size first: 1 after ONet, which counts the last pixel in, else 0.
    """
    size = boxes[:, 2:4] + np.float32(extra_px)
    start = boxes[:, :2] + corrections[:, :2] * size
    end = boxes[:, :2] + size + corrections[:, 2:4] * size
    return np.concatenate((start, end - start), axis=1)


def square(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grow (n, 4) boxes about their centres to squares and cut them to whole pixels, towards zero."""
    side = np.maximum(boxes[:, 2:3], boxes[:, 3:4])
    half = np.float32(0.5)
    squares = np.concatenate((boxes[:, :2] + boxes[:, 2:4] * half - side * half, side, side), axis=1)
    np.trunc(squares, out=squares)
    return squares


def normalised_patches(
    image: NDArray[np.float32] | NDArray[np.uint8], boxes: NDArray[np.float32], side_px: int
) -> NDArray[np.float32]:
    """What a network sees of each box, black outside the image.

    Parameters
    ----------
    image : (h, w, 3) float32 or uint8
        BGR, 0 to 255; the same patches of either.
    boxes : (n, 4) float32
        Whole pixels. The crop starts one pixel above and left of the box and is one pixel larger: the boxes count
        from one and include their last pixel.
    side_px : int
        Of the patches that come out.

    Returns
    -------
    (n, 3, side, side) float32
        RGB planes of about -1 to 1.
    """
    patches = np.empty((len(boxes), 3, side_px, side_px), np.float32)
    for patch, (x, y, width, height) in zip(patches, boxes.astype(np.int64).tolist(), strict=True):
        crop = _crop(image, x - 1, y - 1, width + 1, height + 1)
        resize_to_planes(crop.astype(np.float32, copy=False), patch)
    return patches


def _crop(
    image: NDArray[np.float32] | NDArray[np.uint8], left: int, top: int, width: int, height: int
) -> NDArray[np.float32] | NDArray[np.uint8]:
    """A view where the crop lies inside the image, else a copy on black; at least 1 x 1."""
    rows, columns = image.shape[:2]
    right, lower = left + width, top + height
    if 0 <= left < right <= columns and 0 <= top < lower <= rows:
        return image[top:lower, left:right]
    crop = np.zeros((max(height, 1), max(width, 1), 3), image.dtype)
    x0, x1 = max(left, 0), min(right, columns)
    y0, y1 = max(top, 0), min(lower, rows)
    if x0 < x1 and y0 < y1:
        crop[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return crop


def fit_to_landmarks(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn (n, 5) boxes of MTCNN into ones that hold the 68 landmarks: lower, a little wider, less high."""
    x, y, width, height, score = boxes.T.astype(np.float64)
    corrected = (x - 0.0075 * width, y + 0.2459 * height, 1.0323 * width, 0.7751 * height, score)
    return np.stack(corrected, axis=1).astype(np.float32)


def widest(boxes: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The face that a video follows.

    Parameters
    ----------
    boxes : (k, 5) float32
        From `MtcnnDetector.detect`.

    Returns
    -------
    (4,) float32 or None
        x, y, w, h of the widest box, the first of equals; None without boxes.
    """
    if len(boxes) == 0:
        return None
    return boxes[int(np.argmax(boxes[:, 2])), :4].copy()
