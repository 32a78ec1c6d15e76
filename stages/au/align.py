"""The face turned upright, scaled and cut to 112 x 112, with everything outside its outline black."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.stages.au.fhog import FACE_PX

__all__ = ["ALIGN_SCALE", "FaceAligner", "warm_up"]

ALIGN_SCALE = 0.7  # pixels of the aligned face per millimetre of the mean shape
_POINTS = 68
# The landmarks that expression moves least: jaw sides, nose, eye corners and lids.
_RIGID = (1, 2, 3, 4, 12, 13, 14, 15, 27, 28, 29, 31, 32, 33, 34, 35, 36, 39, 40, 41, 42, 45, 46, 47)
# Jaw ends and brows, raised so that the mask leaves the forehead visible.
_RAISED = (0, 16, *range(17, 27))
_RAISE_PX = 30.0 / 0.7 * ALIGN_SCALE
_FAR_PX = 1e30
_ON_BORDER_PX = 1e-9  # so near to a triangle's border counts as on it: what rounding makes of a slope


@njit(cache=True, nogil=True)
def _similarity(
    landmarks: NDArray[np.float64],
    reference: NDArray[np.float64],
    rigid: NDArray[np.int64],
    tx: float,
    ty: float,
    size: int,
    out: NDArray[np.float64],
) -> None:
    """Least-squares similarity of the rigid landmarks to the reference, as a 2 x 3 matrix.

    landmarks (136,) f64 planar, reference (136,) f64 planar about the origin, rigid (r,) i64. The scale is the
    ratio of the two spreads, the rotation the best for it; (tx, ty), the face's centre, goes to the middle of the
    size x size picture. out (2, 3) f64.
    """
    n = landmarks.size // 2
    mean_x = mean_y = ref_x = ref_y = 0.0
    for i in rigid:
        mean_x += landmarks[i]
        mean_y += landmarks[n + i]
        ref_x += reference[i]
        ref_y += reference[n + i]
    mean_x /= rigid.size
    mean_y /= rigid.size
    ref_x /= rigid.size
    ref_y /= rigid.size
    spread = ref_spread = dot = cross = 0.0
    for i in rigid:
        x = landmarks[i] - mean_x
        y = landmarks[n + i] - mean_y
        u = reference[i] - ref_x
        v = reference[n + i] - ref_y
        spread += x * x + y * y
        ref_spread += u * u + v * v
        dot += x * u + y * v
        cross += x * v - y * u
    length = math.sqrt(dot * dot + cross * cross)
    if spread == 0.0 or length == 0.0:
        out[:] = 0.0  # landmarks in one point: no face to align
        return
    scale = math.sqrt(ref_spread / spread) / length
    a = scale * dot
    b = scale * cross
    half = float(size // 2)
    out[0, 0] = a
    out[0, 1] = -b
    out[0, 2] = half - (a * tx - b * ty)
    out[1, 0] = b
    out[1, 1] = a
    out[1, 2] = half - (b * tx + a * ty)


@njit(cache=True, nogil=True)
def _bounds(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float]:
    """How far left and right, at y = 0, and by how much a row more, an edge lets a triangle reach that lies beside it.

    Edges that lead down bound it on the right, edges that lead up on the left.
    """
    if y1 == y0:
        return -_FAR_PX, _FAR_PX, 0.0
    slope = (x1 - x0) / (y1 - y0)
    at = x0 - slope * y0
    return (-_FAR_PX, at, slope) if y1 > y0 else (at, _FAR_PX, slope)


@njit(cache=True, nogil=True)
def _triangle_rows(
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    width: int,
    first: NDArray[np.int32],
    last: NDArray[np.int32],
) -> tuple[int, int]:
    """First and last pixel of each row whose centres lie in a triangle or on its border, whichever way it turns.

    first and last (h,) i32 are written for the rows from the first to the second number that are given back; a row
    without pixels has first > last.
    """
    if (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0) < 0.0:
        x1, y1, x2, y2 = x2, y2, x1, y1
    left0, right0, slope0 = _bounds(x0, y0, x1, y1)
    left1, right1, slope1 = _bounds(x1, y1, x2, y2)
    left2, right2, slope2 = _bounds(x2, y2, x0, y0)
    height = first.size
    top = int(min(max(np.ceil(min(y0, y1, y2)), 0.0), height))
    bottom = int(max(min(np.floor(max(y0, y1, y2)), height - 1.0), -1.0))
    for y in range(top, bottom + 1):
        step0, step1, step2 = slope0 * y, slope1 * y, slope2 * y
        left = max(max(left0 + step0, left1 + step1), left2 + step2)
        right = min(min(right0 + step0, right1 + step1), right2 + step2)
        first[y] = np.int32(np.ceil(min(max(left, 0.0), width) - _ON_BORDER_PX))
        last[y] = np.int32(np.floor(max(min(right, width - 1.0), -1.0) + _ON_BORDER_PX))
    return top, bottom


@njit(cache=True, nogil=True)
def _face_mask(
    landmarks: NDArray[np.float64],
    warp: NDArray[np.float64],
    raised: NDArray[np.int64],
    raise_px: float,
    triangles: NDArray[np.int32],
    points: NDArray[np.float64],
    inside: NDArray[np.bool_],
) -> None:
    """The union of the triangles of the warped landmarks.

    landmarks (136,) f64 planar; warp (2, 3) f64; raised (r,) i64 landmarks that move up by raise_px;
    triangles (t, 3) i32; points (2, 68) f64 work space; inside (h, w) bool, written whole.
    """
    n = landmarks.size // 2
    for i in range(n):
        x = landmarks[i]
        y = landmarks[n + i]
        points[0, i] = warp[0, 0] * x + warp[0, 1] * y + warp[0, 2]
        points[1, i] = warp[1, 0] * x + warp[1, 1] * y + warp[1, 2]
    for i in raised:
        points[1, i] -= raise_px
    height, width = inside.shape
    steps = np.zeros((height, width + 1), np.int16)  # by how much more triangles a pixel is in than its left neighbour
    first, last = np.empty(height, np.int32), np.empty(height, np.int32)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        top, bottom = _triangle_rows(
            points[0, i], points[1, i], points[0, j], points[1, j], points[0, k], points[1, k], width, first, last
        )
        for y in range(top, bottom + 1):
            if first[y] <= last[y]:
                steps[y, first[y]] += 1
                steps[y, last[y] + 1] -= 1
    for y in range(height):
        count = 0
        for x in range(width):
            count += steps[y, x]
            inside[y, x] = count > 0


@njit(cache=True, nogil=True)
def _blacken(face: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    """Set the pixels of face (h, w, 3) u8 outside the mask to zero."""
    for y in range(face.shape[0]):
        for x in range(face.shape[1]):
            if not inside[y, x]:
                face[y, x, 0] = 0
                face[y, x, 1] = 0
                face[y, x, 2] = 0


class FaceAligner:
    """Cuts faces to the picture that the AU heads were trained on.

    Parameters
    ----------
    mean_shape : (204,) float64, mm, planar: the mean of the AU models' PDM
    triangles : (t, 3) int32 landmark indices that cover the face

    References
    ----------
    OpenFace 2.2, AlignFaceMask.
    """

    def __init__(self, mean_shape: NDArray[np.float64], triangles: NDArray[np.int32]) -> None:
        if mean_shape.shape != (3 * _POINTS,):
            raise ShapeError(f"mean_shape: expected ({3 * _POINTS},), got {mean_shape.shape}; give the 68-point PDM's")
        self._reference = np.ascontiguousarray(mean_shape[: 2 * _POINTS] * ALIGN_SCALE, np.float64)
        self._rigid = np.array(_RIGID)
        self._raised = np.array(_RAISED)
        self._triangles = np.array(triangles, np.int32)  # writeable: one signature to compile
        self._points = np.empty((2, _POINTS))
        self._inside = np.empty((FACE_PX, FACE_PX), np.bool_)
        self._face = np.empty((FACE_PX, FACE_PX, 3), np.uint8)
        self._matrix = np.zeros((2, 3), np.float32)

    def warp_matrix(self, landmarks_px: NDArray[np.float32], centre_px: tuple[float, float]) -> NDArray[np.float64]:
        """The similarity (2, 3) float64 from image pixels to pixels of the aligned face.

        Parameters
        ----------
        landmarks_px : (136,) float32, planar
        centre_px : where in the image the middle of the aligned face lies (the PDM's translation)

        Raises
        ------
        ShapeError
        """
        if landmarks_px.shape != (2 * _POINTS,) or landmarks_px.dtype != np.float32:
            raise ShapeError(
                f"landmarks_px: expected ({2 * _POINTS},) float32, got {landmarks_px.shape} {landmarks_px.dtype}"
            )
        warp = np.empty((2, 3))
        tx, ty = float(centre_px[0]), float(centre_px[1])
        _similarity(landmarks_px.astype(np.float64), self._reference, self._rigid, tx, ty, FACE_PX, warp)
        return warp

    @property
    def last(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """How the last face was cut out, valid until the next: matrix (2, 3), and what of the square is face.

        None where its landmarks were no face's.
        """
        return (self._matrix, self._inside) if self._matrix.any() else None

    def align(
        self, bgr: NDArray[np.uint8], landmarks_px: NDArray[np.float32], centre_px: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """The masked face, (112, 112, 3) uint8 BGR: valid until the next call.

        Parameters
        ----------
        bgr : (h, w, 3) uint8
        landmarks_px, centre_px : as for `warp_matrix`

        Raises
        ------
        ShapeError
        """
        if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
            raise ShapeError(f"bgr: expected (h, w, 3) uint8, got {bgr.shape} {bgr.dtype}; give a colour picture")
        warp = self.warp_matrix(landmarks_px, centre_px)
        if not np.isfinite(warp).all() or not warp.any():
            self._matrix.fill(0.0)
            self._face.fill(0)
            return self._face
        self._matrix[:] = warp  # single precision, as the C++ program holds it
        cv2.warpAffine(bgr, self._matrix, (FACE_PX, FACE_PX), dst=self._face, flags=cv2.INTER_LINEAR)
        landmarks = landmarks_px.astype(np.float64)
        _face_mask(landmarks, warp, self._raised, _RAISE_PX, self._triangles, self._points, self._inside)
        _blacken(self._face, self._inside)
        return self._face


def warm_up() -> None:
    """Compile (or load) the kernels."""
    aligner = FaceAligner(np.arange(3.0 * _POINTS) % 7, np.array([[0, 1, 2]], np.int32))
    landmarks = (np.arange(2 * _POINTS) % 11).astype(np.float32)
    aligner.align(np.zeros((8, 8, 3), np.uint8), landmarks, (4.0, 4.0))
