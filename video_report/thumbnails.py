"""Faces cut out of the video, with the landmarks drawn over them as inline SVG."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.video_report.worst import WorstFrame

__all__ = ["find_video", "thumbnails"]

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".wmv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts")
_MARGIN = 0.25  # around the landmarks, in parts of their extent
_LONGEST_PX = 320
_JPEG_QUALITY = 82


def find_video(table: Path) -> Path | None:
    """The video of a table: of the same name, beside it or in the working folder."""
    stem = table.name.removesuffix(".gz").rpartition(".")[0].removesuffix(".partial")
    for folder in (table.parent, Path()):
        for ending in VIDEO_ENDINGS:
            for name in (stem + ending, stem + ending.upper()):
                if (folder / name).is_file():
                    return folder / name
    return None


def thumbnails(
    video: Path, wanted: Sequence[WorstFrame], progress: Callable[[int, int], None] = lambda _at, _of: None
) -> dict[int, str]:
    """Inline SVG by frame; decodes up to the last wanted one. Frames that the video does not have are left out.

    Parameters
    ----------
    progress : told how many pictures are decoded, and how many there are to decode

    Raises
    ------
    InputError
        The video cannot be opened or decoded.
    """
    from auflow.stages.decode import open_source

    by_frame = {each.frame: each for each in wanted if each.landmarks_px is not None}
    found: dict[int, str] = {}
    if not by_frame:
        return found
    last = max(by_frame)
    with open_source(video) as source:
        picture = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while (read := source.read_into(picture)) is not None and read[0] <= last:
            progress(read[0], last)
            if read[0] in by_frame:
                drawn = _thumbnail(picture, by_frame[read[0]])
                if drawn:
                    found[read[0]] = drawn
    return found


def _thumbnail(picture: NDArray[np.uint8], frame: WorstFrame) -> str:
    import cv2

    assert frame.landmarks_px is not None
    points, (height, width) = frame.landmarks_px, picture.shape[:2]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * float((high - low).max())
    left, top = (int(v) for v in np.clip(low - margin, 0, (width, height)))
    right, bottom = (int(v) for v in np.clip(high + margin, 0, (width, height)))
    if right - left < 2 or bottom - top < 2:
        return ""  # beside the picture: the video is another one, or the fit has left it
    crop = picture[top:bottom, left:right]
    scale = min(1.0, _LONGEST_PX / max(crop.shape[:2]))
    small = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else crop
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    data = base64.b64encode(jpeg.tobytes()).decode("ascii")
    # OpenCV's coordinates name the centre of a pixel, SVG's its corner.
    shown = points - (left - 0.5, top - 0.5)
    unit = max(right - left, bottom - top) / 100
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{0.8 * unit:.2f}"/>' for x, y in shown)
    return (
        f'<svg viewBox="0 0 {right - left} {bottom - top}" role="img" aria-label="face of frame {frame.frame} with its '
        f'landmarks"><image width="{right - left}" height="{bottom - top}" href="data:image/jpeg;base64,{data}"/>'
        f'<g fill="#ffd166" stroke="#000000" stroke-opacity=".55" stroke-width="{0.25 * unit:.2f}">{dots}</g></svg>'
    )
