"""Which encoder the annotated video gets: the trial of each, the choice, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import pytest

from auflow.errors import UsageError
from auflow.stages.sink import encoder_trial, encoders
from auflow.stages.sink.encoders import ASKED, HARDWARE, SOFTWARE, choose_encoders, try_encoders


class Working:
    """A context that gives a packet for each picture."""

    def encode(self, picture: av.VideoFrame | None) -> list[str]:
        return [] if picture is None else ["packet"]


class Silent:
    """Takes pictures and gives nothing."""

    def encode(self, picture: av.VideoFrame | None) -> list[str]:
        return []


class Failing:
    """Can be made, and fails at the first picture."""

    def encode(self, picture: av.VideoFrame | None) -> list[str]:
        raise OSError(5, "the card is gone")


def missing() -> object:
    return av.CodecContext.create("no_such_encoder", "w")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Working, ""),
        (Silent, "it took pictures and gave nothing"),
        (Failing, "the card is gone"),
        (missing, "not in this build of FFmpeg"),
    ],
)
def test_trial_opens_an_encoder_and_gives_it_pictures(make: Callable[[], object], reason: str) -> None:
    class Context:  # takes what is set on it
        def __init__(self) -> None:
            self.encode = make().encode  # type: ignore[attr-defined]

    encoder = {"name": "fake", "pix_fmt": "yuv420p", "options": {}}
    assert encoder_trial.failure(encoder, lambda name, mode: Context()) == reason


def test_real_encoders_are_tried_in_another_process() -> None:
    found = try_encoders(SOFTWARE)
    assert list(found) == ["libx264", "mpeg4"]
    assert found["libx264"] == ("" if "libx264" in av.codecs_available else "not in this build of FFmpeg")
    assert found["mpeg4"] == ""


def script(folder: Path, body: str) -> Path:
    path = folder / "trial.py"
    path.write_text(f"import json, os, signal, sys, time\nfor e in json.loads(sys.argv[1]):\n    {body}\n")
    return path


def test_driver_that_crashes_is_a_reason_and_the_others_are_still_tried(tmp_path: Path) -> None:
    crash = 'os.kill(os.getpid(), signal.SIGKILL) if e["name"] == "h264_qsv" else print(json.dumps([e["name"], ""]), '
    found = try_encoders(["h264_nvenc", "h264_qsv", "libx264"], script=script(tmp_path, f"{crash}flush=True)"))
    assert found == {"h264_nvenc": "", "h264_qsv": "its process ended with signal 9", "libx264": ""}


def test_driver_that_hangs_is_given_up(tmp_path: Path) -> None:
    hang = 'time.sleep(60) if e["name"] == "h264_nvenc" else print(json.dumps([e["name"], ""]), flush=True)'
    found = try_encoders(["libx264", "h264_nvenc"], script=script(tmp_path, hang), patience_s=0.5)
    assert found == {"libx264": "", "h264_nvenc": "no answer within 0.5 s"}


def test_trial_that_cannot_start_has_its_last_line_as_the_reason(tmp_path: Path) -> None:
    found = try_encoders(["mpeg4"], script=script(tmp_path, 'raise ValueError("no av")'))
    assert found == {"mpeg4": "its process ended with exit code 1 (ValueError: no av)"}


class Machine:
    """Tells of a machine on which some encoders work, and remembers what it was asked for."""

    def __init__(self, *working: str) -> None:
        self.working = working
        self.asked: list[str] = []

    def __call__(self, names: Sequence[str]) -> Mapping[str, str]:
        self.asked += names
        return {name: "" if name in self.working else f"no {name[-5:]}" for name in names}


def test_auto_prefers_hardware_and_keeps_software_for_what_it_refuses() -> None:
    choice = choose_encoders("auto", Machine("h264_qsv", "h264_vaapi", "libx264", "mpeg4"))
    assert choice.encoders == ("h264_qsv", "libx264", "mpeg4")
    assert choice.note == "the annotated video is encoded by h264_qsv on the Intel GPU"


def test_auto_without_hardware_says_why() -> None:
    choice = choose_encoders("auto", Machine("mpeg4"))
    assert choice.encoders == ("mpeg4",)
    assert choice.note.startswith("the annotated video is encoded by mpeg4 on the CPU: no hardware encoder works here")
    assert "libx264" not in choice.note


def test_software_touches_no_hardware() -> None:
    machine = Machine("h264_nvenc", "libx264", "mpeg4")
    choice = choose_encoders("software", machine)
    assert choice.encoders == ("libx264", "mpeg4")
    assert choice.note == "the annotated video is encoded by libx264 on the CPU"
    assert machine.asked == ["libx264", "mpeg4"]


@pytest.mark.parametrize("name", ["h264_nvenc", "mpeg4"])
def test_an_encoder_that_is_named_is_taken_alone(name: str) -> None:
    machine = Machine(*HARDWARE, *SOFTWARE)
    assert choose_encoders(name, machine).encoders == (name,)
    assert machine.asked == [name]


def test_named_encoder_that_does_not_work_is_an_error_with_reason_and_list() -> None:
    with pytest.raises(UsageError) as raised:
        choose_encoders("h264_nvenc", Machine("h264_vaapi", "libx264"))
    assert str(raised.value) == (
        "--overlay-encoder h264_nvenc: it does not work here: no nvenc; take one of those that do: auto, h264_vaapi, "
        "libx264"
    )
    with pytest.raises(UsageError, match="h264_nvenc: it does not work here: no nvenc; install `av`"):
        choose_encoders("h264_nvenc", Machine())


def test_no_encoder_at_all_and_unknown_names_are_errors() -> None:
    with pytest.raises(UsageError, match=r"--overlay: no encoder works here \(libx264: no bx264; mpeg4: no mpeg4\)"):
        choose_encoders("software", Machine())
    with pytest.raises(UsageError, match=r"expected one of auto, software, h264_nvenc, .*; got 'vp9'"):
        choose_encoders("vp9", Machine())


def test_every_encoder_can_be_asked_for() -> None:
    assert set(ASKED) == {"auto", "software", *HARDWARE, *SOFTWARE}
    assert list(encoders.ENCODERS) == [*HARDWARE, *SOFTWARE]
