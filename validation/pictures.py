"""Pictures of faces out of the clip that was analysed, with both sets of landmarks drawn as inline SVG."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.validation.table import Key
from auflow.validation.worst import WorstFrame

__all__ = ["Crop", "cut_faces", "picture_svg"]

# Around the landmarks, in parts of their extent: the forehead has none.
MARGIN = 0.18
MARGIN_ABOVE = 0.35
# A larger crop is scaled down: enough to see half a pixel of an ordinary face, and a page that still mails.
LONGEST_SIDE_PX = 640
JPEG_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Crop:
    """A face cut out of a frame."""

    left_px: int  # of the crop in the frame
    top_px: int
    width_px: int  # in pixels of the frame
    height_px: int
    jpeg: bytes


def cut_faces(clip: Path, wanted: Sequence[WorstFrame]) -> dict[Key, Crop]:
    """Decode `clip` up to the last wanted frame and cut out the faces; frames that it does not have are left out.

    Raises
    ------
    InputError
        The clip cannot be opened or decoded.
    """
    from auflow.stages.decode import open_source

    by_frame: dict[int, list[WorstFrame]] = {}
    for face in wanted:
        if face.reference_px is not None:
            by_frame.setdefault(face.key[1], []).append(face)
    crops: dict[Key, Crop] = {}
    if not by_frame:
        return crops
    with open_source(clip) as source:
        picture = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while (read := source.read_into(picture)) is not None and read[0] <= max(by_frame):
            for face in by_frame.get(read[0], ()):
                crop = _cut(picture, face)
                if crop is not None:
                    crops[face.key] = crop
    return crops


def _cut(picture: NDArray[np.uint8], face: WorstFrame) -> Crop | None:
    import cv2

    height, width = picture.shape[:2]
    sets = [points for points in (face.reference_px, face.ours_px) if points is not None]
    points = np.concatenate(sets)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * max(right - left, bottom - top)
    left, right = (int(v) for v in np.clip((left - margin, right + margin), 0, width))
    top, bottom = (int(v) for v in np.clip((top - MARGIN_ABOVE / MARGIN * margin, bottom + margin), 0, height))
    if right - left < 2 or bottom - top < 2:
        return None  # beside the picture: the clip is another one, or the fit has left it
    crop = np.ascontiguousarray(picture[top:bottom, left:right])
    scale = min(1.0, LONGEST_SIDE_PX / max(crop.shape[:2]))
    if scale < 1:
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    _, jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Crop(left, top, right - left, bottom - top, jpeg.tobytes())


def picture_svg(crop: Crop, face: WorstFrame) -> str:
    """The crop as inline SVG: the reference's landmarks as rings, ours as dots, a line between the two."""
    unit = max(crop.width_px, crop.height_px) / 100
    data = base64.b64encode(crop.jpeg).decode("ascii")
    parts = [
        f'<svg class="face" viewBox="0 0 {crop.width_px} {crop.height_px}" role="img" '
        f'aria-label="frame {face.key[1]} with both sets of landmarks" style="--unit:{unit:.3f}px">',
        f'<image width="{crop.width_px}" height="{crop.height_px}" href="data:image/jpeg;base64,{data}"/>',
    ]
    # OpenCV's coordinates name the centre of a pixel, SVG's its corner.
    origin = np.array([crop.left_px, crop.top_px]) - 0.5
    if face.reference_px is not None and face.ours_px is not None:
        for (ax, ay), (bx, by) in zip(face.reference_px - origin, face.ours_px - origin, strict=True):
            parts.append(f'<path class="apart" d="M{ax:.2f} {ay:.2f}L{bx:.2f} {by:.2f}"/>')
    for points, name, radius in ((face.reference_px, "ring", 1.0), (face.ours_px, "dot", 0.5)):
        for x, y in points - origin if points is not None else ():
            parts.append(f'<circle class="{name}" cx="{x:.2f}" cy="{y:.2f}" r="{radius * unit:.2f}"/>')
    return "".join([*parts, "</svg>"])
