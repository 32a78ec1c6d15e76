"""The annotated video: every picture with what was found in it, and its Action Units beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
import cv2
import numpy as np

from auflow.errors import OutputError
from auflow.stages.records import AuFrame, FaceFit, Frame, SourceInfo
from auflow.stages.sink.drawing import draw_face, draw_panel, panel_width_px

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["OverlaySink"]

TIME_BASE = Fraction(1, 90_000)
IMAGES_FPS = 25
# Below this the labels cannot be read; the picture is enlarged, its proportions kept.
LEAST_HEIGHT_PX = 480


class OverlaySink:
    """Writes NAME.overlay.mp4: H.264 where FFmpeg has x264, else MPEG-4 part 2.

    The Action Units shown are the online values, for the offline pass is known only at the end.

    Parameters
    ----------
    path : of the video, which appears under its name all at once, with `publish`
    work : folder where it waits until then
    info : size and rate of the stream that will be shown
    camera : fx, fy, cx, cy in pixels that the head poses are of; None is OpenFace's guess by the size

    Raises
    ------
    OutputError
        The file cannot be written (also from every method).
    """

    def __init__(
        self,
        path: Path,
        work: Path,
        info: SourceInfo,
        camera: tuple[float, float, float, float] | None = None,
    ) -> None:
        self._path = path
        self._camera = camera
        self._temporary = work / "overlay.mp4"
        self._step = round(1 / (TIME_BASE * Fraction(info.fps or IMAGES_FPS).limit_denominator(1001)))
        self._timed = info.kind == "video"
        self._last_pts = -self._step
        factor = max(1.0, LEAST_HEIGHT_PX / info.height_px)
        # Encoders want even sizes.
        self._size = (2 * round(info.width_px * factor / 2), 2 * round(info.height_px * factor / 2))
        width, height = self._size
        self._canvas = np.zeros((height, width + panel_width_px(height), 3), np.uint8)
        self._container: OutputContainer | None = None
        with self._writing():
            self._container = av.open(str(self._temporary), "w", format="mp4")
            self._stream = _add_stream(self._container, self._canvas.shape, info.fps or IMAGES_FPS)
            self._container.start_encoding()  # FFmpeg opens the file here, not before

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append one annotated picture; a fit that failed is not shown. The panel has the Action Units of the first."""
        width = self._size[0]
        picture = self._canvas[:, :width]
        cv2.resize(frame.bgr, self._size, dst=picture, interpolation=cv2.INTER_CUBIC)
        for fit in fits:
            if fit.success:
                draw_face(picture, fit, scale=width / frame.bgr.shape[1], camera=self._camera)
        shown_face = next(((fit, au) for fit, au in zip(fits, aus, strict=True) if fit.success), None)
        draw_panel(self._canvas[:, width:], frame, shown_face)
        shown = av.VideoFrame.from_ndarray(self._canvas, format="bgr24")
        ideal = round(frame.timestamp_s / TIME_BASE) if self._timed else self._last_pts + self._step
        self._last_pts = shown.pts = max(ideal, self._last_pts + 1, 0)
        shown.time_base = TIME_BASE
        with self._writing():
            self._mux(shown)

    def prepare(self) -> None:
        """Complete the file in the work folder."""
        with self._writing():
            self._mux(None)
            if self._container is not None:
                self._container.close()
                self._container = None

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
        if self._container is not None:
            # That it cannot be completed does not matter.
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
            self._container = None

    def _mux(self, shown: av.VideoFrame | None) -> None:
        if self._container is not None:
            for packet in self._stream.encode(shown):
                self._container.mux(packet)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            self.close()
            raise OutputError(
                f"{self._path}: cannot be written: {error.strerror}; free some space or choose another folder with -o"
            ) from error


def _add_stream(container: OutputContainer, shape: tuple[int, ...], fps: float) -> VideoStream:
    codec: Literal["libx264", "mpeg4"] = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"preset": "veryfast", "crf": "20"} if codec == "libx264" else {"qscale": "4"}
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = TIME_BASE
    stream.codec_context.thread_count = 1
    return stream
