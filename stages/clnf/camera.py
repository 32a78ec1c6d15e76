"""The camera: 3-D landmarks, head pose and gaze from a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.stages.clnf import camera_kernels as kernels

__all__ = ["Camera", "Placement", "place_face"]

Floats = NDArray[np.float32]

# The corners of the left and of the right eye (of the picture) among the face's 68 points.
_EYE_CORNERS = ((36, 39), (42, 45))


@dataclass(frozen=True, slots=True)
class Camera:
    """Pinhole camera, all in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def guess(cls, width_px: int, height_px: int) -> Camera:
        """OpenFace's guess for an unknown camera: 500 px focal length at 640 x 480, centred."""
        focal = (500.0 * width_px / 640.0 + 500.0 * height_px / 480.0) / 2.0
        return cls(focal, focal, width_px / 2.0, height_px / 2.0)

    @property
    def intrinsics(self) -> kernels.Intrinsics:
        """(fx, fy, cx, cy)."""
        return self.fx, self.fy, self.cx, self.cy


class Placement(NamedTuple):
    """A face in the camera's frame. Eyes: the left one (of the picture) first, their points side by side."""

    landmarks_mm: Floats  # (204,) planar
    pose: NDArray[np.float64]  # (6,) Tx Ty Tz [mm] Rx Ry Rz [rad]
    gaze: NDArray[np.float64]  # (8,) two unit vectors, then the angles x, y [rad] of their mean; zeros unless asked for
    eyes_px: Floats  # (112,) planar
    eyes_mm: Floats  # (168,) planar

    @classmethod
    def zeros(cls) -> Placement:
        """Of a face that is nowhere."""
        return cls(
            np.zeros(204, np.float32),
            np.zeros(6),
            np.zeros(8),
            np.zeros(4 * kernels.EYE_POINTS, np.float32),
            np.zeros(6 * kernels.EYE_POINTS, np.float32),
        )


def place_face(
    face: kernels.Fit, left_eye: kernels.Fit, right_eye: kernels.Fit, camera: Camera, *, with_gaze: bool
) -> Placement:
    """What the camera model adds to a fit.

    The weak-perspective scale gives the mean depth fx / scale, the turned shape each landmark's offset from it; the
    pose is that of the least reprojection error; the gaze runs from the centre of each eyeball, which lies behind the
    middle of the eye's corners, to where the ray through the pupil meets it.

    Parameters
    ----------
    face, left_eye, right_eye : each the shape (3n,) in mm, params_global (6,) and the landmarks (2n,) in px, all
        float32, planar; n is 68 for the face, 28 for an eye
    with_gaze : False where the fit failed

    Raises
    ------
    ShapeError

    References
    ----------
    Wood et al., "Rendering of eyes for eye-shape registration and gaze estimation", ICCV 2015; OpenFace 2.2.
    """
    for name, fit, points in (("face", face, 68), ("left_eye", left_eye, 28), ("right_eye", right_eye, 28)):
        if fit[0].size != 3 * points or fit[2].size != 2 * points:
            raise ShapeError(f"{name}: expected {points} points, got {fit[0].size} mm and {fit[2].size} px coordinates")
    out = Placement.zeros()
    kernels.place_face(face, (left_eye, right_eye), _EYE_CORNERS, camera.intrinsics, with_gaze, out[:])
    return out
