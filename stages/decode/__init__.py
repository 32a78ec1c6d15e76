"""Sources of pictures: a video file, a folder of images, or one image, each as BGR frames of one size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.stages.records import SourceInfo

__all__ = ["IMAGE_SUFFIXES", "Source", "expand_pictures", "open_source"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


class Source(Protocol):
    """An opened input that gives its pictures one after the other."""

    @property
    def info(self) -> SourceInfo:
        """What is known before the first picture."""

    @property
    def corrupt_frames(self) -> int:
        """Pictures so far that were damaged: repaired by the decoder, or lost."""

    def read_into(self, out: NDArray[np.uint8]) -> tuple[int, float] | None:
        """Write the next picture to `out`.

        Parameters
        ----------
        out : (height, width, 3) uint8, C-contiguous, BGR

        Returns
        -------
        (index, timestamp_s) with the index counted from 1, or None at the end

        Raises
        ------
        ShapeError
            `out` is not of the size that `info` tells.
        InputError
            The input cannot be read on, or the size of its pictures changes.
        """

    def skip(self, frames: int) -> int:
        """Pass over so many pictures: what `read_into` gives after it is just what it would have given.

        Returns
        -------
        how many there were to pass over

        Raises
        ------
        InputError
            As `read_into`.
        """

    def close(self) -> None:
        """Give the file back; `read_into` must not be called any more."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def expand_pictures(path: Path) -> tuple[Path, ...]:
    """The image files of a folder in the order of their names, or the one image itself.

    Raises
    ------
    InputError
        It is missing, or is no image and no folder of images.
    """
    if path.is_dir():
        from auflow.stages.decode.images import list_images

        return list_images(path, IMAGE_SUFFIXES)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; check the spelling and the working folder")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: expected an image ({', '.join(sorted(IMAGE_SUFFIXES))}) or a folder of images")
    return (path,)


def open_source(path: str | Path, *, stopped: Callable[[], bool] | None = None) -> Source:
    """Open a video file, a pipe (- for standard input, or a named pipe), a folder of images or a single image file.

    Parameters
    ----------
    stopped : asked a few times each second while nothing comes through a pipe; True ends the data

    Raises
    ------
    InputError
        It is missing, empty, of no known format, or holds not one picture that can be decoded.
    """
    path = Path(path)
    if str(path) == "-" or path.is_fifo():
        from auflow.stages.decode.video import VideoSource

        return VideoSource(path, stopped=stopped)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        from auflow.stages.decode.images import ImageSource, list_images

        return ImageSource(path, list_images(path, IMAGE_SUFFIXES) if path.is_dir() else (path,))
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; check the spelling and the working folder")
    if not path.is_file():
        raise InputError(f"{path}: expected a video, an image or a folder of images, found neither file nor folder")
    from auflow.stages.decode.video import VideoSource

    return VideoSource(path)
