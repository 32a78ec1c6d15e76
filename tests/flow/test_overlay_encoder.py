"""`auflow run --overlay-encoder`: what is refused before any work, and what is told, in both ways to run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from auflow import cli, inline, run_command
from auflow.stages.clnf.face_model import FaceState
from auflow.stages.clnf.stage import ClnfStage
from auflow.stages.settings import StageSettings
from auflow.stages.sink import encoders

# In no build of FFmpeg for another system.
ABSENT = "h264_videotoolbox"
not_on_apple = pytest.mark.skipif(sys.platform == "darwin", reason="has this encoder")


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two folders of three black pictures."""
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)  # the environment of the tests stays
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.zeros((120, 160, 3), np.uint8))
    return [str(tmp_path / "a"), str(tmp_path / "b")]


@pytest.mark.parametrize("how", [["--inline"], ["--jobs", "2"]], ids=["inline", "apart"])
def test_what_encodes_is_told_once_and_in_the_summary(
    how: list[str], clips: list[str], models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "s.json"
    arguments = ["--overlay", "--overlay-encoder", "software", "-o", str(tmp_path / "out"), "--summary", str(summary)]
    assert cli.main(["run", *clips, *arguments, *how]) == 0
    assert capsys.readouterr().err.count("the annotated video is encoded by libx264 on the CPU") == 1
    document = json.loads(summary.read_text())
    assert document["options"]["overlay_encoders"] == ["libx264", "mpeg4"]
    assert [entry["overlay_encoder"] for entry in document["inputs"]] == ["libx264"] * 2


@not_on_apple
@pytest.mark.parametrize("how", [["--inline"], ["--jobs", "1"]], ids=["inline", "apart"])
def test_hardware_that_refuses_a_video_gives_way_and_that_is_told(
    how: list[str],
    clips: list[str],
    models_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trial(names: Sequence[str]) -> dict[str, str]:
        return {name: "" if name in (ABSENT, "libx264") else "none" for name in names}

    monkeypatch.setattr(encoders, "try_encoders", trial)  # as if it had worked a moment ago
    out, summary = tmp_path / "out", tmp_path / "s.json"
    assert cli.main(["run", clips[0], "--overlay", "-o", str(out), "--summary", str(summary), *how]) == 0
    told = capsys.readouterr().err
    assert told.count(f"encoded by {ABSENT} on Apple's media engine") == 1
    assert told.count(f"warning: a.overlay.mp4 is encoded by libx264, for others did not take it: {ABSENT}: ") == 1
    assert json.loads(summary.read_text())["inputs"][0]["overlay_encoder"] == "libx264"
    with av.open(str(out / "a.overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


@not_on_apple
def test_named_encoder_that_is_not_there_is_an_error_before_any_work(
    clips: list[str], models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(inline, "run", lambda options, reporter: pytest.fail("it began"))
    arguments = ["--overlay", "--overlay-encoder", ABSENT, "-o", str(tmp_path / "out"), "--inline"]
    assert cli.main(["run", *clips, *arguments]) == 2
    told = capsys.readouterr().err
    assert f"--overlay-encoder {ABSENT}: it does not work here: not in this build of FFmpeg; take one of" in told
    assert "auto, " in told
    assert "mpeg4" in told
    assert list((tmp_path / "out").iterdir()) == []


def test_encoder_without_an_overlay_is_wrong_usage(clips: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--inline", clips[0], "--overlay-encoder", "software"]) == 2
    assert "--overlay-encoder is for the annotated video: add --overlay" in capsys.readouterr().err


def test_a_run_without_an_overlay_tries_no_encoder(
    clips: list[str], models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "try_encoders", lambda names: pytest.fail("tried"))
    assert cli.main(["run", "--inline", "--quiet", clips[0], "-o", str(tmp_path / "out")]) == 0


def test_a_head_in_profile_hides_landmarks(models_dir: Path) -> None:
    stage = ClnfStage(models_dir, StageSettings())

    def seen(yaw_rad: float) -> int:
        turned = np.array([1, 0, yaw_rad, 0, 0, 0], np.float32)
        return int(stage._visible(FaceState(params_global=turned)).sum())

    assert (seen(0.0), seen(0.8)) == (68, 68)
    assert seen(1.3) == seen(-1.3) == 35
