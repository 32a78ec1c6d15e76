"""A video that is written picture by picture, by the first of some encoders that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from auflow.stages.sink.encoders import ENCODERS

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["TIME_BASE", "EncoderError", "VideoFile"]

TIME_BASE = Fraction(1, 90_000)


# How PyAV says that it knows no such encoder, that it does not open, or that it takes no such picture.
_REFUSALS = (OSError, av.error.FFmpegError, ValueError)


class EncoderError(Exception):
    """An encoder does not take this video; its text says why."""


class VideoFile:
    """An MP4 file with one H.264 stream (MPEG-4 part 2 from `mpeg4`).

    An encoder that cannot be opened for this size, or fails at the first picture, gives way to the next one: a graphics
    card may have no place for one video more. Later failures are errors.

    Parameters
    ----------
    path : of the file
    size : width and height, even numbers of pixels
    fps : about how many pictures a second there will be
    encoders : names of `ENCODERS`, at least one; the first that works is taken

    Raises
    ------
    EncoderError
        None of them takes it (also from `add`).
    OSError, av.error.FFmpegError
        The file cannot be written (also from `add` and `finish`).
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float, encoders: Sequence[str]) -> None:
        self._path, self._size, self._fps = path, size, fps
        self._left = list(encoders)
        self._refused: list[str] = []
        self._container: OutputContainer | None = None
        self._begun = False
        self._open()

    @property
    def encoder(self) -> str:
        """The name of the encoder at work."""
        return self._stream.codec_context.name

    @property
    def refused(self) -> str:
        """Which encoders before it have not taken this video, and why; empty where it was the first."""
        return "; ".join(self._refused)

    def add(self, picture: av.VideoFrame) -> None:
        """Append a picture with its pts in `TIME_BASE`."""
        while True:
            try:
                packets = _encode(self._stream, picture)
            except _REFUSALS as error:
                if self._begun:
                    raise EncoderError(f"{self.encoder} failed in the middle: {_words(error)}") from error
                self._give_up(self.encoder, error)
                self._open()
                continue
            self._begun = True
            self._mux(packets)
            return

    def finish(self) -> None:
        """Write what is left and close the file."""
        try:
            packets = _encode(self._stream, None) if self._begun else []
        except _REFUSALS as error:
            raise EncoderError(f"{self.encoder} failed at the end: {_words(error)}") from error
        self._mux(packets)
        if self._container is not None:
            self._container.close()
            self._container = None

    def close(self) -> None:
        """Leave the file as it is; nobody can go on with it. Without effect after `finish`."""
        if self._container is not None:
            # That it cannot be completed does not matter.
            with suppress(OSError, av.error.FFmpegError):
                self._container.close()
            self._container = None

    def _open(self) -> None:
        while self._left:
            name = self._left.pop(0)
            self._container = av.open(str(self._path), "w", format="mp4")
            try:
                self._stream = _add_stream(self._container, name, self._size, self._fps)
                # Apart from the file's own opening, whose errors are others.
                self._stream.codec_context.open()
            except _REFUSALS as error:
                self._give_up(name, error)
                continue
            self._container.start_encoding()  # FFmpeg opens the file here, not before
            return
        raise EncoderError(f"no encoder takes this video: {self.refused}")

    def _give_up(self, name: str, error: Exception) -> None:
        self._refused.append(f"{name}: {_words(error)}")
        self.close()

    def _mux(self, packets: Sequence[Packet[VideoStream]]) -> None:
        if self._container is not None:
            for packet in packets:
                self._container.mux(packet)


def _add_stream(container: OutputContainer, name: str, size: tuple[int, int], fps: float) -> VideoStream:
    encoder = ENCODERS[name]
    codec: Any = name  # typed as the few that PyAV's authors thought of
    stream: VideoStream = container.add_stream(
        codec, rate=Fraction(fps).limit_denominator(1001), options=dict(encoder.options)
    )
    stream.width, stream.height = size
    stream.pix_fmt = encoder.pix_fmt
    stream.codec_context.time_base = Fraction(1, encoder.ticks)
    stream.codec_context.thread_count = 1
    return stream


def _encode(stream: VideoStream, picture: av.VideoFrame | None) -> list[Packet[VideoStream]]:
    return list(stream.encode(picture))


def _words(error: Exception) -> str:
    """FFmpeg's last word on it; its own numbers say little."""
    log = getattr(error, "log", None)
    text = log[2] if log else getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")
