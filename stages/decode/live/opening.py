"""Opening a live source with FFmpeg for low latency, and its errors in words that hold no secret."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.stream import VideoStream

from auflow.errors import AuflowError, InputError
from auflow.stages.decode.live.spec import LiveSpec
from auflow.stages.decode.pipe import PipeFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from av.container import InputContainer

__all__ = ["Opened", "explain", "open_live"]

# The whole header of an RTSP stream is in its description: nothing need be read ahead (0.07 s instead of 1.9 s to
# open at 15 fps). FFmpeg's `nobuffer` is not set: it throws away what was read ahead, and with it the first key
# picture (30 of 40 pictures lost), while a mailbox of one picture keeps no delay from them.
SHORT_PROBE = {"probesize": "32", "analyzeduration": "0"}
LONG_PROBE = {"probesize": "1000000", "analyzeduration": "2000000"}
MODERATE_PROBE = {"probesize": "500000", "analyzeduration": "500000"}
# How long a late UDP packet is waited for, and room for the burst of a large key picture.
UDP = {"max_delay": "200000", "buffer_size": "1048576"}
# What a hostile server can name in a playlist or description: no local file.
PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto"
CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
AUTO = {"linux": ("cuda", "vaapi"), "darwin": ("videotoolbox",), "win32": ("d3d11va", "cuda")}
UNTIMED = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v"})


@dataclass(frozen=True, slots=True)
class Opened:
    """An open source."""

    container: InputContainer
    stream: VideoStream
    time_base: Fraction  # of packets and pictures, seconds
    timed: bool  # whether the time stamps are the sender's; of bare pictures FFmpeg makes them up
    facts: str  # for people


def open_live(spec: LiveSpec, stopped: Callable[[], bool]) -> Opened:
    """Open the source and its decoder.

    Parameters
    ----------
    stopped : a pipe asks it while nothing comes

    Raises
    ------
    av.FFmpegError, AuflowError
        It cannot be opened: `explain` tells why.
    """
    # FFmpeg's own messages quote addresses: they must go nowhere.
    av.logging.set_level(None)
    hardware, why = _hardware(spec.hwaccel)
    opened = None
    if spec.kind == "network" and spec.url.lower().startswith("rtsp"):
        opened = _open(spec, SHORT_PROBE, hardware, stopped)
    if opened is None:
        opened = _open(spec, LONG_PROBE if spec.kind != "network" else MODERATE_PROBE, hardware, stopped)
    if opened is None:
        raise InputError("no pictures that can be decoded: the source has no video stream, or one of an unknown codec")
    container, stream = opened
    codec = stream.codec_context
    # One thread: several work on several pictures at once, and each of them is a picture of delay.
    stream.thread_type = "NONE"
    codec.thread_count = 1
    codec.flags |= Flags.low_delay
    decoder = f"{codec.name}, {hardware.name if hardware and codec.is_hwaccel else 'software'}"
    if hardware and not codec.is_hwaccel:
        why = f"{hardware.name} does not decode {codec.name}"
    size = f", {codec.width}x{codec.height}" if codec.width else ""
    facts = f"{decoder}{size}{f' ({spec.hwaccel} was asked for: {why})' if why else ''}"
    return Opened(container, stream, stream.time_base or Fraction(1, 1000), container.format.name not in UNTIMED, facts)


def _open(
    spec: LiveSpec, probe: dict[str, str], hardware: _Hardware | None, stopped: Callable[[], bool]
) -> tuple[InputContainer, VideoStream] | None:
    file, file_format, options = _target(spec, stopped)
    container = av.open(
        file,
        "r",
        format=file_format,
        # Only for the container: FFmpeg would hand the probe's size to the decoders as well.
        container_options=probe | options,
        metadata_errors="replace",
        timeout=(spec.open_timeout_s, spec.read_timeout_s),
        hwaccel=hardware.accel if hardware else None,
    )
    stream = container.streams.best("video")
    if isinstance(stream, VideoStream) and stream.codec_context is not None:
        return container, stream
    container.close()
    return None


def _target(spec: LiveSpec, stopped: Callable[[], bool]) -> tuple[str | PipeFile, str | None, dict[str, str]]:
    rest = spec.url.partition(":")[2]
    if spec.kind == "pipe":
        return PipeFile(int(rest or 0), stopped=stopped), None, {}
    if spec.kind == "file":
        return spec.url, None, {"protocol_whitelist": "file"}
    if spec.kind == "webcam":
        device = CAMERAS.get(sys.platform)
        if device is None:
            raise InputError(f"webcams are not supported on {sys.platform}")
        if device == "v4l2":
            return (f"/dev/video{rest}" if rest.isdecimal() else rest), device, {}
        return _camera_name(device, rest), device, {"framerate": "30"}
    options = {"protocol_whitelist": PROTOCOLS}
    if spec.url.lower().startswith("rtsp"):
        options |= {"rtsp_transport": spec.rtsp_transport, "allowed_media_types": "video"}
        options |= UDP if spec.rtsp_transport == "udp" else {}
    return spec.address(), None, options


def _camera_name(device: str, wanted: str) -> str:
    if device == "avfoundation":
        return wanted
    if not wanted.isdecimal():
        return f"video={wanted}"
    from av.device import enumerate_input_devices

    cameras = [camera.name for camera in enumerate_input_devices(device) if "video" in camera.media_types]
    if int(wanted) >= len(cameras):
        raise InputError(f"there is no webcam {wanted}; found {', '.join(cameras) or 'none'}")
    return f"video={cameras[int(wanted)]}"


@dataclass(frozen=True, slots=True)
class _Hardware:
    name: str
    accel: HWAccel


def _hardware(wanted: str) -> tuple[_Hardware | None, str]:
    """The hardware decoder and "", or None and why not."""
    if wanted == "none":
        return None, ""
    reasons = []
    for name in AUTO.get(sys.platform, ()) if wanted == "auto" else (wanted,):
        if name not in hwdevices_available():
            reasons.append(f"{name}: not in this build of FFmpeg")
            continue
        try:
            accel = HWAccel(name, allow_software_fallback=True)
            # Whether the device is there shows only with a decoder on it.
            av.CodecContext.create("h264", "r", hwaccel=accel)
        except (av.FFmpegError, RuntimeError, NotImplementedError, ValueError) as error:
            reasons.append(f"{name}: {getattr(error, 'strerror', None) or error}")
        else:
            return _Hardware(name, HWAccel(name, allow_software_fallback=True)), ""
    return None, "; ".join(reasons) or "none is known for this platform"


def explain(spec: LiveSpec, error: Exception, *, late: bool = False) -> tuple[str, bool]:
    """Why it failed, without any secret, and whether user or password were refused.

    `late`: the time to open was up, whatever FFmpeg made of that.
    """
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return "user or password refused: check them, and that the camera has not locked the account", True
    if isinstance(error, AuflowError):
        return spec.scrub(str(error)), False
    if isinstance(error, av.error.HTTPServerError):
        return "the server is there but refuses for now (5xx, busy or out of order)", False
    if isinstance(error, av.error.HTTPNotFoundError):
        return "the server knows no such path (404)", False
    if late or isinstance(error, av.error.ExitError | TimeoutError):
        return "no answer in time", False
    if isinstance(error, av.FFmpegError):
        # Its text as a whole would quote the address.
        return spec.scrub(str(error.strerror)), False
    return spec.scrub(f"{type(error).__name__}: {error}"), False
