"""The clips that are measured, and the larger, longer or more numerous ones made of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from auflow.benchmarks.machine import CHECKOUT
from auflow.errors import InputError, UsageError
from auflow.stages.decode import open_source

if TYPE_CHECKING:
    from av.container import OutputContainer

__all__ = ["Clip", "copies", "default_clip", "describe", "repeated", "resized"]

DEMO = CHECKOUT / "demo" / "astronaut.mp4"


@dataclass(frozen=True, slots=True)
class Clip:
    """What identifies a clip in a result."""

    name: str
    sha256: str  # its first 16 digits
    width_px: int
    height_px: int
    fps: float
    frames: int | None  # as its container declares


def default_clip() -> Path:
    """The demo clip of a checkout.

    Raises
    ------
    UsageError
        This auflow was installed without it.
    """
    if not DEMO.is_file():
        raise UsageError("the demo clip is only in a checkout of auflow: give a video, `auflow bench CLIP`")
    return DEMO


def describe(path: Path) -> Clip:
    """Name, digest and size of a clip.

    Raises
    ------
    InputError
        It is missing, or no video that can be decoded.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected a video file, found a folder; give the video")
    with open_source(path) as source:
        info = source.info
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Clip(path.name, digest, info.width_px, info.height_px, info.fps, info.frame_count)


def copies(path: Path, count: int, folder: Path) -> list[Path]:
    """Links to a clip under `count` names: inputs of one run must have different names."""
    links = [folder / f"copy-{number:05d}{path.suffix}" for number in range(1, count + 1)]
    for link in links:
        link.symlink_to(path.resolve())
    return links


def repeated(path: Path, times: int, folder: Path) -> Path:
    """The clip `times` times in one file, its packets copied as they are.

    Raises
    ------
    InputError
        Its packets cannot stand in a Matroska file.
    """
    import av

    target = folder / f"{path.stem}-{times}-times.mkv"
    try:
        with av.open(str(target), "w") as output:
            shift = Fraction(0)  # s
            stream = None
            for _ in range(times):
                with av.open(str(path)) as source:
                    video = source.streams.video[0]
                    stream = stream or output.add_stream_from_template(video)
                    shift += _copy_packets(output, stream, source.demux(video), shift)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"{path}: cannot be copied into one long file: {error}; give a clip in H.264") from error
    return target


def _copy_packets(output: OutputContainer, stream, packets, shift: Fraction) -> Fraction:  # type: ignore[no-untyped-def]
    """Write the packets, later by `shift` s; how long they last in all, s."""
    first = end = None
    for packet in packets:
        if packet.dts is None:
            continue  # the one that only says that the file is over
        base = packet.time_base
        first = packet.dts if first is None else first
        ticks = round(shift / base) - first
        packet.dts += ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
        end = (packet.dts + max(packet.duration or 0, 1)) * base
        packet.stream = stream
        output.mux(packet)
    return Fraction(0) if end is None else end - shift


def resized(path: Path, width_px: int, height_px: int, folder: Path) -> Path:
    """The clip in another size, encoded anew at a quality that leaves no visible trace.

    Raises
    ------
    InputError
    """
    import av

    codec: Literal["libx264", "mpeg4"] = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"preset": "veryfast", "crf": "17"} if codec == "libx264" else {"qscale": "2"}
    target = folder / f"{path.stem}-{width_px}x{height_px}.mp4"
    with open_source(path) as opened:
        fps = Fraction(opened.info.fps).limit_denominator(1001)
    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = output.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            scaled = frame.reformat(width_px, height_px, "yuv420p")
            scaled.pts, scaled.time_base = number, 1 / fps
            for packet in stream.encode(scaled):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)
    return target
