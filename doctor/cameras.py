"""Cameras of this machine: their names, and whether this user may open them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auflow.doctor.child import Ask, ask
from auflow.doctor.finding import Finding
from auflow.doctor.places import Places

__all__ = ["Camera", "Cameras", "gather", "judge"]

AREA = "cameras"
_LINUX, _MAC = "linux", "darwin"


@dataclass(frozen=True, slots=True)
class Camera:
    """One node of Video4Linux, or one camera that AVFoundation names."""

    address: str  # as `auflow serve --stream NAME=webcam:ADDRESS` has it
    node: str  # /dev/video0; "" on macOS
    name: str
    group: str  # that may open it, "" where that is not known
    may_open: bool
    pictures: bool  # false for a further node of a camera, mostly one for its metadata


@dataclass(frozen=True, slots=True)
class Cameras:
    """All of them."""

    platform: str
    cameras: tuple[Camera, ...]
    error: str = ""  # why they cannot be listed


def gather(places: Places, ask: Ask = ask) -> Cameras:
    """List them; nothing is opened."""
    if places.platform == _LINUX:
        return Cameras(_LINUX, tuple(_nodes(places)))
    if places.platform != _MAC:
        return Cameras(places.platform, ())
    answer = ask("ffmpeg", [f"cameras:{_MAC}"])[f"cameras:{_MAC}"]
    names: Sequence[str] = answer.get("value") or ()
    cameras = tuple(Camera(str(number), "", name, "", True, True) for number, name in enumerate(names))
    return Cameras(_MAC, cameras, str(answer.get("error", "")))


def judge(facts: Cameras) -> list[Finding]:
    """Findings on them; none is needed for files and for RTSP."""
    if facts.error:
        return [Finding(AREA, "cameras", "note", f"they cannot be listed: {facts.error}")]
    if not facts.cameras:
        nodes = ": there is no /dev/video* (a container needs `--device /dev/video0`)"
        where = nodes if facts.platform == _LINUX else ""
        return [Finding(AREA, "cameras", "fine", f"none here{where}; files, RTSP and HTTP need none")]
    return [_camera(camera, facts.platform) for camera in facts.cameras]


def _camera(camera: Camera, platform: str) -> Finding:
    what = f"{camera.name or 'without a name'}: `--stream NAME=webcam:{camera.address}`"
    name = camera.node or camera.name
    if not camera.pictures:
        return Finding(AREA, name, "fine", f"{camera.name}: a further node of that camera, mostly for its metadata")
    if camera.may_open:
        allow = "; macOS asks once whether this terminal may use it (System Settings, Privacy & Security, Camera)"
        return Finding(AREA, name, "fine", what + (allow if platform == _MAC else ""))
    mend = f"sudo usermod -aG {camera.group} $USER  (then log in again)"
    if camera.group in ("", "root"):  # nobody should join that one
        mend = f"sudo chgrp video {camera.node} ; sudo chmod g+rw {camera.node} ; sudo usermod -aG video $USER"
    return Finding(AREA, name, "broken", f"{what}, but this user may not open it", mend)


def _nodes(places: Places) -> list[Camera]:
    folder = places.at("/dev")
    nodes = [path for path in folder.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return [_node(places, path) for path in sorted(nodes, key=lambda path: int(path.name[5:]))]


def _node(places: Places, path: Path) -> Camera:
    about = f"/sys/class/video4linux/{path.name}"
    return Camera(
        address=path.name[5:],
        node=f"/dev/{path.name}",
        name=places.read(f"{about}/name").strip(),
        group=_group(path),
        may_open=places.may_open(path),
        pictures=places.read(f"{about}/index").strip() in ("", "0"),
    )


def _group(path: Path) -> str:
    try:
        return path.group()
    except (OSError, KeyError):  # a number without a name, as in containers
        return ""
