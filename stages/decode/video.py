"""Video files through FFmpeg (PyAV), bit-equal to what OpenCV's reader gives the C++ program."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from auflow.errors import InputError, ShapeError
from auflow.stages.decode.timeline import Timeline
from auflow.stages.records import SourceInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

__all__ = ["VideoSource"]

# A reader that fails this often is stuck at one place: end the stream rather than spin.
MAX_DAMAGED_PLACES = 1000
REENCODE = "a file that plays elsewhere can be re-encoded to H.264 in MP4"
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class VideoSource:
    """The pictures of a video file, one decoding thread, rotation metadata applied.

    A picture that the decoder had to repair is given out and counted in `corrupt_frames`; a piece of the file that
    gives no picture is counted and passed over, and takes no index. A file whose picture size changes is refused at
    that picture: the frames of a stream have one size.

    Raises
    ------
    InputError
        The file is empty, of no known format, has no video stream or not one decodable picture.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._corrupt_frames = 0
        self._index = 0
        self._container = _open(path)
        try:
            self._stream = _best_stream(path, self._container)
            self._frames = self._decode()
            self._next = next(self._frames, None)
            if self._next is None:
                raise InputError(
                    f"{path}: found a video stream ({self._stream.codec_context.name}) but not one picture of it could "
                    f"be decoded ({self._corrupt_frames} damaged pieces); the file may be cut short: get it again"
                )
            self._rotation_deg = -round(self._next.rotation) % 360
            self._size = (self._next.height, self._next.width)
            self._timeline = Timeline(self._stream.time_base or Fraction(1, 1000), self._stream.average_rate)
            self._reformatter = VideoReformatter()
            self.info = self._describe()
        except BaseException:
            self._container.close()
            raise

    @property
    def corrupt_frames(self) -> int:
        """Pictures so far that were damaged: repaired by the decoder, or lost."""
        return self._corrupt_frames

    def read_into(self, out: NDArray[np.uint8]) -> tuple[int, float] | None:
        """See `Source.read_into`."""
        shape = (self.info.height_px, self.info.width_px, 3)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ShapeError(f"out: expected {shape} uint8, C-contiguous, got {out.shape} {out.dtype}")
        frame, self._next = self._next, None
        if frame is None:
            frame = next(self._frames, None)
        if frame is None:
            return None
        self._index += 1
        if (frame.height, frame.width) != self._size:
            raise InputError(
                f"{self._path}: picture {self._index} is {frame.width}x{frame.height} after pictures of "
                f"{self._size[1]}x{self._size[0]}; auflow needs one size: re-encode the file with a fixed size"
            )
        self._convert(frame, out)
        return self._index, self._timeline.stamp(frame.pts)

    def close(self) -> None:
        """See `Source.close`."""
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _convert(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        # More than one conversion thread costs more than it gains at these sizes (0.35 against 0.28 ms at VGA).
        # The reference program reads every video as BT.601, whatever its tag says; taking BT.709 at its word moves
        # landmarks by 0.06 px and AUs by several times the noise floor.
        plane = self._reformatter.reformat(
            frame, format="bgr24", src_colorspace=Colorspace.ITU601, dst_colorspace=Colorspace.ITU601, threads=1
        ).planes[0]
        height, width = self._size
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, : 3 * width]
        picture = rows.reshape(height, width, 3)
        if self._rotation_deg in TURNS:
            cv2.rotate(picture, TURNS[self._rotation_deg], dst=out)
        else:
            np.copyto(out, picture)

    def _decode(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._packets():
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    self._corrupt_frames += 1
                    continue
                for frame in frames:
                    self._corrupt_frames += frame.is_corrupt
                    yield frame
        except av.error.FFmpegError as error:
            raise InputError(f"{self._path}: reading stopped after picture {self._index}: {error.strerror}") from error

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        for _ in range(MAX_DAMAGED_PLACES):
            try:
                # A generator that raised is finished; a new one goes on from where the file was read to.
                yield from self._container.demux(self._stream)
                return
            except av.error.InvalidDataError:
                self._corrupt_frames += 1

    def _describe(self) -> SourceInfo:
        height, width = self._size
        if self._rotation_deg in (90, 270):
            height, width = width, height
        rate = self._stream.average_rate
        return SourceInfo(
            path=str(self._path),
            kind="video",
            width_px=width,
            height_px=height,
            fps=float(rate) if rate else 0.0,
            frame_count=self._stream.frames or _frames_by_duration(self._stream, self._container),
            rotation_deg=self._rotation_deg if self._rotation_deg in TURNS else 0,
        )


def _open(path: Path) -> InputContainer:
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); check that its copy or recording was finished")
    try:
        # Without the protocol FFmpeg would take 12:30.mp4 for an address.
        return av.open(f"file:{path}")
    except av.error.FFmpegError as error:
        raise InputError(f"{path}: not a video that can be read ({error.strerror}). {_guess(path)}") from error


def _guess(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if head[4:8] == b"ftyp":
        return "It begins like an MP4 or MOV file, so it was probably cut short: record or download it again"
    if b"\0" not in head and head.isascii():
        return "It holds plain text: give the video itself, not its list or link"
    return f"Check that it is a video: {REENCODE}"


def _best_stream(path: Path, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise InputError(f"{path}: no video stream in this file (found: {kinds}); give a file with pictures")
    if stream.codec_context is None:  # whatever PyAV's annotations say, without a decoder there is none
        raise InputError(f"{path}: no decoder for the pictures of this file; {REENCODE}")
    # One thread per process; more processes are the way to more speed.
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _frames_by_duration(stream: VideoStream, container: InputContainer) -> int | None:
    rate = stream.average_rate
    if not rate:
        return None
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate) or None
    return round(container.duration * rate / av.time_base) or None if container.duration else None
