"""Video files through FFmpeg (PyAV), bit-equal to what OpenCV's reader gives the C++ program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from auflow.errors import InputError, ShapeError
from auflow.stages import MAX_PIXELS
from auflow.stages.decode.pipe import PipeFile, is_pipe
from auflow.stages.decode.pixels import TURNS, turn_deg, write_bgr
from auflow.stages.decode.timeline import Timeline
from auflow.stages.records import SourceInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

__all__ = ["VideoSource"]

# A reader that fails this often is stuck at one place: end the stream rather than spin.
MAX_DAMAGED_PLACES = 1000
REENCODE = "a file that plays elsewhere can be re-encoded to H.264 in MP4"
PIPE_ORDER = (
    "through a pipe, the index of an MP4 file must come first (ffmpeg -movflags +faststart); Matroska always works"
)


class VideoSource:
    """The pictures of a video file or a pipe, one decoding thread, rotation metadata applied.

    A picture that the decoder had to repair is given out and counted in `corrupt_frames`; a piece of the file that
    gives no picture is counted and passed over, and takes no index. A file whose picture size changes is refused at
    that picture: the frames of a stream have one size.

    Parameters
    ----------
    stopped : see `PipeFile`

    Raises
    ------
    InputError
        The file is empty, of no known format, has no video stream or not one decodable picture.
    """

    def __init__(self, path: Path, *, stopped: Callable[[], bool] | None = None) -> None:
        self._path = path
        self._corrupt_frames = 0
        self._index = 0
        self._pipe = PipeFile(path, stopped=stopped) if is_pipe(path) else None
        try:
            self._container = _open(path, self._pipe)
        except BaseException:
            self._close_pipe()
            raise
        try:
            self._stream = _best_stream(path, self._container)
            self._frames = self._decode()
            self._next = next(self._frames, None)
            if self._next is None:
                hint = PIPE_ORDER if self._pipe else "the file may be cut short: get it again"
                raise InputError(
                    f"{path}: found a video stream ({self._stream.codec_context.name}) but not one picture of it could "
                    f"be decoded ({self._corrupt_frames} damaged pieces); {hint}"
                )
            self._rotation_deg = turn_deg(self._next)
            self._size = (self._next.height, self._next.width)
            self._timeline = Timeline(self._stream.time_base or Fraction(1, 1000), self._stream.average_rate)
            self._reformatter = VideoReformatter()
            self.info = self._describe()
        except BaseException:
            self.close()
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
        frame = self._take()
        if frame is None:
            return None
        write_bgr(self._reformatter, frame, self._rotation_deg, out)
        return self._index, self._timeline.stamp(frame.pts)

    def skip(self, frames: int) -> int:
        """See `Source.skip`; pictures are decoded, for the next ones are made from them, but not converted."""
        for done in range(frames):
            frame = self._take()
            if frame is None:
                return done
            self._timeline.stamp(frame.pts)
        return frames

    def _take(self) -> VideoFrame | None:
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
        return frame

    def close(self) -> None:
        """See `Source.close`."""
        self._container.close()
        self._close_pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

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
            frame_count=None
            if self._pipe
            else _above_zero(self._stream.frames) or _frames_by_duration(self._stream, self._container),
            rotation_deg=self._rotation_deg if self._rotation_deg in TURNS else 0,
        )


def _open(path: Path, pipe: PipeFile | None) -> InputContainer:
    if pipe is not None:
        return _open_pipe(path, pipe)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); check that its copy or recording was finished")
    try:
        # Without the protocol FFmpeg would take 12:30.mp4 for an address.
        return av.open(f"file:{path}", metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise InputError(f"{path}: not a video that can be read ({error.strerror}). {_guess(path)}") from error


def _open_pipe(path: Path, pipe: PipeFile) -> InputContainer:
    try:
        return av.open(pipe, "r", metadata_errors="replace")
    except av.error.FFmpegError as error:
        if not pipe.head:
            raise InputError(f"{path}: the pipe ended before any data; check the program that writes to it") from error
        raise InputError(
            f"{path}: not a video that can be read from a pipe ({error.strerror}). {_guess_head(pipe.head)}; "
            f"{PIPE_ORDER}"
        ) from error


def _guess(path: Path) -> str:
    with path.open("rb") as file:
        return _guess_head(file.read(4096))


def _guess_head(head: bytes) -> str:
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
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise InputError(
            f"{path}: pictures of {context.width}x{context.height}, expected up to {MAX_PIXELS:,} pixels; {REENCODE} "
            "of a smaller size"
        )
    context.options = {"max_pixels": str(MAX_PIXELS)}  # for sizes that only the pictures themselves tell
    # One thread per process; more processes are the way to more speed.
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _frames_by_duration(stream: VideoStream, container: InputContainer) -> int | None:
    rate = stream.average_rate
    if not rate:
        return None
    if stream.duration and stream.time_base:
        return _above_zero(round(stream.duration * stream.time_base * rate))
    return _above_zero(round(container.duration * rate / av.time_base)) if container.duration else None


def _above_zero(count: int) -> int | None:
    """A number of pictures; damaged headers give negative ones, which mean nothing."""
    return count if count > 0 else None
