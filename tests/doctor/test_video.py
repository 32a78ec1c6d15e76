"""FFmpeg's decoders, devices and encoders, as a child process might answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from auflow.doctor.packages import asked_of
from auflow.doctor.video import DEVICES, Video, gather, judge
from auflow.stages.sink.encoders import ENCODERS, SOFTWARE
from auflow.tests.doctor.fake_machine import Answers, machine, only

VERSION = {"version": {"value": {"av": "18.0", "ffmpeg": "8.1", "folder": "/site/av"}}}


def software(names: Sequence[str]) -> dict[str, str]:
    return {name: "" if name in SOFTWARE else "not in this build of FFmpeg" for name in names}


def look(tmp_path: Path, told: dict[str, Any] | None = None, trial: Any = software) -> Video:
    return gather(machine(tmp_path), ask=Answers(ffmpeg=VERSION | (told or {})), trial=trial)


def test_all_works(tmp_path: Path) -> None:
    found = judge(look(tmp_path))
    assert {each.state for each in found} == {"fine"}
    assert only(found, "FFmpeg").what == "8.1, the system's, by PyAV 18.0"
    assert only(found, "hardware decoding").what.startswith("cuda, vaapi")
    assert only(found, "encoders").what.startswith("libx264, mpeg4; not here: h264_nvenc (not in this build")


def test_one_of_several_decoders_is_enough(tmp_path: Path) -> None:
    missing = {"error": "UnknownCodecError: libdav1d"}
    assert look(tmp_path, {"decoder:libdav1d": missing}).decoders["av1"] == ""
    both = {"decoder:libdav1d": missing, "decoder:libaom-av1": {"error": "none"}}
    found = only(judge(look(tmp_path, both)), "decoders")
    assert found.state == "note"
    assert "av1 (UnknownCodecError: libdav1d)" in found.what


def test_no_decoder_for_most_videos_is_broken(tmp_path: Path) -> None:
    found = only(judge(look(tmp_path, {"decoder:h264": {"error": "unknown"}})), "decoders")
    assert (found.state, found.mend) == ("broken", f"pip install --force-reinstall '{asked_of('av')}'")
    assert ">=" in found.mend


def test_no_hardware_decoder_is_no_fault(tmp_path: Path) -> None:
    told = {"device:cuda": {"error": "no device"}, "device:vaapi": {"value": "not in this build of FFmpeg"}}
    found = only(judge(look(tmp_path, told)), "hardware decoding")
    assert found.state == "fine"
    assert found.what == "none, the CPU decodes; not here: cuda (no device), vaapi (not in this build of FFmpeg)"


@pytest.mark.parametrize(
    ("works", "state"), [((), "broken"), (("h264_nvenc",), "note"), (("mpeg4",), "fine"), (tuple(ENCODERS), "fine")]
)
def test_encoders(tmp_path: Path, works: tuple[str, ...], state: str) -> None:
    def trial(names: Sequence[str]) -> dict[str, str]:
        return {name: "" if name in works else "no" for name in names}

    assert only(judge(look(tmp_path, trial=trial)), "encoders").state == state


def test_pyav_that_does_not_load(tmp_path: Path) -> None:
    facts = look(tmp_path, {"version": {"error": "ImportError: libavcodec.so.61"}})
    (found,) = judge(facts)
    assert found.state == "broken"
    assert "libavcodec.so.61" in found.what


def test_devices_are_those_that_a_live_stream_takes() -> None:
    from auflow.stages.decode.live.opening import AUTO

    assert DEVICES == AUTO
