"""Kernels of the camera: landmarks in space, head pose, gaze.

Arithmetic only, in float64; `camera.py` and `gaze.py` name units and allocate. Shapes are planar. camera is
(fx, fy, cx, cy) in px; R the rotation Rx Ry Rz.

Sources: Marquardt, SIAM 1963, with the damping of Fletcher; Wood et al., "Rendering of eyes for eye-shape registration
and gaze estimation", ICCV 2015; OpenFace 2.2 (GetPose, GazeEstimation).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Intrinsics = tuple[float, float, float, float]

# No kernel here tests for divisors of 0: what comes of them is not finite, and told by that.
# Sums may be taken in another order; multiplications and additions may be fused; nothing else is relaxed.
REASSOCIATE = {"contract", "reassoc"}
UNKNOWNS = 6  # turn, then shift
POSE_TRIALS = 100
POSE_STEP = 1e-7  # relative: a smaller step ends the search, within a tenth of it of the minimum
FIRST_DAMPING = 1e-3
LOST_DAMPING = 1e12  # no step, however short, leads down any more
EYE_POINTS = 28
IRIS_POINTS = 8  # the first points of the eye model
EYEBALL_DOWN_MM = -3.5  # from the middle of the eye's corners to the eyeball's centre, in the head's frame
EYEBALL_BEHIND_MM = 7.0
EYEBALL_RADIUS_MM = 12.0


@njit(cache=True, nogil=True, error_model="numpy")
def rotation_from_euler(rx: float, ry: float, rz: float, out: F64) -> None:
    """R = Rx Ry Rz (3, 3) of three angles in radians."""
    rx, ry, rz = np.float64(rx), np.float64(ry), np.float64(rz)  # of a float32 Numba takes the float32 sine
    s1, s2, s3 = math.sin(rx), math.sin(ry), math.sin(rz)
    c1, c2, c3 = math.cos(rx), math.cos(ry), math.cos(rz)
    out[0, 0], out[0, 1], out[0, 2] = c2 * c3, -c2 * s3, s2
    out[1, 0], out[1, 1], out[1, 2] = c1 * s3 + c3 * s1 * s2, c1 * c3 - s1 * s2 * s3, -c2 * s1
    out[2, 0], out[2, 1], out[2, 2] = s1 * s3 - c1 * c3 * s2, c3 * s1 + c1 * s2 * s3, c1 * c2


@njit(cache=True, nogil=True, error_model="numpy")
def euler_from_rotation(R: F64) -> tuple[float, float, float]:
    """The three angles of R = Rx Ry Rz, by way of the unit quaternion; not finite at half a turn."""
    trace = 1.0 + R[0, 0] + R[1, 1] + R[2, 2]
    if not trace > 0.0:
        return math.nan, math.nan, math.nan
    q0 = math.sqrt(trace) / 2.0
    q1 = (R[2, 1] - R[1, 2]) / (4.0 * q0)
    q2 = (R[0, 2] - R[2, 0]) / (4.0 * q0)
    q3 = (R[1, 0] - R[0, 1]) / (4.0 * q0)
    sine = min(1.0, max(-1.0, 2.0 * (q0 * q2 + q1 * q3)))
    rx = math.atan2(2.0 * (q0 * q1 - q2 * q3), q0 * q0 - q1 * q1 - q2 * q2 + q3 * q3)
    rz = math.atan2(2.0 * (q0 * q3 - q1 * q2), q0 * q0 + q1 * q1 - q2 * q2 - q3 * q3)
    return rx, math.asin(sine), rz


@njit(cache=True, nogil=True, error_model="numpy")
def landmarks_in_space(shape: F32, params_global: F32, points: F32, camera: Intrinsics, out: F32) -> None:
    """out (3n) mm: what shape (3n) mm, turned, adds to the mean depth fx / scale, along the rays of points (2n) px."""
    fx, fy, cx, cy = camera
    n = points.size // 2
    R = np.empty((3, 3))
    rotation_from_euler(params_global[1], params_global[2], params_global[3], R)
    a, b, c, mean = R[2, 0], R[2, 1], R[2, 2], fx / params_global[0]
    for i in range(n):
        depth = a * shape[i] + b * shape[n + i] + c * shape[2 * n + i] + mean
        out[i] = depth * ((points[i] - cx) / fx)
        out[n + i] = depth * ((points[n + i] - cy) / fy)
        out[2 * n + i] = depth


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REASSOCIATE)
def _reprojection(shape: F32, points: F32, camera: Intrinsics, R: F64, t: F64, J: F64, residual: F64) -> float:
    """The sum of squared reprojection errors under (R, t); fills residual (2n) and the Jacobian's rows J (6, 2n).

    The first three unknowns are a turn before R, the others the shift.
    """
    fx, fy, cx, cy = camera
    n = points.size // 2
    u, v, error_u, error_v = J[:, :n], J[:, n:], residual[:n], residual[n:]
    x, y, z = shape[:n], shape[n : 2 * n], shape[2 * n :]
    total = 0.0
    for i in range(n):
        qx = R[0, 0] * x[i] + R[0, 1] * y[i] + R[0, 2] * z[i]
        qy = R[1, 0] * x[i] + R[1, 1] * y[i] + R[1, 2] * z[i]
        qz = R[2, 0] * x[i] + R[2, 1] * y[i] + R[2, 2] * z[i]
        inverse = 1.0 / (qz + t[2])
        px, py = (qx + t[0]) * inverse, (qy + t[1]) * inverse
        du, dv = points[i] - (fx * px + cx), points[n + i] - (fy * py + cy)
        error_u[i], error_v[i] = du, dv
        total += du * du + dv * dv
        a, b = fx * inverse, fy * inverse
        u[0, i], u[1, i], u[2, i] = -a * px * qy, a * (qz + px * qx), -a * qy
        u[3, i], u[4, i], u[5, i] = a, 0.0, -a * px
        v[0, i], v[1, i], v[2, i] = -b * (qz + py * qy), b * py * qx, b * qx
        v[3, i], v[4, i], v[5, i] = 0.0, b, -b * py
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=REASSOCIATE)
def _normal_equations(J: F64, residual: F64, H: F64, gradient: F64) -> None:
    """H (6, 6) = J J^T, lower half, and gradient (6) = J residual."""
    for i in range(UNKNOWNS):
        total = 0.0
        for q in range(residual.size):
            total += J[i, q] * residual[q]
        gradient[i] = total
        for j in range(i + 1):
            total = 0.0
            for q in range(residual.size):
                total += J[i, q] * J[j, q]
            H[i, j] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _damped_step(H: F64, gradient: F64, damping: float, step: F64) -> bool:
    """Solve (H + damping diag H) step = gradient by Cholesky; False where H is not positive."""
    L = np.empty((UNKNOWNS, UNKNOWNS))
    for i in range(UNKNOWNS):
        for j in range(i + 1):
            total = H[i, j] * (1.0 + damping) if i == j else H[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i > j:
                L[i, j] = total / L[j, j]
            elif total > 0.0:
                L[i, i] = math.sqrt(total)
            else:
                return False
    for i in range(UNKNOWNS):
        total = gradient[i]
        for k in range(i):
            total -= L[i, k] * step[k]
        step[i] = total / L[i, i]
    for i in range(UNKNOWNS - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, UNKNOWNS):
            total -= L[k, i] * step[k]
        step[i] = total / L[i, i]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _turn(step: F64, R: F64, out: F64) -> None:
    """out = exp([step[:3]]x) R, by Rodrigues' formula."""
    x, y, z = step[0], step[1], step[2]
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    s = math.sin(angle) / angle if angle > 0.0 else 1.0
    half = math.sin(angle / 2.0) / (angle / 2.0) if angle > 0.0 else 1.0
    c = half * half / 2.0  # (1 - cos) / angle^2
    for k in range(3):
        a, b, d = R[0, k], R[1, k], R[2, k]
        dot = x * a + y * b + z * d
        out[0, k] = a + s * (y * d - z * b) + c * (x * dot - square * a)
        out[1, k] = b + s * (z * a - x * d) + c * (y * dot - square * b)
        out[2, k] = d + s * (x * b - y * a) + c * (z * dot - square * d)


@njit(cache=True, nogil=True, error_model="numpy")
def head_pose(shape: F32, params_global: F32, points: F32, camera: Intrinsics, R: F64, pose: F64) -> None:
    """The pose of shape (3n) mm that projects nearest to points (2n) px: R (3, 3), pose (6) as shift mm and angles rad.

    Levenberg-Marquardt from the fit's own pose down to the minimum; zeros (and R the unit) where nothing finite is
    found.
    """
    fx, fy, cx, cy = camera
    J, residual = np.empty((UNKNOWNS, points.size)), np.empty(points.size)
    H, gradient, step = np.empty((UNKNOWNS, UNKNOWNS)), np.empty(UNKNOWNS), np.empty(UNKNOWNS)
    next_R, next_t = np.empty((3, 3)), np.empty(3)
    rotation_from_euler(params_global[1], params_global[2], params_global[3], R)
    t = pose[:3]
    t[2] = fx / params_global[0]
    t[0], t[1] = (params_global[4] - cx) / fx * t[2], (params_global[5] - cy) / fy * t[2]
    error = _reprojection(shape, points, camera, R, t, J, residual)
    found = np.isfinite(error)
    if found:
        _normal_equations(J, residual, H, gradient)
    damping = FIRST_DAMPING
    for _ in range(POSE_TRIALS if found else 0):
        if not _damped_step(H, gradient, damping, step):
            break
        _turn(step, R, next_R)
        next_t[:] = t + step[3:]
        trial = _reprojection(shape, points, camera, next_R, next_t, J, residual)
        if trial <= error:
            error = trial
            R[:], t[:] = next_R, next_t
            damping /= 10.0
            if np.abs(step[:3]).max() < POSE_STEP and np.abs(step[3:]).max() < POSE_STEP * abs(t[2]):
                break
            _normal_equations(J, residual, H, gradient)
        else:
            damping *= 10.0
            if damping > LOST_DAMPING:
                break
    pose[3], pose[4], pose[5] = euler_from_rotation(R)
    if not (found and np.isfinite(pose).all()):
        pose[:] = 0.0
        rotation_from_euler(0.0, 0.0, 0.0, R)


@njit(cache=True, nogil=True, error_model="numpy")
def eye_gaze(eye: F32, inner: F32, outer: F32, R: F64, gaze: F64) -> None:
    """Unit vector gaze (3): from the eyeball's centre to where the ray through the pupil meets it.

    eye (84) mm; inner and outer (3) mm, the eye's corners; R (3, 3) the head's rotation.
    """
    n = eye.size // 3
    ray, centre = np.zeros(3), np.empty(3)
    for axis in range(3):
        for i in range(IRIS_POINTS):
            ray[axis] += eye[axis * n + i]
        shifted = R[axis, 1] * EYEBALL_DOWN_MM + R[axis, 2] * EYEBALL_BEHIND_MM
        centre[axis] = (np.float64(inner[axis]) + outer[axis]) / 2.0 + shifted
    ray /= math.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
    # The ray is a unit vector from the origin: t^2 - 2 t (ray . centre) + |centre|^2 - r^2 = 0.
    along = ray[0] * centre[0] + ray[1] * centre[1] + ray[2] * centre[2]
    square = centre[0] * centre[0] + centre[1] * centre[1] + centre[2] * centre[2]
    under_root = along * along - square + EYEBALL_RADIUS_MM * EYEBALL_RADIUS_MM
    distance = along - math.sqrt(under_root) if under_root >= 0.0 else along
    x, y, z = distance * ray[0] - centre[0], distance * ray[1] - centre[1], distance * ray[2] - centre[2]
    length = math.sqrt(x * x + y * y + z * z)
    gaze[0], gaze[1], gaze[2] = x / length, y / length, z / length


@njit(cache=True, nogil=True, error_model="numpy")
def gaze_angles(gaze: F64) -> None:
    """gaze[6:8] = angles in rad of the mean of the two vectors before them: left to right, up to down."""
    x, y, z = gaze[0] + gaze[3], gaze[1] + gaze[4], gaze[2] + gaze[5]
    gaze[6], gaze[7] = math.atan2(x, -z), math.atan2(y, -z)


Fit = tuple[F32, F32, F32]  # shape (3n) mm, params_global (6), points (2n) px


@njit(cache=True, nogil=True, error_model="numpy")
def place_face(
    face: Fit,
    eyes: tuple[Fit, Fit],
    corners: tuple[tuple[int, int], tuple[int, int]],
    camera: Intrinsics,
    with_gaze: bool,
    out: tuple[F32, F64, F64, F32, F32],
) -> None:
    """All that the camera model adds to a fit of the face and of both eyes (28 points each).

    corners: each eye's corners among the face's points; out: landmarks in space (3n), pose (6), gaze (8, left alone
    unless with_gaze), eyes (112) px, eyes (168) mm, the eyes side by side.
    """
    space, pose, gaze, eyes_px, eyes_mm = out
    R, eye_mm = np.empty((3, 3)), np.empty(3 * EYE_POINTS, np.float32)
    landmarks_in_space(face[0], face[1], face[2], camera, space)
    head_pose(face[0], face[1], face[2], camera, R, pose)
    planar, flat, deep = space.reshape(3, -1), eyes_px.reshape(4, EYE_POINTS), eyes_mm.reshape(6, EYE_POINTS)
    for number in range(2):
        eye = eyes[number]
        landmarks_in_space(eye[0], eye[1], eye[2], camera, eye_mm)
        flat[number], flat[2 + number] = eye[2][:EYE_POINTS], eye[2][EYE_POINTS:]
        for axis in range(3):
            deep[2 * axis + number] = eye_mm[axis * EYE_POINTS : (axis + 1) * EYE_POINTS]
        if with_gaze:
            inner, outer = corners[number]
            eye_gaze(eye_mm, planar[:, inner], planar[:, outer], R, gaze[3 * number : 3 * number + 3])
    if with_gaze:
        gaze_angles(gaze)
