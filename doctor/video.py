"""FFmpeg as PyAV brings it: what it decodes, and which hardware decodes and encodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from auflow.doctor.child import PATIENCE_S, Ask, ask
from auflow.doctor.finding import Finding, State
from auflow.doctor.packages import asked_of
from auflow.doctor.places import Places
from auflow.stages.sink.encoders import ENCODERS, SOFTWARE, Trial, try_encoders

__all__ = ["AREA", "Video", "gather", "judge"]

AREA = "video"

# Kinds of video, and the decoders of FFmpeg that do them in software. Files and cameras mostly have the first ones.
DECODERS: dict[str, tuple[str, ...]] = {
    "h264": ("h264",),
    "mjpeg": ("mjpeg",),
    "hevc": ("hevc",),
    "vp9": ("vp9", "libvpx-vp9"),
    "av1": ("libdav1d", "libaom-av1"),  # the one called av1 needs hardware
    "mpeg4": ("mpeg4",),
    "wmv": ("wmv3", "wmv2"),
}
_MUST = ("h264", "mjpeg")
# That live streams take with `hwaccel`, by platform.
DEVICES = {"linux": ("cuda", "vaapi"), "darwin": ("videotoolbox",), "win32": ("d3d11va", "cuda")}
_NOTHING = "none"
_TRIAL: Trial = partial(try_encoders, patience_s=PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of it; a reason is "" where the thing works."""

    av: str
    ffmpeg: str
    bundled: bool  # in the package, and not the system's
    asked: str  # of its package: "av<19,>=17"
    error: str  # why PyAV cannot be asked, "" where it can
    decoders: Mapping[str, str]  # kind -> reason
    devices: Mapping[str, str]  # that decode -> reason
    encoders: Mapping[str, str]  # of FFmpeg, for the annotated video -> reason


def gather(places: Places, ask: Ask = ask, trial: Trial = _TRIAL) -> Video:
    """Open each decoder, device and encoder, in child processes."""
    names = [f"decoder:{name}" for names in DECODERS.values() for name in names]
    devices = [f"device:{name}" for name in DEVICES.get(places.platform, ())]
    answers = ask("ffmpeg", ["version", *names, *devices])
    version: Mapping[str, Any] = answers["version"].get("value") or {}
    error = str(answers["version"].get("error", ""))
    return Video(
        av=version.get("av", ""),
        ffmpeg=version.get("ffmpeg", ""),
        bundled=_is_bundled(version.get("folder", "")),
        asked=asked_of("av"),
        error=error,
        decoders={kind: _reason([answers[f"decoder:{name}"] for name in names]) for kind, names in DECODERS.items()},
        devices={each.partition(":")[2]: _reason([answers[each]]) for each in devices},
        encoders={} if error else dict(trial(list(ENCODERS))),
    )


def judge(facts: Video) -> list[Finding]:
    """Findings on FFmpeg."""
    again = f"pip install --force-reinstall '{facts.asked}'"
    if facts.error:
        return [Finding(AREA, "FFmpeg", "broken", f"PyAV cannot be asked: {facts.error}", again)]
    place = "bundled in PyAV" if facts.bundled else "the system's, by PyAV"
    version = Finding(AREA, "FFmpeg", "fine", f"{facts.ffmpeg or 'of unknown version'}, {place} {facts.av}")
    return [version, _decoders(facts.decoders, again), _devices(facts.devices), _encoders(facts.encoders, again)]


def _decoders(found: Mapping[str, str], again: str) -> Finding:
    works, lacks = _sorted(found)
    if not lacks:
        return Finding(AREA, "decoders", "fine", works)
    state: State = "broken" if any(found[kind] for kind in _MUST) else "note"
    return Finding(AREA, "decoders", state, f"{works}; not here: {lacks}", again)


def _devices(found: Mapping[str, str]) -> Finding:
    works, lacks = _sorted(found)
    rest = f"; not here: {lacks}" if lacks else ""
    if works == _NOTHING:
        return Finding(AREA, "hardware decoding", "fine", f"none, the CPU decodes{rest}")
    return Finding(AREA, "hardware decoding", "fine", f"{works}, for live streams that ask for it (`hwaccel`){rest}")


def _encoders(found: Mapping[str, str], again: str) -> Finding:
    """Of the annotated video."""
    works, lacks = _sorted(found)
    what = works + (f"; not here: {lacks}" if lacks else "")
    if works == _NOTHING:
        return Finding(AREA, "encoders", "broken", f"no annotated video (--overlay) can be written: {lacks}", again)
    if all(found[name] for name in SOFTWARE):
        return Finding(AREA, "encoders", "note", f"{what}; a video that the hardware refuses cannot be encoded", again)
    return Finding(AREA, "encoders", "fine", what)


def _sorted(found: Mapping[str, str]) -> tuple[str, str]:
    """The names of what works, and of what does not with the reasons."""
    works = ", ".join(name for name, why in found.items() if not why)
    return works or _NOTHING, ", ".join(f"{name} ({why})" for name, why in found.items() if why)


def _reason(answers: list[dict[str, Any]]) -> str:
    """ "" where one of several works."""
    reasons = [str(answer.get("error") or answer.get("value") or "") for answer in answers]
    return reasons[0] if all(reasons) else ""


def _is_bundled(folder: str) -> bool:
    """Wheels have their FFmpeg beside the package, or on macOS in it."""
    return bool(folder) and (Path(folder).with_name("av.libs").is_dir() or (Path(folder) / ".dylibs").is_dir())
