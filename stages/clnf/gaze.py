"""Gaze from the eye models: the ray from the camera through the pupil meets the eyeball.

Source: Wood et al., "Rendering of eyes for eye-shape registration and gaze estimation", ICCV 2015; OpenFace 2.2's
GazeEstimation for the eyeball's offset and radius.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["eye_gaze", "gaze_angles"]

_EYEBALL_OFFSET_MM = np.array([0.0, -3.5, 7.0])
_EYEBALL_RADIUS_MM = 12.0
_IRIS_POINTS = 8  # the first points of the eye model


def eye_gaze(
    eye_mm: NDArray[np.float32], corners_mm: NDArray[np.float32], head_rotation: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Unit gaze vector (3,) of one eye in the camera's frame.

    eye_mm : (84,) planar eye landmarks, mm; corners_mm : (3, 2) the eye's corners on the face, one a column;
    head_rotation : (3, 3)
    """
    pupil = eye_mm.reshape(3, -1)[:, :_IRIS_POINTS].mean(axis=1, dtype=np.float64)
    ray = pupil / np.linalg.norm(pupil)
    centre = corners_mm.mean(axis=1, dtype=np.float64) + head_rotation @ _EYEBALL_OFFSET_MM
    # The ray is a unit vector from the origin: t^2 - 2 t (ray . centre) + |centre|^2 - r^2 = 0.
    along = float(ray @ centre)
    under_root = along * along - float(centre @ centre) + _EYEBALL_RADIUS_MM**2
    hit = ray * (along - math.sqrt(under_root) if under_root >= 0 else along)
    axis: NDArray[np.float64] = (hit - centre) / np.linalg.norm(hit - centre)
    return axis


def gaze_angles(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """[x, y] in radians of the mean gaze of both eyes: left to right, and up to down, 0 into the camera."""
    x, y, z = (first + second) / 2
    return np.array([math.atan2(x, -z), math.atan2(y, -z)])
