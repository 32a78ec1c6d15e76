"""`auflow validate --budget` from the command line; the demo clip for real, which is what guards coherent tracking."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from auflow import cli
from auflow.coherence import command, warm
from auflow.models import store

from .conftest import FRAMES, Play, Stage, write_pictures

# What is short enough of the clips beside the checkout: a face that is followed, one that leaves, one that turns.
SHORT = ("liveportrait/d9.mp4", "liveportrait/s20.mp4", "pyfeat/single_face.mp4", "pyfeat/noface_face.mov")


def run(*words: object) -> int:
    return cli.main(["validate", *map(str, words)])


@pytest.fixture
def place(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """No models are needed: the stages are made up."""
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(command, "pin_threads", lambda: None)  # the environment of the tests stays
    monkeypatch.setattr(command, "place_kernel_cache", lambda: None)
    monkeypatch.setattr(command, "kernels_are_ready", lambda model: True)
    monkeypatch.setattr(
        warm, "warm_stages", lambda root, wanted: {settings: stage.load(root, settings) for settings in wanted}
    )
    return stage


def test_within_the_budgets(place: Stage, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--budget", clip, "--repeat", 2) == 0
    out = capsys.readouterr().out
    assert "all budgets are met" in out
    table = out.strip().split("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1  # aligned
    exact, coherent = place.seen or ()
    assert (exact.tracking, coherent.tracking, exact.precision, exact.identities) == (
        "openface", "coherent", "full", False,
    )  # fmt: skip


def test_a_missed_budget_is_exit_code_1(place: Stage, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.coherent = Play(shift_px=0.5)
    assert run("--budget", clip) == 1
    assert "missed  clip: --max-landmark-px 0.3" in capsys.readouterr().out
    assert run("--budget", clip, "--max-landmark-px", 0.6) == 0
    place.coherent = Play(noise=0.5)
    assert run("--budget", clip) == 1
    assert run("--budget", clip, "--min-au-mean-r", 0.5) == 0
    assert run("--budget", clip, "--min-au-mean-r", 0.5, "--min-au-r", 0.999) == 1


def test_options_reach_the_stages(place: Stage, clip: Path) -> None:
    assert run("--budget", clip, "--multi-face", "--detect-every", 9, "--reuse-below", 2.5) == 0
    exact, coherent = place.seen or ()
    assert (exact.faces, exact.identities, coherent.faces, coherent.identities) == ("all", True, "all", True)
    assert (coherent.detect_every, coherent.reuse_below_percent) == (9, 2.5)
    assert run("--budget", clip, "--multi-face", "--no-identities") == 0
    assert not (place.seen or ())[-1].identities


def test_tables_can_be_kept(place: Stage, clip: Path, tmp_path: Path) -> None:
    assert run("--budget", clip, "--keep", tmp_path / "kept") == 0
    exact, coherent = tmp_path / "kept/exact/clip.csv", tmp_path / "kept/coherent/clip.csv"
    assert exact.read_bytes() == coherent.read_bytes()
    assert run(exact, coherent, "--min-au-mean-r", 0.99) == 0


def test_figures_as_json(place: Stage, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.coherent = Play(shift_px=0.5)
    assert run("--budget", clip, "--json", tmp_path / "figures.json") == 1
    document = json.loads((tmp_path / "figures.json").read_text())
    assert not document["met"]
    assert document["budgets"]["max_landmark_px"] == 0.3
    assert document["clips"][0]["coherent"]["frames"] == FRAMES
    capsys.readouterr()
    assert run("--budget", clip, "--json", "-") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["clips"][0]["missed"] == document["clips"][0]["missed"]
    assert "missed  clip" in captured.err
    assert run("--budget", clip, "--json", tmp_path / "no/such/folder.json") == 3


def test_a_clip_that_cannot_be_run_does_not_keep_the_others_from_it(
    place: Stage, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--budget", clip.parent / "none.mp4", clip) == 2
    out = capsys.readouterr().out
    assert "none.mp4: there is no such file" in out
    assert "all budgets are met" not in out
    assert any(line.startswith("clip ") and line.endswith(" met") for line in out.splitlines())


def test_a_stage_that_fails_is_exit_code_5(place: Stage, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place.coherent = Play(fails_at=3)
    assert run("--budget", clip) == 5
    assert "the fit has failed" in capsys.readouterr().out


def test_after_ctrl_c_what_is_through_is_told(
    place: Stage, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    longer = write_pictures(tmp_path / "longer", FRAMES + 2)
    place.coherent = Play(ctrl_c_at=FRAMES + 1)
    assert run("--budget", clip, longer) == 130
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines() if line.endswith("met")] == ["clip"]
    assert "longer" not in captured.out
    assert "interrupted" in captured.err
    assert not list((tmp_path / "temporary").iterdir())


def test_missing_models_are_told_before_any_work(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENFACE_MODELS_DIR", str(tmp_path / "none"))
    assert run("--budget", clip) == 4
    assert "auflow models fetch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.csv", "--budget", "a.mp4"], "--budget CLIP stands in for REFERENCE and OURS"),
        (["--budget", "a.mp4", "--html", "x.html"], "--html is for two files: run --budget with --keep DIR"),
        (["--budget", "a.mp4", "--floor", "x.json"], "--floor is for two files"),
        (["--budget", "-"], "--budget reads each clip twice"),
        (["--budget", "a.mp4", "--json", "./a.mp4"], "would be written over a clip"),
        (["a.csv", "b.csv", "--repeat", "2"], "--repeat goes with --budget CLIP"),
        (["a.csv", "b.csv", "--multi-face"], "--multi-face goes with --budget CLIP"),
        (["a.csv", "b.csv", "--detect-every", "2"], "--detect-every goes with --budget CLIP"),
    ],
)
def test_wrong_usage_says_what_to_do(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_clips_of_one_name_are_refused(place: Stage, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--budget", clip, clip.parent / "other/clip.mp4") == 2
    assert "would both write" in capsys.readouterr().err


def test_two_files_are_still_needed_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("a.csv")
    err = capsys.readouterr().err
    assert "the following arguments are required: OURS" in err
    assert "auflow validate --budget CLIP" in err  # the usage has both


def test_the_demo_clip_is_within_the_budgets(
    models_dir: Path, demo_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guard: coherent tracking, for real, against OpenFace's own."""
    assert run("--budget", demo_dir / "astronaut.mp4", "--json", tmp_path / "figures.json") == 0, capsys.readouterr()
    (clip,) = json.loads((tmp_path / "figures.json").read_text())["clips"]
    assert clip["exact"]["frames"] == clip["coherent"]["frames"] == 150
    assert clip["exact"]["reused"] == 0
    assert clip["comparison"]["success_agreement"] == 1
    assert clip["coherent"]["detections"] <= 150 / 5 + 1


def test_the_guard_notices_what_is_too_much(
    models_dir: Path, demo_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Descriptors that are kept however the face has changed: measured 50 % kept, mean r 0.95."""
    assert run("--budget", demo_dir / "astronaut.mp4", "--reuse-below", 100) == 1
    out = capsys.readouterr().out
    assert "missed  astronaut.mp4: --min-au-mean-r 0.99" in out
    assert "50.0%" in out
    assert "--max-landmark-px" not in out  # what is kept does not reach the tracking


def test_several_faces_of_the_demo_clip_too(models_dir: Path, demo_dir: Path) -> None:
    assert run("--budget", demo_dir / "astronaut.mp4", "--multi-face") == 0


@pytest.mark.golden
def test_short_clips_are_within_the_budgets(models_dir: Path, media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--budget", *(media / name for name in SHORT)) == 0, capsys.readouterr().out
