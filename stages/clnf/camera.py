"""The camera: 3-D landmarks and head pose from a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf import fit_kernels as kernels
from auflow.stages.clnf.pdm import FittingPDM

__all__ = ["Camera", "head_pose", "landmarks_in_space", "rotation_matrix"]

Floats = NDArray[np.float32]


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


def rotation_matrix(angles_rad: NDArray[np.floating]) -> Floats:
    """R = Rx Ry Rz (3, 3) float32 of three Euler angles."""
    out = np.empty((3, 3), np.float32)
    rx, ry, rz = angles_rad.astype(np.float32)
    kernels.rotation_from_euler(rx, ry, rz, out)
    return out


def landmarks_in_space(
    pdm: FittingPDM, params_global: Floats, params_local: Floats, landmarks_px: Floats, camera: Camera
) -> Floats:
    """Landmarks (3n,) float32 in mm in the camera's frame.

    The weak-perspective scale gives the mean depth fx / scale, the turned shape each point's offset from it.
    """
    n = pdm.point_count
    rotation = rotation_matrix(params_global[1:4])
    depth = rotation[2] @ pdm.shape_mm(params_local).reshape(3, n) + np.float32(camera.fx) / params_global[0]
    x, y = landmarks_px.reshape(2, n)
    return np.concatenate(
        [
            depth * ((x - np.float32(camera.cx)) / np.float32(camera.fx)),
            depth * ((y - np.float32(camera.cy)) / np.float32(camera.fy)),
            depth,
        ]
    )


def head_pose(
    pdm: FittingPDM, params_global: Floats, params_local: Floats, landmarks_px: Floats, camera: Camera
) -> NDArray[np.float64]:
    """[Tx, Ty, Tz, Rx, Ry, Rz] in mm and radians in the camera's frame: iterative PnP from the fit's own pose."""
    n = pdm.point_count
    rotation = rotation_matrix(params_global[1:4])
    depth = camera.fx / float(params_global[0])
    start = np.array(
        [
            (float(params_global[4]) - camera.cx) / camera.fx * depth,
            (float(params_global[5]) - camera.cy) / camera.fy * depth,
            depth,
        ]
    )
    turn, _ = cv2.Rodrigues(rotation.astype(np.float64))
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    shape = np.ascontiguousarray(pdm.shape_mm(params_local).reshape(3, n).T, np.float64)
    points = np.ascontiguousarray(landmarks_px.reshape(2, n).T, np.float64)
    found, turn, shift = cv2.solvePnP(
        shape, points, matrix, None, turn, start.reshape(3, 1), True, cv2.SOLVEPNP_ITERATIVE
    )
    if not found or not all(math.isfinite(v) for v in (*turn.ravel(), *shift.ravel())):
        return np.zeros(6)
    solved = cv2.Rodrigues(turn)[0].astype(np.float32)
    return np.array([*shift.ravel(), *kernels.euler_from_rotation(solved)], np.float64)
