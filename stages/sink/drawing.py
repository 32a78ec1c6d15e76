"""What the annotated video shows, drawn on plain BGR pictures: landmarks, head pose, Action Units."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, FaceFit, Frame
from auflow.stages.sink.au_names import AU_NAMES

__all__ = ["draw_face", "draw_panel", "panel_width_px"]

Colour = tuple[int, int, int]  # BGR
Picture = NDArray[np.uint8]
Camera = tuple[float, float, float, float]  # fx, fy, cx, cy in pixels of the frame

PANEL: Colour = (34, 28, 24)
TRACK: Colour = (62, 54, 48)
TEXT: Colour = (232, 228, 224)
FAINT: Colour = (150, 142, 136)
PRESENT: Colour = (92, 178, 255)
ABSENT: Colour = (170, 150, 120)
CONTOUR: Colour = (210, 220, 120)
POINT: Colour = (255, 255, 255)
BOX: Colour = (92, 178, 255)

# The open and closed lines through the 68 points of the iBUG scheme.
LINES = (
    (range(0, 17), False),  # jaw
    (range(17, 22), False),  # brows
    (range(22, 27), False),
    (range(27, 31), False),  # nose
    (range(31, 36), False),
    (range(36, 42), True),  # eyes
    (range(42, 48), True),
    (range(48, 60), True),  # lips
    (range(60, 68), True),
)
# A head around the origin of the face model, which lies behind the nose: x right, y down, z away from the camera.
HEAD_MM = np.array([[-80.0, -110.0, -45.0], [80.0, 80.0, 115.0]])
LONGEST_LABEL = "15  lip corner depressor"
SUBPIXEL_BITS = 4
MAX_INTENSITY = 5.0
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_face(picture: Picture, fit: FaceFit, *, scale: float = 1.0, camera: Camera | None = None) -> None:
    """Draw the landmarks and the head's box of one face.

    Parameters
    ----------
    picture : (h, w, 3) uint8 BGR, drawn on
    scale : how much larger `picture` is than the frame that was fitted
    camera : what the fit's pose is of; None is OpenFace's guess by the frame's size
    """
    height, width = picture.shape[:2]
    thickness = max(1, round(min(height, width) / 480))
    _draw_box(picture, fit.pose, scale, camera or _guessed(width / scale, height / scale), thickness)
    points = scale * fit.landmarks_px.reshape(2, -1).T
    for indices, closed in LINES:
        line = _fixed(points[list(indices)])
        cv2.polylines(picture, [line], closed, CONTOUR, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    radius = round(max(1.0, min(height, width) / 400) * 2**SUBPIXEL_BITS)
    for x, y in _fixed(points):
        cv2.circle(picture, (int(x), int(y)), radius, POINT, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _guessed(width: float, height: float) -> Camera:
    focal_px = 500 * (width / 640 + height / 480) / 2
    return focal_px, focal_px, width / 2, height / 2


def _draw_box(picture: Picture, pose: NDArray[np.float64], scale: float, camera: Camera, thickness: int) -> None:
    sides = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    corners = HEAD_MM[sides, np.arange(3)] @ _rotation(pose[3:]).T + pose[:3]
    if corners[:, 2].min() <= 1.0:
        return  # not in front of the camera: no picture of it
    image = _fixed(scale * (corners[:, :2] / corners[:, 2:] * camera[:2] + camera[2:]))
    for a in range(8):
        for b in range(a + 1, 8):
            if np.count_nonzero(sides[a] != sides[b]) == 1:
                start, end = (tuple(int(v) for v in image[k]) for k in (a, b))
                cv2.line(picture, start, end, BOX, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _rotation(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation matrix of the Euler angles x, y, z of a pose, applied in the order z, y, x."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


def _fixed(points: NDArray[np.floating]) -> NDArray[np.int32]:
    # OpenCV draws between pixels when coordinates come as integers with fractional bits; far away ones overflow.
    scaled = np.clip(np.nan_to_num(points), -30000, 30000) * 2**SUBPIXEL_BITS
    return np.asarray(np.rint(scaled), dtype=np.int32)


def panel_width_px(height_px: int) -> int:
    """Width of the Action Unit panel beside a picture of this height; even, as video encoders want it."""
    return 2 * round(max(0.66 * height_px, 150) / 2)


def draw_panel(panel: Picture, frame: Frame, face: tuple[FaceFit, AuFrame] | None) -> None:
    """Fill `panel`, (h, w, 3) uint8 BGR, with a bar per Action Unit; those that are present stand out.

    Without a face the bars are empty.
    """
    height, width = panel.shape[:2]
    panel[:] = PANEL
    rows = len(AU_PRESENCES) + 1
    row_px = height / (rows + 1)
    scale = min(row_px / 34, 0.56 * width / _text_width_px(LONGEST_LABEL, 1.0))
    state = f"confidence {face[0].confidence:.2f}" if face else "no face"
    margin = round(0.05 * width)
    clock = f"{frame.index}  {frame.timestamp_s:.2f} s"
    _text(panel, clock, (margin, row_px * 1.1), scale, TEXT)
    _text(panel, state, (width - margin - _text_width_px(state, scale), row_px * 1.1), scale, FAINT)
    intensities = dict(zip(AU_INTENSITIES, face[1].intensities if face else [0.0] * len(AU_INTENSITIES), strict=True))
    presences = face[1].presences if face else [0.0] * len(AU_PRESENCES)
    for place, (name, presence) in enumerate(zip(AU_PRESENCES, presences, strict=True), start=2):
        present = presence > 0.5
        base = row_px * (place + 0.1)
        _text(panel, f"{name[2:]}  {AU_NAMES[name]}", (margin, base), scale, TEXT if present else FAINT)
        left, right = round(0.66 * width), width - margin
        top, bottom = round(base - 0.45 * row_px), round(base)
        if name not in intensities:
            if present:
                _text(panel, "present", (left, base), scale, PRESENT)
            continue
        cv2.rectangle(panel, (left, top), (right, bottom), TRACK, -1)
        share = float(np.clip(intensities[name] / MAX_INTENSITY, 0, 1))
        end = left + round(share * (right - left))
        if end > left:
            cv2.rectangle(panel, (left, top), (end, bottom), PRESENT if present else ABSENT, -1)


def _text(panel: Picture, text: str, at: tuple[float, float], scale: float, colour: Colour) -> None:
    thickness = max(1, round(scale))
    cv2.putText(panel, text, (round(at[0]), round(at[1])), FONT, scale, colour, thickness, cv2.LINE_AA)


def _text_width_px(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, FONT, scale, max(1, round(scale)))[0][0])
