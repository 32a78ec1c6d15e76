"""The newest picture of a source, and where every other one went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.stages.decode.live.clock import ClockSource
from auflow.stages.decode.pixels import write_bgr

__all__ = ["LiveCounts", "LivePicture", "Mailbox"]


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """What became of a source's pictures; `decoded == taken + superseded + too_old + paused + waiting`."""

    decoded: int = 0
    taken: int = 0
    superseded: int = 0  # a newer one came before anyone took it
    too_old: int = 0
    paused: int = 0  # decoded, but the source was paused before anyone took it
    waiting: int = 0  # 1 while one lies in the mailbox
    corrupt: int = 0  # repaired by the decoder (decoded all the same), or pieces of data that gave no picture
    lost: int = 0  # never arrived, by the gaps between time stamps: an estimate
    reconnects: int = 0  # connections after the first
    refused: int = 0  # attempts that did not lead to a connection
    faults: int = 0  # connections that ended by a fault


@dataclass(frozen=True, slots=True)
class LivePicture:
    """One picture of a live source; its pixels are converted only by `write_into`."""

    index: int  # from 1, over all connections
    timestamp_s: float  # stream time, never backwards
    captured_s: float  # unix time
    clock: ClockSource  # where captured_s comes from
    taken_s: float  # monotonic time of arrival, decoded
    decoding_s: float  # how long the decoder took for it
    width_px: int  # rotation applied
    height_px: int
    _frame: VideoFrame
    _clockwise_deg: int
    _reformatter: VideoReformatter

    def write_into(self, out: NDArray[np.uint8]) -> None:
        """Write the pixels to `out` (height_px, width_px, 3) uint8, C-contiguous, BGR.

        Only in the thread that takes the pictures of this source.

        Raises
        ------
        ShapeError
            `out` is of another size or layout.
        """
        shape = (self.height_px, self.width_px, 3)
        if out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ShapeError(f"out: expected {shape} uint8, C-contiguous, got {out.shape} {out.dtype}")
        write_bgr(self._reformatter, self._frame, self._clockwise_deg, out)


class Mailbox:
    """Room for one picture: the newest wins. Not locked: its owner is."""

    def __init__(self) -> None:
        self._picture: LivePicture | None = None
        self.decoded = self.taken = self.superseded = self.too_old = self.paused = 0

    @property
    def waiting(self) -> bool:
        """Whether a picture can be taken."""
        return self._picture is not None

    def put(self, picture: LivePicture) -> None:
        """A new picture, in the place of the one that waited."""
        self.decoded += 1
        self.superseded += self._picture is not None
        self._picture = picture

    def refuse(self, *, paused: bool) -> None:
        """A picture was decoded that no one wants: the source is paused, or its connection given up."""
        self.decoded += 1
        self.paused += paused
        self.superseded += not paused

    def pause(self) -> None:
        """What waits is not wanted any more."""
        self.paused += self._picture is not None
        self._picture = None

    def take(self, now_s: float, max_age_s: float | None) -> LivePicture | None:
        """What waits, once, unless it arrived more than `max_age_s` before the monotonic time `now_s`."""
        picture, self._picture = self._picture, None
        if picture is None:
            return None
        if max_age_s is not None and now_s - picture.taken_s > max_age_s:
            self.too_old += 1
            return None
        self.taken += 1
        return picture
