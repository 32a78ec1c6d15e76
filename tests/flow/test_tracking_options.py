"""`auflow run`: the options on how faces are followed, what they come to, and which do not go together."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import pytest

from auflow import cli
from auflow.errors import BackendError, UsageError
from auflow.face_options import add_face_options, face_settings
from auflow.stages.settings import StageSettings


def settings(*words: str) -> StageSettings:
    parser = argparse.ArgumentParser()
    add_face_options(parser)
    return StageSettings(**face_settings(parser.parse_args(words)))


def test_files_are_followed_as_openface_does_without_any_option() -> None:
    assert settings() == StageSettings()
    assert not settings().coherent


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tracking", "coherent"], {"tracking": "coherent"}),
        (["--tracking", "coherent", "--identities"], {"tracking": "coherent", "identities": True}),
        (["--tracking", "coherent", "--multi-face"], {"tracking": "coherent", "faces": "all", "identities": True}),
        (["--tracking", "coherent", "--multi-face", "--no-identities"], {"tracking": "coherent", "faces": "all"}),
        (
            ["--tracking", "coherent", "--detect-every", "1", "--reuse-below", "0"],
            {"tracking": "coherent", "detect_every": 1, "reuse_below_percent": 0.0},
        ),
        (["--multi-face", "--identities"], {"faces": "all", "identities": True}),
        (["--multi-face"], {"faces": "all"}),
        (["--identity-model", __file__], {"identities": True, "identity_model": str(Path(__file__).resolve())}),
        (["--images", "--no-identities"], {"faces": "pictures"}),
        (["--model", "ceclm"], {"model": "ceclm"}),
        (["--model", "ceclm", "--cen-precision", "auto"], {"model": "ceclm"}),
        (["--model", "ceclm", "--cen-precision", "float32"], {"model": "ceclm", "cen_precision": "float32"}),
    ],
)
def test_what_options_come_to(words: list[str], expected: dict[str, object]) -> None:
    assert settings(*words) == StageSettings(**expected)


def test_identities_give_several_faces_the_dynamic_models() -> None:
    assert settings("--multi-face").independent
    assert not settings("--multi-face", "--identities").independent


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detect-every", "3"], "--detect-every is for coherent tracking: add --tracking coherent"),
        (["--reuse-below", "3"], "--reuse-below is for coherent tracking: add --tracking coherent"),
        (["--images", "--tracking", "coherent"], "--tracking coherent does not go with --images"),
        (["--images", "--identities"], "--identities does not go with --images"),
        (["--images", "--detect-every", "5"], "--detect-every does not go with --images"),
        (["--images", "--reuse-below", "0"], "--reuse-below does not go with --images"),
        (["--images", "--identity-model", __file__], "--identity-model does not go with --images"),
        (["--identity-model", __file__, "--no-identities"], "--identity-model and --no-identities do not go together"),
        (["--cen-precision", "int8"], "--cen-precision is for CE-CLM: add --model ceclm"),
        (["--identity-model", "nowhere.onnx"], "--identity-model: nowhere.onnx: expected an ONNX file"),
    ],
)
def test_options_that_do_not_go_together_say_what_to_do(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(*words)


@pytest.mark.parametrize(("features", "fast"), [("+avx2,+avx512bw", True), ("+sse4.2", False)])
def test_int8_is_refused_where_it_would_be_slower(monkeypatch: pytest.MonkeyPatch, features: str, fast: bool) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    monkeypatch.setenv("NUMBA_CPU_FEATURES", features)
    words = ("--model", "ceclm", "--cen-precision", "int8")
    if fast:
        assert settings(*words).cen_precision == "int8"
        return
    with pytest.raises(BackendError, match="take --cen-precision float32"):
        settings(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detect-every", "0"], "expected a whole number from 1, got '0'"),
        (["--detect-every", "2.5"], "expected a whole number from 1, got '2.5'"),
        (["--detect-every", "1000001"], "expected 1000000 frames at most, got '1000001'"),
        (["--reuse-below", "-1"], "expected a percentage from 0 to 100, got '-1'"),
        (["--reuse-below", "100.5"], "expected a percentage from 0 to 100, got '100.5'"),
        (["--reuse-below", "nan"], "expected a percentage from 0 to 100, got 'nan'"),
        (["--tracking", "fast"], "invalid choice: 'fast'"),
    ],
)
def test_values_out_of_range(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "a.mp4", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_wrong_usage_ends_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(["run", "a.mp4", "--inline", "--detect-every", "3", "-o", str(out)]) == 2
    assert "add --tracking coherent" in capsys.readouterr().err
    assert not out.exists()


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    text = capsys.readouterr().out
    assert "auflow run interview.mp4 --tracking coherent" in text
    assert "--no-identities" in text
