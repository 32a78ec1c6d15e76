"""Gaze: the geometry of one eye, and the C++ program's own eyes and gaze on its CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from auflow.stages.clnf import camera_kernels as kernels

IRIS = np.stack([np.cos(np.arange(28)), np.sin(np.arange(28)), np.zeros(28)])


def rotation(*angles_rad: float) -> np.ndarray:
    out = np.empty((3, 3))
    kernels.rotation_from_euler(*angles_rad, out)
    return out


def eye_gaze(eye_mm: np.ndarray, corners_mm: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Of corners (3, 2), one a column."""
    out = np.full(3, np.nan)
    kernels.eye_gaze(eye_mm, corners_mm[:, 0], corners_mm[:, 1], head, out)
    return out


def gaze_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    out = np.array([*first, *second, np.nan, np.nan])
    kernels.gaze_angles(out)
    return out[6:]


def eye_at(pupil: np.ndarray) -> np.ndarray:
    """28 landmarks, the first eight of them around the pupil (their mean is exactly there)."""
    points = IRIS + pupil[:, None]
    points[:, :8] -= points[:, :8].mean(axis=1, keepdims=True) - pupil[:, None]
    return points.astype(np.float32).reshape(-1)


def test_pupil_in_front_of_the_eyeball_looks_into_the_camera() -> None:
    centre = np.array([0.0, 0.0, 500.0])
    corners = np.repeat((centre - [0, -3.5, 7.0])[:, None], 2, axis=1).astype(np.float32)
    gaze = eye_gaze(eye_at(np.array([0.0, 0.0, 488.0])), corners, np.eye(3))
    assert gaze == pytest.approx([0, 0, -1], abs=1e-6)
    assert gaze_angles(gaze, gaze) == pytest.approx([0, 0], abs=1e-6)


def test_turned_eye_gives_the_angle_of_its_axis() -> None:
    centre = np.array([20.0, -10.0, 400.0])
    axis = np.array([np.sin(0.3), np.sin(-0.2), 0.0])
    axis[2] = -np.sqrt(1 - axis @ axis)
    corners = np.repeat((centre - [0, -3.5, 7.0])[:, None], 2, axis=1).astype(np.float32)
    gaze = eye_gaze(eye_at(centre + 12 * axis), corners, np.eye(3))
    assert gaze == pytest.approx(axis, abs=1e-5)
    assert np.linalg.norm(gaze) == pytest.approx(1)


def test_ray_that_misses_the_eyeball_takes_the_nearest_point() -> None:
    centre = np.array([0.0, 0.0, 500.0])
    corners = np.repeat((centre - [0, -3.5, 7.0])[:, None], 2, axis=1).astype(np.float32)
    gaze = eye_gaze(eye_at(np.array([100.0, 0.0, 490.0])), corners, np.eye(3))
    assert np.isfinite(gaze).all()
    assert gaze[0] > 0.9


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "2015-10-15-15-14"])
def test_gaze_of_the_cpp_programs_own_landmarks(golden: Path, clip: str) -> None:
    """Tolerance: the C++ program meets ray and eyeball in float32, where b^2 - 4ac is a difference of 10^6 mm^2."""
    with (golden / clip / "full.csv").open() as file:
        for row in list(csv.DictReader(file, skipinitialspace=True))[:100]:
            head = rotation(*(float(row[f"pose_R{a}"]) for a in "xyz"))
            found = []
            for eye, corners in enumerate([(36, 39), (42, 45)]):
                mm = np.array([[float(row[f"eye_lmk_{a}_{28 * eye + k}"]) for k in range(28)] for a in "XYZ"])
                face = np.array([[float(row[f"{a}_{k}"]) for k in corners] for a in "XYZ"])
                found.append(eye_gaze(mm.astype(np.float32).reshape(-1), face.astype(np.float32), head))
                assert found[-1] == pytest.approx([float(row[f"gaze_{eye}_{a}"]) for a in "xyz"], abs=3e-4)
            angles = [float(row["gaze_angle_x"]), float(row["gaze_angle_y"])]
            assert gaze_angles(*found) == pytest.approx(angles, abs=3e-4)
