"""`auflow tune` from the command line: with made-up stages, and once for real on some frames of the demo clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from auflow import cli, inline
from auflow.backends import availability
from auflow.backends.availability import Availability
from auflow.backends.names import BACKENDS
from auflow.models import store
from auflow.profiles.store import load_profile, read_file
from auflow.stages.settings import StageSettings
from auflow.tuning import command, throughput
from auflow.tuning.candidates import Candidate
from auflow.tuning.choosing import Measured

from .conftest import Play, Theatre


def run(*words: object) -> int:
    return cli.main(["tune", *map(str, words)])


@pytest.fixture
def stage(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> Theatre:
    """No models are needed, and this machine has Numba, ONNX Runtime's CPU provider, and nothing else."""
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(store, "missing_ceclm_files", lambda root: ["one"])
    monkeypatch.setattr(command, "pin_threads", lambda: None)
    monkeypatch.setattr(command, "place_kernel_cache", lambda: None)
    monkeypatch.setattr(command, "kernels_are_ready", lambda model: True)
    found = tuple(
        Availability(name, name in ("numba", "ort-cpu"), f"{name} is made up", "buy one") for name in BACKENDS
    )
    monkeypatch.setattr(availability, "look_at_all", lambda: found)
    monkeypatch.setattr(inline, "load_stages", theatre.load)
    monkeypatch.setattr(throughput, "measure_jobs", jobs_by({1: 5.0, 2: 10.0, 3: 4.0}))
    monkeypatch.setattr("auflow.profiles.machine.usable_cores", lambda: [0, 1])
    return theatre


def jobs_by(times_ms: dict[int, float]) -> Any:
    def measure(load: Any, counts: Sequence[int], rounds: int, said: Any, settings: StageSettings) -> list[Measured]:
        profile = load_profile(load.words[1]).profile  # what `auflow run` would be given
        assert profile is not None
        assert profile.backends["clnf"] == settings.clnf_backend
        return [
            Measured(Candidate("jobs", str(n), settings), wall_ms=(times_ms[n],), fps=1e3 / times_ms[n]) for n in counts
        ]

    return measure


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "profile.json"


def test_what_is_faster_and_exact_is_chosen_and_saved(
    stage: Theatre, clip: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.plays = lambda settings: Play(busy_s=0.0005 if settings.clnf_backend == "ort-cpu" else 0.004)
    assert run(clip, "--profile", place, "--quick", "--explain", "--json", place.with_name("figures.json")) == 0
    profile = read_file(place)
    assert profile.choices.backends == {"detect": "ort-cpu", "clnf": "ort-cpu", "au": "numba"}
    assert profile.choices.tracking is None
    assert profile.choices.jobs == 1
    assert json.loads(place.with_name("figures.json").read_text()) == json.loads(place.read_text())
    captured = capsys.readouterr()
    assert "clnf: ort-cpu" in captured.out
    assert "landmark fit: ort-cpu: it took" in captured.out
    assert "within the budget (landmarks by 0 px" in captured.out
    assert "not usable  detect, clnf, au: tensorrt: tensorrt is made up; buy one" in captured.out
    assert f"`auflow run --profile {place}` uses it" in captured.out
    assert "this takes about" in captured.err
    capsys.readouterr()
    assert run("--explain", "--profile", place) == 0  # of the saved one, without measuring
    assert "landmark fit: ort-cpu: it took" in capsys.readouterr().out


def test_what_is_faster_and_not_exact_is_not(
    stage: Theatre, clip: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def plays(settings: StageSettings) -> Play:
        return Play(0.0005, shift_px=0.5) if settings.clnf_backend == "ort-cpu" else Play(0.004)

    stage.plays = plays
    assert run(clip, "--profile", place, "--quick", "--explain") == 0
    assert read_file(place).backends["clnf"] == "numba"
    assert "ort-cpu misses the budget (--max-landmark-px 0.3: the 2-D landmarks" in capsys.readouterr().out
    assert run(clip, "--profile", place, "--quick", "--max-landmark-px", 1) == 0
    assert read_file(place).backends["clnf"] == "ort-cpu"
    assert read_file(place).budget == "landmarks 1 px, mean r of AU intensities 0.99"


def test_one_that_cannot_be_loaded_does_not_end_the_session(
    stage: Theatre, clip: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.plays = lambda settings: Play(refuses="no luck" if settings.au_backend == "ort-cpu" else "")
    assert run(clip, "--profile", place, "--quick", "--explain") == 0
    out = capsys.readouterr().out
    assert "failed  au: ort-cpu: no luck" in out
    assert "Action Units: numba: ort-cpu has failed (no luck)" in out


def test_coherent_tracking_has_to_be_allowed(stage: Theatre, clip: Path, place: Path) -> None:
    stage.plays = lambda settings: Play(busy_s=0.0005 if settings.coherent else 0.004)
    assert run(clip, "--profile", place, "--quick") == 0
    assert read_file(place).choices.tracking is None
    assert "not asked for" in {figure.verdict for figure in read_file(place).figures}
    assert run(clip, "--profile", place, "--quick", "--allow-coherent") == 0
    tracking = read_file(place).choices.tracking
    assert tracking is not None
    assert tracking.tracking == "coherent"


def test_choices_that_are_too_much_together_are_given_up(stage: Theatre, clip: Path, place: Path) -> None:
    def plays(settings: StageSettings) -> Play:
        changes = (settings.clnf_backend == "ort-cpu") + settings.coherent
        return Play(0.006 / (1 + changes) ** 2, shift_px=0.2 * changes)

    stage.plays = plays
    assert run(clip, "--profile", place, "--quick", "--allow-coherent") == 0
    profile = read_file(place)
    chosen = (profile.backends["clnf"], profile.choices.tracking and profile.choices.tracking.tracking)
    assert chosen in [("ort-cpu", "openface"), ("numba", "coherent")]
    assert [f.verdict for f in profile.figures if f.group == "together"] == ["reference", "budget missed"]
    assert sum(figure.chosen for figure in profile.figures if figure.group in ("clnf", "tracking")) == 2


def test_ctrl_c_leaves_the_old_profile(
    stage: Theatre, clip: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    place.write_text("old")
    stage.plays = lambda settings: Play(ctrl_c_at=30)
    assert run(clip, "--profile", place, "--quick") == 130
    assert place.read_text() == "old"
    assert not list((tmp_path / "temporary").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"clip", "temporary", place.name}


def test_dry_run_measures_nothing(stage: Theatre, clip: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(clip, "--profile", place, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "clnf: numba against ort-cpu" in out
    assert "jobs: 2 against 1, 3" in out
    assert "not usable  detect, clnf, au: ort-cuda" in out
    assert not stage.loaded
    assert not place.exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    stage: Theatre, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clip, "--profile", clip / "00.png" / "profile.json") == 3
    assert "choose another place with --profile" in capsys.readouterr().err
    assert not stage.loaded


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "nothing to measure on"),
        (["-"], 2, "write it to a file"),
        (["none.mp4"], 2, "none.mp4: there is no such file"),
        (["--explain", "--profile", "none.json"], 2, "make one with `auflow tune CLIP`"),
        ([__file__, "--json", __file__], 2, "would be written over a clip"),
        ([__file__, __file__], 2, "two clips are called test_command"),
    ],
)
def test_wrong_usage_says_what_to_do(
    stage: Theatre, words: list[str], code: int, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, *["--profile", place] * ("--profile" not in words)) == code
    assert message in capsys.readouterr().err


def test_without_a_place_one_has_to_be_given(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(clip) == 2  # the tests run with AUFLOW_PROFILE=none
    assert "give one with --profile FILE" in capsys.readouterr().err


def test_some_frames_of_the_demo_clip_for_real(
    models_dir: Path, demo_dir: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(demo_dir / "astronaut.mp4", "--quick", "--frames", 6, "--streams", 1, "--profile", place) == 0
    profile = read_file(place)
    assert load_profile(str(place)).profile == profile
    assert profile.backends["clnf"] == "numba"  # whose kernels take a tenth of the time
    numba = next(figure for figure in profile.figures if figure.group == "clnf" and figure.candidate == "numba")
    assert numba.cost_ms is not None
    assert numba.cpu_ms is not None
    assert 0 < numba.cost_ms < numba.cpu_ms
    assert "tracking: openface" in capsys.readouterr().out
