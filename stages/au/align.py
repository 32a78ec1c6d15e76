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
def _fill_triangle(x0: float, y0: float, x1: float, y1: float, x2: float, y2: float, inside: NDArray[np.bool_]) -> None:
    """Mark the pixels whose centres lie in a triangle or on its border, whichever way it turns."""
    height, width = inside.shape
    left = max(math.ceil(min(x0, x1, x2)), 0)
    right = min(math.floor(max(x0, x1, x2)), width - 1)
    top = max(math.ceil(min(y0, y1, y2)), 0)
    bottom = min(math.floor(max(y0, y1, y2)), height - 1)
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            e0 = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
            e1 = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
            e2 = (x0 - x2) * (y - y2) - (y0 - y2) * (x - x2)
            if (e0 >= 0.0 and e1 >= 0.0 and e2 >= 0.0) or (e0 <= 0.0 and e1 <= 0.0 and e2 <= 0.0):
                inside[y, x] = True


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
    inside[:] = False
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        _fill_triangle(points[0, i], points[1, i], points[0, j], points[1, j], points[0, k], points[1, k], inside)


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
            self._face.fill(0)
            return self._face
        # Single precision, as the C++ program holds the matrix.
        matrix = warp.astype(np.float32)
        cv2.warpAffine(bgr, matrix, (FACE_PX, FACE_PX), dst=self._face, flags=cv2.INTER_LINEAR)
        landmarks = landmarks_px.astype(np.float64)
        _face_mask(landmarks, warp, self._raised, _RAISE_PX, self._triangles, self._points, self._inside)
        _blacken(self._face, self._inside)
        return self._face


def warm_up() -> None:
    """Compile (or load) the kernels."""
    aligner = FaceAligner(np.arange(3.0 * _POINTS) % 7, np.array([[0, 1, 2]], np.int32))
    landmarks = (np.arange(2 * _POINTS) % 11).astype(np.float32)
    aligner.align(np.zeros((8, 8, 3), np.uint8), landmarks, (4.0, 4.0))
