"""Images as a sequence: a folder of them in the order of their names, or a single file."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, ShapeError
from auflow.stages import MAX_PIXELS
from auflow.stages.records import SourceInfo

__all__ = ["ImageSource", "list_images"]


def list_images(folder: Path, suffixes: Collection[str]) -> tuple[Path, ...]:
    """The images of a folder in the order of their names, numbers by value.

    Names with leading zeros come in the order that OpenFace takes too; where they have none, OpenFace reads 10.jpg
    before 2.jpg, which no tracker can follow, and this order differs from it on purpose.

    Raises
    ------
    InputError
        There is no image in the folder; what is there instead is told.
    """
    try:
        names = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}; check the folder's permissions") from error
    images = [entry for entry in names if entry.suffix.lower() in suffixes]
    if not images:
        found = f"{len(names)} other files, such as {min(names).name}" if names else "no files at all"
        raise InputError(
            f"{folder}: no image in this folder ({', '.join(sorted(suffixes))}), found {found}; "
            "give a folder of images or a video file"
        )
    return tuple(sorted(images, key=_by_numbers))


def _by_numbers(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name


class ImageSource:
    """Image files as the frames of one stream, 8-bit BGR whatever their depth and channels; time stays at zero.

    The index is the place in the list, from 1. A file that cannot be decoded is counted in `corrupt_frames` and left
    out, its index too, so that row and file still belong together.

    Raises
    ------
    InputError
        Not one of the files can be decoded, or (from `read_into`) one is of another size than the first.
    """

    def __init__(self, path: Path, images: Sequence[Path]) -> None:
        self._images = images
        self._index = 0
        self._corrupt_frames = 0
        self._next = self._read_next()
        if self._next is None:
            what = "this file is no image" if len(images) == 1 else f"none of these {len(images)} files is an image"
            raise InputError(
                f"{path}: {what} that can be decoded (of up to {MAX_PIXELS:,} pixels); "
                "open one in a viewer and save it again"
            )
        self._first = images[self._index - 1]
        height, width = self._next.shape[:2]
        self.info = SourceInfo(str(path), "images", width, height, fps=0.0, frame_count=len(images))

    @property
    def corrupt_frames(self) -> int:
        """Files so far that could not be decoded."""
        return self._corrupt_frames

    def read_into(self, out: NDArray[np.uint8]) -> tuple[int, float] | None:
        """See `Source.read_into`."""
        shape = (self.info.height_px, self.info.width_px, 3)
        if out.shape != shape or out.dtype != np.uint8:
            raise ShapeError(f"out: expected {shape} uint8, got {out.shape} {out.dtype}")
        picture = self._take()
        if picture is None:
            return None
        np.copyto(out, picture)
        return self._index, 0.0

    def skip(self, frames: int) -> int:
        """See `Source.skip`; only by decoding it is known whether a file counts."""
        for done in range(frames):
            if self._take() is None:
                return done
        return frames

    def _take(self) -> NDArray[np.uint8] | None:
        shape = (self.info.height_px, self.info.width_px, 3)
        picture, self._next = self._next, None
        if picture is None:
            picture = self._read_next()
        if picture is not None and picture.shape != shape:
            raise InputError(
                f"{self._images[self._index - 1]}: {picture.shape[1]}x{picture.shape[0]} pixels, but "
                f"{self._first.name} has {shape[1]}x{shape[0]}; the images of one folder are one sequence of one size: "
                "sort them into a folder per size, or give unrelated images as separate inputs"
            )
        return picture

    def close(self) -> None:
        """See `Source.close`; no file stays open between pictures."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_next(self) -> NDArray[np.uint8] | None:
        while self._index < len(self._images):
            picture = _decode(self._images[self._index])
            self._index += 1
            if picture is not None:
                return picture
            self._corrupt_frames += 1
        return None


def _decode(path: Path) -> NDArray[np.uint8] | None:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        # OpenCV applies the EXIF orientation, drops alpha and scales 16 bits to 8, as it does for the C++ program.
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:  # a size beyond MAX_PIXELS, or more memory than there is
        return None
    return None if picture is None else np.asarray(picture, dtype=np.uint8)
