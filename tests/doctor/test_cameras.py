"""Cameras: their names from sysfs, the right to open them, nodes that give no pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow.doctor.cameras import Camera, Cameras, gather, judge
from auflow.tests.doctor.fake_machine import Answers, machine, only

FILES = {
    "/dev/video0": "",
    "/sys/class/video4linux/video0/name": "Integrated Camera\n",
    "/sys/class/video4linux/video0/index": "0\n",
    "/dev/video1": "",
    "/sys/class/video4linux/video1/name": "Integrated Camera\n",
    "/sys/class/video4linux/video1/index": "1\n",
    "/dev/video10": "",
    "/dev/video-enc": "",
}


def test_none(tmp_path: Path) -> None:
    (found,) = judge(gather(machine(tmp_path)))
    assert (found.state, found.mend) == ("fine", "")
    assert "--device /dev/video0" in found.what


def test_names_and_nodes(tmp_path: Path) -> None:
    found = judge(gather(machine(tmp_path, FILES, may_open=lambda path: True)))
    assert [each.name for each in found] == ["/dev/video0", "/dev/video1", "/dev/video10"]
    assert {each.state for each in found} == {"fine"}
    assert found[0].what == "Integrated Camera: `--stream NAME=webcam:0`"
    assert "further node" in found[1].what


def test_a_camera_without_permission(tmp_path: Path) -> None:
    facts = gather(machine(tmp_path, FILES, may_open=lambda path: path.name != "video0"))
    found = only(judge(facts), "/dev/video0")
    assert found.state == "broken"
    assert "Integrated Camera" in found.what


@pytest.mark.parametrize(
    ("group", "mend"),
    [
        ("video", "sudo usermod -aG video $USER  (then log in again)"),
        ("root", "sudo chgrp video /dev/video0 ; sudo chmod g+rw /dev/video0 ; sudo usermod -aG video $USER"),
        ("", "sudo chgrp video /dev/video0 ; sudo chmod g+rw /dev/video0 ; sudo usermod -aG video $USER"),
    ],
)
def test_the_group_of_a_camera(group: str, mend: str) -> None:
    camera = Camera("0", "/dev/video0", "Integrated Camera", group, False, True)
    (found,) = judge(Cameras("linux", (camera,)))
    assert (found.state, found.mend) == ("broken", mend)


def test_macos_is_asked_by_ffmpeg(tmp_path: Path) -> None:
    ask = Answers(ffmpeg={"cameras:darwin": {"value": ["FaceTime HD Camera", "Desk View"]}})
    found = judge(gather(machine(tmp_path, platform="darwin"), ask=ask))
    assert [each.name for each in found] == ["FaceTime HD Camera", "Desk View"]
    assert "webcam:1" in found[1].what
    assert "Privacy & Security" in found[0].what


def test_macos_that_does_not_answer(tmp_path: Path) -> None:
    ask = Answers(ffmpeg={"cameras:darwin": {"error": "no answer within 10 s"}})
    (found,) = judge(gather(machine(tmp_path, platform="darwin"), ask=ask))
    assert (found.state, "no answer" in found.what) == ("note", True)
