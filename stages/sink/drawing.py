"""What the annotated video shows, drawn on plain BGR pictures: landmarks, head pose, gaze, Action Units."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, FaceFit, Frame
from auflow.stages.sink.au_names import AU_NAMES

__all__ = ["draw_face", "draw_label", "draw_panel", "panel_width_px"]

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
HIDDEN: Colour = (150, 142, 136)
BOX: Colour = (92, 178, 255)
UNSURE: Colour = (70, 60, 235)
IRIS: Colour = (110, 220, 0)
GAZE: Colour = (90, 240, 60)

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
# At this confidence and below the head's box has the colour UNSURE.
LEAST_CONFIDENCE = 0.4
IRIS_POINTS = range(0, 8)  # of the 28 of an eye
EYE_POINTS = 28
GAZE_MM = 50.0
LARGE_FACE_PX = 130  # whose eyes have room for an iris
# A head around the origin of the face model, which lies behind the nose: x right, y down, z away from the camera.
HEAD_MM = np.array([[-80.0, -110.0, -45.0], [80.0, 80.0, 115.0]])
SIDES = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])  # of its 8 corners
# Pairs of corners that differ in one side.
EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if np.count_nonzero(SIDES[a] != SIDES[b]) == 1])
LONGEST_LABEL = "15  lip corner depressor"
SUBPIXEL_BITS = 4
MAX_INTENSITY = 5.0
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_face(picture: Picture, fit: FaceFit, *, scale: float = 1.0, camera: Camera | None = None) -> None:
    """Draw the landmarks, the head's box, the irises and the gaze of one face.

    Landmarks that the camera does not see, and lines to them, are faint. The box is red where the fit is unsure.

    Parameters
    ----------
    picture : (h, w, 3) uint8 BGR, drawn on
    scale : how much larger `picture` is than the frame that was fitted
    camera : what the fit's pose is of; None is OpenFace's guess by the frame's size
    """
    height, width = picture.shape[:2]
    camera = camera or _guessed(width / scale, height / scale)
    points, visible = _fixed(scale * fit.landmarks_px.reshape(2, -1).T), fit.visible != 0
    size = float(np.ptp(points, axis=0).max()) / 2**SUBPIXEL_BITS
    thickness = max(1, round(min(height, width) / 480))
    _draw_box(picture, fit, scale, camera, thickness)
    for indices, closed in LINES:
        _draw_line(picture, points, visible, [*indices, *([indices[0]] if closed else [])], thickness)
    # A small face must not vanish below its points, nor the points of a large one in the picture.
    radius = round(float(np.clip(size / 150, 0.5, max(1.0, min(height, width) / 400))) * 2**SUBPIXEL_BITS)
    for (x, y), seen in zip(points.tolist(), visible.tolist(), strict=True):
        cv2.circle(picture, (x, y), radius, POINT if seen else HIDDEN, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    _draw_gaze(picture, fit, scale, camera, thickness, large=size > LARGE_FACE_PX * thickness)


def _draw_line(
    picture: Picture, points: NDArray[np.int32], visible: NDArray[np.bool_], indices: list[int], thickness: int
) -> None:
    if visible[indices].all():
        cv2.polylines(picture, [points[indices]], False, CONTOUR, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        return
    for a, b in pairwise(indices):
        colour = CONTOUR if visible[a] and visible[b] else HIDDEN
        cv2.polylines(picture, [points[[a, b]]], False, colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_label(picture: Picture, fit: FaceFit, *, scale: float = 1.0) -> None:
    """Write the number of one face and its confidence below its chin: which of several it is.

    Parameters
    ----------
    picture : (h, w, 3) uint8 BGR, drawn on
    scale : how much larger `picture` is than the frame that was fitted
    """
    height, width = picture.shape[:2]
    points = np.nan_to_num(scale * fit.landmarks_px.reshape(2, -1))
    text, size = f"{fit.face_id}   {fit.confidence:.2f}", max(height, 400) / 1000
    wide, high = _text_width_px(text, size), round(30 * size)
    left = float(np.clip(points[0].mean() - wide / 2, high, max(high, width - wide - high)))
    base = float(np.clip(points[1].max() + 2 * high, 2 * high, height - high))
    corners = (
        (round(left - high / 2), round(base - 1.3 * high)),
        (round(left + wide + high / 2), round(base + high / 2)),
    )
    cv2.rectangle(picture, *corners, PANEL, -1)
    _text(picture, text, (left, base), size, TEXT)


def _guessed(width: float, height: float) -> Camera:
    focal_px = 500 * (width / 640 + height / 480) / 2
    return focal_px, focal_px, width / 2, height / 2


def _draw_box(picture: Picture, fit: FaceFit, scale: float, camera: Camera, thickness: int) -> None:
    corners = HEAD_MM[SIDES, np.arange(3)] @ _rotation(fit.pose[3:]).T + fit.pose[:3]
    if (image := _projected(corners, scale, camera)) is not None:
        colour = _box_colour(fit.confidence)
        cv2.polylines(picture, list(image[EDGES]), False, colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _box_colour(confidence: float) -> Colour:
    share = float(np.clip((confidence - LEAST_CONFIDENCE) / (1 - LEAST_CONFIDENCE), 0, 1))
    blue, green, red = (round(low + share * (high - low)) for low, high in zip(UNSURE, BOX, strict=True))
    return blue, green, red


def _draw_gaze(picture: Picture, fit: FaceFit, scale: float, camera: Camera, thickness: int, *, large: bool) -> None:
    """Both irises of a large face, and from the middle of each a line of `GAZE_MM` along the gaze, if there is one."""
    for eye in range(2):
        direction = fit.gaze[3 * eye : 3 * eye + 3]
        if not direction.any():
            continue
        first = eye * EYE_POINTS
        iris = [first + k for k in IRIS_POINTS]
        if large:
            outline = _fixed(scale * fit.eyes_px.reshape(2, -1).T[iris])
            cv2.polylines(picture, [outline], True, IRIS, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        middle = fit.eyes_mm.reshape(3, -1)[:, iris].mean(axis=1)
        if (line := _projected(np.array([middle, middle + GAZE_MM * direction]), scale, camera)) is not None:
            start, end = (tuple(int(v) for v in point) for point in line)
            cv2.line(picture, start, end, GAZE, (1 + large) * thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _projected(points_mm: NDArray[np.floating], scale: float, camera: Camera) -> NDArray[np.int32] | None:
    """Where points (n, 3) of the camera's frame lie in the picture, for OpenCV; None where not all are before it."""
    if not points_mm[:, 2].min() > 1.0:
        return None
    return _fixed(scale * (points_mm[:, :2] / points_mm[:, 2:] * camera[:2] + camera[2:]))


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


def draw_panel(panel: Picture, frame: Frame, face: tuple[FaceFit, AuFrame] | None, *, numbered: bool = False) -> None:
    """Fill `panel`, (h, w, 3) uint8 BGR, with a bar per Action Unit; those that are present stand out.

    Without a face the bars are empty. `numbered` tells which face it is.
    """
    height, width = panel.shape[:2]
    faint, bright = _labels(height, width)
    panel[:] = faint
    row_px, scale, margin = _layout(height, width)
    state = f"confidence {face[0].confidence:.2f}" if face else "no face"
    if face and numbered:
        state = f"face {face[0].face_id}   {face[0].confidence:.2f}"
    clock = f"{frame.index}  {frame.timestamp_s:.2f} s"
    _text(panel, clock, (margin, row_px * 1.1), scale, TEXT)
    _text(panel, state, (width - margin - _text_width_px(state, scale), row_px * 1.1), scale, FAINT)
    if face is None:
        return
    intensities = dict(zip(AU_INTENSITIES, face[1].intensities, strict=True))
    for place, (name, presence) in enumerate(zip(AU_PRESENCES, face[1].presences, strict=True), start=2):
        present = presence > 0.5
        if present:
            rows = slice(round(row_px * (place - 0.6)), round(row_px * (place + 0.4)))
            panel[rows] = bright[rows]
        if name in intensities:
            (left, top), (right, bottom) = _bar(place, height, width)
            end = left + round(float(np.clip(intensities[name] / MAX_INTENSITY, 0, 1)) * (right - left))
            if end > left:
                cv2.rectangle(panel, (left, top), (end, bottom), PRESENT if present else ABSENT, -1)


@lru_cache(maxsize=4)
def _labels(height: int, width: int) -> tuple[Picture, Picture]:
    """The panel without values: with the names of Action Units that are absent, and that are present."""
    row_px, scale, margin = _layout(height, width)
    panels = []
    for present in (False, True):
        panel: Picture = np.full((height, width, 3), PANEL, np.uint8)
        for place, name in enumerate(AU_PRESENCES, start=2):
            base = row_px * (place + 0.1)
            _text(panel, f"{name[2:]}  {AU_NAMES[name]}", (margin, base), scale, TEXT if present else FAINT)
            if name in AU_INTENSITIES:
                cv2.rectangle(panel, *_bar(place, height, width), TRACK, -1)
            elif present:
                _text(panel, "present", (_bar(place, height, width)[0][0], base), scale, PRESENT)
        panels.append(panel)
    return panels[0], panels[1]


def _layout(height: int, width: int) -> tuple[float, float, int]:
    """Height of a row, size of the text, margin."""
    row_px = height / (len(AU_PRESENCES) + 2)
    return row_px, min(row_px / 34, 0.56 * width / _text_width_px(LONGEST_LABEL, 1.0)), round(0.05 * width)


def _bar(place: int, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The corners of the bar of a row."""
    row_px, _, margin = _layout(height, width)
    base = row_px * (place + 0.1)
    return (round(0.66 * width), round(base - 0.45 * row_px)), (width - margin, round(base))


def _text(panel: Picture, text: str, at: tuple[float, float], scale: float, colour: Colour) -> None:
    thickness = max(1, round(scale))
    cv2.putText(panel, text, (round(at[0]), round(at[1])), FONT, scale, colour, thickness, cv2.LINE_AA)


def _text_width_px(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, FONT, scale, max(1, round(scale)))[0][0])
