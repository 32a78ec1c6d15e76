"""The annotated video: every picture with what was found in it, and its Action Units beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from auflow.errors import OutputError
from auflow.stages.records import AuFrame, FaceFit, Frame, SourceInfo
from auflow.stages.sink.drawing import draw_face, draw_label, draw_panel, panel_width_px
from auflow.stages.sink.encoders import SOFTWARE
from auflow.stages.sink.video_file import TIME_BASE, EncoderError, VideoFile

__all__ = ["OverlaySink"]

IMAGES_FPS = 25
# Below this the labels cannot be read; the picture is enlarged, its proportions kept.
LEAST_HEIGHT_PX = 480


class OverlaySink:
    """Writes NAME.overlay.mp4.

    The Action Units shown are the online values, for the offline pass is known only at the end.

    Parameters
    ----------
    path : of the video, which appears under its name all at once, with `publish`
    work : folder where it waits until then
    info : size and rate of the stream that will be shown
    camera : fx, fy, cx, cy in pixels that the head poses are of; None is OpenFace's guess by the size
    encoders : to try, in this order (`auflow.stages.sink.encoders`)
    labelled : each face gets its number, for there may be several

    Raises
    ------
    OutputError
        The file cannot be written, or no encoder takes pictures of this size (also from every method).
    """

    def __init__(
        self,
        path: Path,
        work: Path,
        info: SourceInfo,
        camera: tuple[float, float, float, float] | None = None,
        *,
        encoders: Sequence[str] = SOFTWARE,
        labelled: bool = False,
    ) -> None:
        self._path = path
        self._camera = camera
        self._labelled = labelled
        self._temporary = work / "overlay.mp4"
        self._step = round(1 / (TIME_BASE * Fraction(info.fps or IMAGES_FPS).limit_denominator(1001)))
        self._timed = info.kind == "video"
        self._last_pts = -self._step
        factor = max(1.0, LEAST_HEIGHT_PX / info.height_px)
        # Encoders want even sizes.
        self._size = (2 * round(info.width_px * factor / 2), 2 * round(info.height_px * factor / 2))
        width, height = self._size
        self._canvas = np.zeros((height, width + panel_width_px(height), 3), np.uint8)
        self._planes = np.empty((height * 3 // 2, self._canvas.shape[1]), np.uint8)
        self._video: VideoFile | None = None
        with self._writing():
            size = (self._canvas.shape[1], height)
            self._video = VideoFile(self._temporary, size, info.fps or IMAGES_FPS, encoders)
        self.encoder = self._video.encoder

    @property
    def note(self) -> str:
        """What the user should know of how it was encoded: that an encoder did not take this video; mostly empty."""
        refused = "" if self._video is None else self._video.refused
        return (
            f"{self._path.name} is encoded by {self.encoder}, for others did not take it: {refused}" if refused else ""
        )

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append one annotated picture; a fit that failed is not shown. The panel has the Action Units of the first."""
        width = self._size[0]
        picture = self._canvas[:, :width]
        cv2.resize(frame.bgr, self._size, dst=picture, interpolation=cv2.INTER_CUBIC)
        scale = width / frame.bgr.shape[1]
        found = [(fit, au) for fit, au in zip(fits, aus, strict=True) if fit.success]
        for fit, _ in found:
            draw_face(picture, fit, scale=scale, camera=self._camera)
        for fit, _ in found if self._labelled else ():  # above all faces
            draw_label(picture, fit, scale=scale)
        draw_panel(self._canvas[:, width:], frame, next(iter(found), None), numbered=self._labelled)
        # OpenCV's conversion takes a third of the time of FFmpeg's.
        cv2.cvtColor(self._canvas, cv2.COLOR_BGR2YUV_I420, dst=self._planes)
        shown = av.VideoFrame.from_ndarray(self._planes, format="yuv420p")
        ideal = round(frame.timestamp_s / TIME_BASE) if self._timed else self._last_pts + self._step
        self._last_pts = shown.pts = max(ideal, self._last_pts + 1, 0)
        shown.time_base = TIME_BASE
        with self._writing():
            if self._video is not None:
                self._video.add(shown)
                self.encoder = self._video.encoder

    def prepare(self) -> None:
        """Complete the file in the work folder."""
        with self._writing():
            if self._video is not None:
                self._video.finish()

    def publish(self, *, interrupted: bool = False) -> Path:
        """Give the prepared file its name; NAME.partial.overlay.mp4 when the stream was interrupted."""
        path = self._path
        if interrupted:
            path = path.with_name(f"{path.name.removesuffix('.overlay.mp4')}.partial.overlay.mp4")
        with self._writing():
            os.replace(self._temporary, path)
        return path

    def close(self) -> None:
        """Leave what is in the work folder; nobody can go on with it."""
        if self._video is not None:
            self._video.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except EncoderError as error:
            self.close()
            raise OutputError(f"{self._path}: {error}; take another encoder with --overlay-encoder") from error
        except (OSError, av.error.FFmpegError) as error:
            self.close()
            raise OutputError(
                f"{self._path}: cannot be written: {error.strerror}; free some space or choose another folder with -o"
            ) from error
