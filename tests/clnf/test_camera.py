"""The camera: focal length, landmarks in space, head pose; reprojection, OpenCV, the C++ program's CSV."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.errors import ShapeError
from auflow.stages.clnf import camera_kernels as kernels
from auflow.stages.clnf.camera import Camera, place_face


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def space_of(pdm, g, p, landmarks, camera) -> np.ndarray:
    out = np.full(pdm.mean.size, np.nan, np.float32)
    kernels.landmarks_in_space(pdm.shape_mm(p), g, landmarks, camera.intrinsics, out)
    return out


def pose_of(pdm, g, p, landmarks, camera) -> np.ndarray:
    pose, rotation = np.full(6, np.nan), np.full((3, 3), np.nan)
    kernels.head_pose(pdm.shape_mm(p), g, landmarks, camera.intrinsics, rotation, pose)
    again = np.empty((3, 3))
    kernels.rotation_from_euler(*pose[3:], again)
    assert np.allclose(rotation, again, atol=1e-9)
    return pose


def opencv_pose(pdm, g, p, landmarks, camera) -> np.ndarray:
    """Shift and turn (6,) of OpenCV's iterative PnP, started again from its own result until it stays there."""
    n = landmarks.size // 2
    shape, points = (a.reshape(-1, n).T.astype(float) for a in (pdm.shape_mm(p), landmarks))
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    depth = camera.fx / float(g[0])
    shift = np.array([(g[4] - camera.cx) / camera.fx * depth, (g[5] - camera.cy) / camera.fy * depth, depth])
    turn = cv2.Rodrigues(euler_matrix(*g[1:4].astype(float)))[0]
    for _ in range(4):
        _, turn, shift = cv2.solvePnP(shape, points, matrix, None, turn, shift, True, cv2.SOLVEPNP_ITERATIVE)
    return np.concatenate([shift.reshape(-1), cv2.Rodrigues(turn)[0].reshape(-1)])


def euler_matrix(rx: float, ry: float, rz: float) -> np.ndarray:
    about = [cv2.Rodrigues(np.eye(3)[k] * angle)[0] for k, angle in enumerate((rx, ry, rz))]
    return about[0] @ about[1] @ about[2]


def test_the_guessed_camera_is_that_of_openface():
    assert Camera.guess(640, 480) == Camera(500, 500, 320, 240)
    wide = Camera.guess(1280, 480)
    assert (wide.fx, wide.cx, wide.cy) == (750, 640, 240)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.1, -0.3, 0.05), (1.2, 0.7, -2.5), (-0.4, -1.5, 3.0)])
def test_euler_angles_and_rotation_agree_with_opencv_and_each_other(turn):
    rotation = np.empty((3, 3))
    kernels.rotation_from_euler(*map(float, turn), rotation)
    assert np.allclose(rotation, euler_matrix(*turn), atol=1e-12)
    back = np.empty((3, 3))
    kernels.rotation_from_euler(*kernels.euler_from_rotation(rotation), back)
    assert np.allclose(back, rotation, atol=1e-9)


def test_half_a_turn_has_no_angles():
    assert all(map(math.isnan, kernels.euler_from_rotation(np.diag([1.0, -1.0, -1.0]) * (1 + 1e-9))))


@pytest.mark.parametrize("turn", [(0.1, -0.3, 0.05), (0, 0.7, -0.2)])
def test_landmarks_in_space_project_to_the_landmarks(toy_pdm, turn):
    camera = Camera.guess(640, 480)
    g, p = f32([1.25, *turn, 300, 200]), f32([10, -5, 3, 0, 1])
    landmarks = toy_pdm.landmarks_px(g, p)
    space = space_of(toy_pdm, g, p, landmarks, camera)
    X, Y, Z = space.reshape(3, -1)
    back = np.concatenate([X / Z * camera.fx + camera.cx, Y / Z * camera.fy + camera.cy])
    assert np.allclose(back, landmarks, atol=1e-3)
    assert Z.mean() == pytest.approx(500 / 1.25, abs=15)  # the scale is focal length over depth
    depth = euler_matrix(*turn)[2] @ toy_pdm.shape_mm(p).reshape(3, -1) + 500 / 1.25
    assert np.allclose(Z, depth, rtol=1e-6)


@pytest.mark.parametrize("turn", [(0.1, -0.3, 0.05), (-0.2, 0.5, 0.3)])
def test_the_pose_of_a_true_perspective_picture_is_recovered(toy_pdm, turn):
    camera = Camera.guess(640, 480)
    p = f32([10, -5, 3, 0, 1])
    shape = toy_pdm.shape_mm(p).reshape(3, -1).astype(float)
    where = np.array([40.0, -25, 600])
    X, Y, Z = euler_matrix(*turn) @ shape + where[:, None]
    landmarks = f32(np.concatenate([X / Z * camera.fx + camera.cx, Y / Z * camera.fy + camera.cy]))
    start = f32([500 / 590, *(np.array(turn) + 0.1), 350, 215])
    pose = pose_of(toy_pdm, start, p, landmarks, camera)
    assert np.allclose(pose[:3], where, atol=0.05)
    assert np.allclose(pose[3:], turn, atol=1e-4)


@pytest.mark.parametrize("away", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_the_pose_is_opencvs_minimum(face_model, seed, away):
    """Noisy landmarks of turned heads, starts that are `away` rad and that share of the scale off."""
    rng = np.random.default_rng(seed)
    pdm, camera = face_model.pdm, Camera.guess(640, 480)
    g = f32([rng.uniform(0.3, 4), *rng.uniform(-0.8, 0.8, 3), *rng.uniform(100, 400, 2)])
    p = f32(rng.normal(0, 1, 34) * np.sqrt(pdm.eigenvalues))
    landmarks = pdm.landmarks_px(g, p) + f32(rng.normal(0, g[0], 136))
    start = f32([g[0] * (1 + away * rng.uniform(-0.5, 0.5)), *(g[1:4] + rng.uniform(-away, away, 3)), *g[4:]])
    found, wanted = pose_of(pdm, start, p, landmarks, camera), opencv_pose(pdm, start, p, landmarks, camera)
    assert np.abs(found[:3] - wanted[:3]).max() <= 1e-6 * wanted[2]
    assert np.abs(euler_matrix(*found[3:]).reshape(-1) - wanted[3:]).max() <= 1e-6


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_landmarks_without_a_pose_give_zeros(face_model, value):
    g, p = f32([1, 0, 0, 0, 320, 240]), np.zeros(34, np.float32)
    shape, landmarks = face_model.pdm.shape_mm(p), np.full(136, value, np.float32)
    pose, rotation = np.full(6, np.nan), np.empty((3, 3))
    kernels.head_pose(shape, g, landmarks, Camera.guess(640, 480).intrinsics, rotation, pose)
    assert not pose.any()
    assert np.array_equal(rotation, np.eye(3))


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="Python raises")
def test_a_face_without_size_has_no_pose(face_model):
    """A scale of 0 is infinitely far away: no error, and zeros."""
    g, p = f32([0, 0, 0, 0, 320, 240]), np.zeros(34, np.float32)
    pose, rotation = np.full(6, np.nan), np.empty((3, 3))
    camera = Camera.guess(640, 480).intrinsics
    kernels.head_pose(face_model.pdm.shape_mm(p), g, np.full(136, 99, np.float32), camera, rotation, pose)
    assert not pose.any()


def test_a_face_of_another_model_is_refused(face_model, toy_pdm):
    def fit(pdm, points):
        return pdm.shape_mm(np.zeros(pdm.mode_count, np.float32)), f32([1, 0, 0, 0, 9, 9]), np.zeros(points, np.float32)

    face, eye = fit(face_model.pdm, 136), fit(face_model.parts[1].pdm, 56)
    place_face(face, eye, eye, Camera.guess(640, 480), with_gaze=False)
    with pytest.raises(ShapeError, match="left_eye: expected 28 points, got 42 mm and 28 px"):
        place_face(face, fit(toy_pdm, 28), eye, Camera.guess(640, 480), with_gaze=False)


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "2015-10-15-15-14", "multi_face_single"])
def test_golden_space_and_pose(golden: Path, trace, face_model, clip):
    """From the traced parameters: the CSV's landmarks in mm and pose."""
    with (golden / clip / "full.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines, skipinitialspace=True))
    camera = Camera.guess(640, 480)
    away_mm, away_rad, opencv_mm, opencv_rad = [], [], [], []
    for number, frame in sorted(trace(clip).frames.items()):
        row = rows[number - 1]
        where = (face_model.pdm, *(f32(frame[key]) for key in ("params_global", "params_local", "landmarks")), camera)
        space = [float(row[f"{axis}_{i}"]) for axis in "XYZ" for i in range(68)]
        # Depth is 500 / scale mm: the last of nine traced digits of the scale is 1e-6 of it.
        assert np.abs(space_of(*where) - space).max() <= 2e-3 * max(1.0, space[-1] / 1000), number
        pose = pose_of(*where)
        away_mm.append(np.abs(pose[:3] - [float(row[f"pose_T{axis}"]) for axis in "xyz"]).max())
        away_rad.append(np.abs(pose[3:] - [float(row[f"pose_R{axis}"]) for axis in "xyz"]).max())
        if number % 6 == 1:
            wanted = opencv_pose(*where)
            opencv_mm.append(np.abs(pose[:3] - wanted[:3]).max() / wanted[2])
            opencv_rad.append(np.abs(euler_matrix(*pose[3:]).reshape(-1) - wanted[3:]).max())
    # Measured: 4e-5 mm and 2e-6 rad to the CSV, 1e-9 and 1e-8 to the minimum.
    assert max(away_mm) <= 0.02
    assert max(away_rad) <= 1e-4
    assert max(opencv_mm) <= 1e-6
    assert max(opencv_rad) <= 1e-6
