"""The first frames of a clip as a clip of their own: minutes must do for a recording of hours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.stages.decode import expand_pictures, open_source

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["excerpt", "some_pictures"]


def excerpt(clip: Path, frames: int, folder: Path) -> tuple[Path, int]:
    """The clip itself where it says that it is no longer, else its first frames: packets copied, pictures linked.

    Also how many frames there are, about.

    Parameters
    ----------
    clip : a video or a folder of pictures
    folder : where a new one goes, which is there

    Raises
    ------
    InputError
        It cannot be opened, or not be cut without loss.
    """
    with open_source(clip) as source:
        info = source.info
    if info.frame_count is not None and info.frame_count <= frames:
        return clip, info.frame_count
    if clip.is_dir():
        return _linked(clip, frames, folder / clip.name), frames
    target = folder / f"{clip.stem}.mkv"
    copied = _copy(clip, frames, target)
    with open_source(target) as source:
        kept = source.info
    if (kept.width_px, kept.height_px, kept.rotation_deg) != (info.width_px, info.height_px, info.rotation_deg):
        raise InputError(f"{clip}: cannot be cut without losing how it is turned; give a clip of {frames} frames")
    return target, copied


def some_pictures(clip: Path, count: int, frames: int) -> list[NDArray[np.uint8]]:
    """Pictures (h, w, 3) uint8 of a clip, evenly spaced over its `frames`.

    Raises
    ------
    InputError
    """
    found: list[NDArray[np.uint8]] = []
    with open_source(clip) as source:
        step = max(1, frames // count)
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        number = 0
        while len(found) < count and source.read_into(bgr) is not None:
            if number % step == 0:
                found.append(bgr.copy())
            number += 1
    return found


def _linked(clip: Path, frames: int, target: Path) -> Path:
    target.mkdir()
    for picture in expand_pictures(clip)[:frames]:
        (target / picture.name).symlink_to(picture.resolve())
    return target


def _copy(clip: Path, frames: int, target: Path) -> int:
    """Copy so many packets; how many there were."""
    import av

    try:
        with av.open(str(clip)) as source, av.open(str(target), "w") as output:
            video = source.streams.video[0]
            stream = output.add_stream_from_template(video)
            packets = list(islice((packet for packet in source.demux(video) if packet.size), frames))
            _complete(packets)
            for packet in packets:
                packet.stream = stream
                output.mux(packet)
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise InputError(f"{clip}: cannot be cut to {frames} frames: {error}; give a shorter clip") from error
    return len(packets)


def _complete(packets: Sequence[Packet[VideoStream]]) -> None:
    """Say when the first packets are to be decoded where the container does not: Matroska leaves it to the codec."""
    known = next((place for place, packet in enumerate(packets) if packet.dts is not None), 0)
    for place in reversed(range(known)):
        packets[place].dts = (packets[place + 1].dts or 0) - max(packets[place].duration or 1, 1)
