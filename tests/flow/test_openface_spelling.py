"""OpenFace's own options: what they become, what has no effect, and what is refused with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from auflow import cli, inline, openface_options, run_command
from auflow.models import store
from auflow.options import RunOptions
from auflow.stages.settings import COLUMN_CHOICES, StageSettings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`asked("-f", "a.avi", ...)`: the options that a run with these arguments has."""
    seen: list[RunOptions] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inline, "run", lambda options, reporter: seen.append(options) or [])
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(store, "require_ceclm", lambda root: None)
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)

    def ask(*arguments: str) -> RunOptions:
        seen.clear()
        assert cli.main(["run", "--inline", *arguments]) == 0
        return seen[0]

    return ask


def test_a_script_needs_one_word_changed(asked) -> None:
    options = asked("-f", "a.avi", "-f", "b.avi", "-out_dir", "results", "-q", "-verbose", "-vis-track")
    assert options.inputs == (Path("a.avi"), Path("b.avi"))
    assert (options.output_dir, options.quiet) == (Path("results"), True)
    assert options.settings == StageSettings()


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["-fdir", "a"], StageSettings()),
        (["-wild", "-au_static"], StageSettings(wild=True, au_static=True)),
        (["-hogalign", "-simalign", "-tracked"], StageSettings(hog=True, aligned=True, overlay=True)),
        (["-fx", "600", "-fy", "610.5", "-cx", "300", "-cy", "200"], StageSettings(camera=(600, 610.5, 300, 200))),
        (["-mloc", "model/main_clnf_general.txt"], StageSettings()),
        (["-mloc", "main_ceclm_general.txt"], StageSettings(model="ceclm")),
        (["-aus", "-gaze"], StageSettings(columns=("gaze", "aus"))),
        (["--columns", "aus,gaze"], StageSettings(columns=("gaze", "aus"))),
        (["--columns", "aus", "-pose"], StageSettings(columns=("pose", "aus"))),
        (["-2Dfp", "-3Dfp", "-pdmparams"], StageSettings(columns=("landmarks2d", "landmarks3d", "shape"))),
        (["-pdmparams", "-3Dfp", "-2Dfp", "-pose", "-aus", "-gaze"], StageSettings(columns=COLUMN_CHOICES)),
        (["--multi-face"], StageSettings(faces="all")),
    ],
)
def test_options_become_settings(asked, arguments: list[str], settings: StageSettings) -> None:
    inputs = () if "-fdir" in arguments else ("a.avi",)
    assert asked(*arguments, *inputs).settings == settings


def test_pictures_and_their_boxes(asked, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "boxes").mkdir()
    for name in ("b10", "b9"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(b"never opened here")
        (tmp_path / "boxes" / f"{name}.txt").write_text("0 0 10 10\n")
    options = asked("-fdir", "in", "--images", "-bboxdir", "boxes")
    assert options.inputs == (Path("in/b9.jpg"), Path("in/b10.jpg"))
    assert options.settings == StageSettings(faces="pictures", boxes_dir="boxes")


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said before the exit with code 2."""
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(cli.main(["run", "--inline", *arguments]))  # argparse exits, other checks return
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("option", openface_options._REFUSED)
def test_what_cannot_be_followed_is_refused(asked, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not read as `-o f` with an input `name`, which argparse would do of `-of name`."""
    for more in ([], ["1"]):
        message = refused(["-f", "a.avi", option, *more], capsys)
        assert f"OpenFace's {option} is not supported: " in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-fx", "500"], "--fx, --fy, --cx and --cy describe one camera: give all four, or none"),
        (["--fx", "500", "--fy", "500", "--cx", "320"], "give all four, or none"),
        (["--fx", "0", "--fy", "500", "--cx", "320", "--cy", "240"], "expected pixels above 0, got '0'"),
        (["--cy", "nan"], "expected pixels above 0, got 'nan'"),
        (["--boxes", "boxes"], "--boxes goes with --images"),
        (["--multi-face", "--boxes", "boxes"], "--boxes goes with --images"),
        (["--multi-face", "--images"], "not allowed with argument --multi-face"),
        (["--wild", "-mloc", "main_ceclm_general.txt"], "--wild is for the clnf model"),
        (["-mloc", "main_clm_general.txt"], "expected main_clnf_general.txt or main_ceclm_general.txt"),
        (["--columns", "aus,smile"], "expected some of gaze, pose, landmarks2d, landmarks3d, shape, aus, got 'smile'"),
        (["--columns", ""], "got ''"),
        (["--images"], "a.avi: there is no such file or folder"),
    ],
)
def test_options_that_do_not_go_together(
    asked, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(["a.avi", *arguments], capsys)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ({}, "boxes/a.txt: the boxes of a.jpg cannot be read: No such file"),
        ({"a": "0 0 10 10", "b": "0 0 10"}, "boxes/b.txt: expected lines of four numbers"),
    ],
)
def test_boxes_are_read_before_anything_starts(
    asked, tmp_path: Path, boxes: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"never opened here")
    for name, text in boxes.items():
        (tmp_path / "boxes" / f"{name}.txt").write_text(text)
    arguments = ["a.jpg", "b.jpg", "--images", "--boxes", "boxes", "-o", "out"]
    assert message in refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "inputs", "lost"),
    [
        ("--hog", ["a.avi", "a.hog/x.avi"], "a.hog would replace the input a.hog/x.avi"),
        ("--aligned", ["a.avi", "a_aligned"], "a_aligned would replace the input a_aligned"),
        ("--aligned", ["a.avi", "a_aligned/b.bmp"], "a_aligned would replace the input a_aligned/b.bmp"),
    ],
)
def test_no_file_beside_the_csv_replaces_an_input(
    asked, option: str, inputs: list[str], lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lost in refused([option, *inputs], capsys)


def test_the_table_of_options_has_them_all() -> None:
    """docs/openface-options.md names every option that is accepted, ignored or refused."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "openface-options.md").read_text()
    named = set(re.findall(r"`(-[A-Za-z0-9_-]+)", text))
    known = {*openface_options._REFUSED, *openface_options._NO_EFFECT, *run_command._COLUMN_SWITCHES, "-mloc"}
    assert known <= named
