"""The camera: focal length, landmarks in space, head pose; reprojection and the C++ program's CSV."""

from __future__ import annotations

import csv
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.stages.clnf.camera import Camera, head_pose, landmarks_in_space


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def test_the_guessed_camera_is_that_of_openface():
    assert Camera.guess(640, 480) == Camera(500, 500, 320, 240)
    wide = Camera.guess(1280, 480)
    assert (wide.fx, wide.cx, wide.cy) == (750, 640, 240)


@pytest.mark.parametrize("turn", [(0.1, -0.3, 0.05), (0, 0.7, -0.2)])
def test_landmarks_in_space_project_to_the_landmarks(toy_pdm, turn):
    camera = Camera.guess(640, 480)
    g, p = f32([1.25, *turn, 300, 200]), f32([10, -5, 3, 0, 1])
    landmarks = toy_pdm.landmarks_px(g, p)
    space = landmarks_in_space(toy_pdm, g, p, landmarks, camera)
    assert space.dtype == np.float32
    X, Y, Z = space.reshape(3, -1)
    back = np.concatenate([X / Z * camera.fx + camera.cx, Y / Z * camera.fy + camera.cy])
    assert np.allclose(back, landmarks, atol=1e-3)
    assert Z.mean() == pytest.approx(500 / 1.25, abs=15)  # the scale is focal length over depth


@pytest.mark.parametrize("turn", [(0.1, -0.3, 0.05), (-0.2, 0.5, 0.3)])
def test_the_pose_of_a_true_perspective_picture_is_recovered(toy_pdm, turn):
    camera = Camera.guess(640, 480)
    p = f32([10, -5, 3, 0, 1])
    shape = toy_pdm.shape_mm(p).reshape(3, -1).astype(float)
    about = [cv2.Rodrigues(np.eye(3)[k] * turn[k])[0] for k in range(3)]
    where = np.array([40.0, -25, 600])
    X, Y, Z = about[0] @ about[1] @ about[2] @ shape + where[:, None]
    landmarks = f32(np.concatenate([X / Z * camera.fx + camera.cx, Y / Z * camera.fy + camera.cy]))
    start = f32([500 / 590, *(np.array(turn) + 0.1), 350, 215])
    pose = head_pose(toy_pdm, start, p, landmarks, camera)
    assert pose.dtype == np.float64
    assert np.allclose(pose[:3], where, atol=0.05)
    assert np.allclose(pose[3:], turn, atol=1e-4)


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "2015-10-15-15-14"])
def test_golden_space_and_pose(golden, trace, face_model, clip):
    """From the traced parameters: the CSV's landmarks in mm and pose."""
    with (golden / clip / "full.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines, skipinitialspace=True))
    camera = Camera.guess(640, 480)
    for number, frame in sorted(trace(clip).frames.items())[::6]:
        row = rows[number - 1]
        fit = (f32(frame[key]) for key in ("params_global", "params_local", "landmarks"))
        where = (face_model.pdm, *fit, camera)
        space = [float(row[f"{axis}_{i}"]) for axis in "XYZ" for i in range(68)]
        # Depth is 500 / scale mm: the last of nine traced digits of the scale is 1e-6 of it.
        assert np.abs(landmarks_in_space(*where) - space).max() <= 2e-3, number
        pose = head_pose(*where)
        assert np.abs(pose[:3] - [float(row[f"pose_T{axis}"]) for axis in "xyz"]).max() <= 0.02, number
        assert np.abs(pose[3:] - [float(row[f"pose_R{axis}"]) for axis in "xyz"]).max() <= 1e-4, number
