"""`auflow run`, `serve` and `doctor` take up the profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow import cli, run_command
from auflow.doctor import profile as doctor_profile
from auflow.doctor.places import Places
from auflow.errors import UsageError
from auflow.options import RunOptions
from auflow.profiles.profile import Profile
from auflow.profiles.store import save_profile
from auflow.serve.config import ServeConfig
from auflow.serve.loading import parse_config
from auflow.stages.settings import StageSettings


@pytest.fixture
def place(profile: Profile, tmp_path: Path) -> Path:
    save_profile(profile, tmp_path / "profile.json")
    return tmp_path / "profile.json"


def resolved(*words: str, inputs: int = 5, jobs: int = 2) -> RunOptions:
    """What `auflow run` makes of its options, of which `jobs` is what it takes by itself or was asked for."""
    parsed = cli._parser().parse_args(["run", *(f"{number}.mp4" for number in range(inputs)), *words])
    options = RunOptions(tuple(parsed.inputs), Path(), Path(), jobs=jobs, inline=parsed.inline)
    return run_command._with_backends(parsed, options)[0]


def test_run_takes_what_is_not_given(place: Path) -> None:
    options = resolved("--profile", str(place))
    assert options.jobs == 3
    assert options.settings.clnf_backend == "ort-cpu"
    assert options.settings.coherent
    assert resolved("--profile", str(place), inputs=2).jobs == 2
    assert resolved("--profile", str(place), "--inline").jobs == 2


def test_run_keeps_what_is_given(place: Path) -> None:
    words = ["--profile", str(place), "--jobs", "2", "--tracking", "openface", "--backend", "clnf=numba"]
    options = resolved(*words)
    assert options.jobs == 2
    assert options.settings == StageSettings(detect_batch=8)


def test_run_finds_it_by_the_environment_and_can_go_without(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_PROFILE", str(place))
    assert resolved().settings.clnf_backend == "ort-cpu"
    assert resolved("--profile", "none").settings == StageSettings()
    with pytest.raises(UsageError, match="--profile"):
        resolved("--profile", str(place.with_name("other.json")))


def served(jobs: int | None, live: int = 0, files: int = 0, **workers: int) -> tuple[int, int]:
    streams = {f"live{number}": {"source": "webcam:0"} for number in range(live)}
    streams |= {f"file{number}": {"source": f"{number}.mp4"} for number in range(files)}
    document = {"stream": streams, "workers": workers}
    config: ServeConfig = parse_config(document, Path("/nowhere"), "test", {}, jobs)
    return config.workers.live_lanes, config.workers.file_lanes


def test_serve_takes_lanes_where_the_configuration_has_none() -> None:
    assert served(3, live=8) == (3, 1)
    assert served(3, live=2, files=4) == (2, 1)
    assert served(5, live=2, files=4) == (2, 3)
    assert served(3, files=8) == (1, 3)
    assert served(1, live=16) == (2, 1)  # fewer would refuse streams
    assert served(3, live=8, live_lanes=2, file_lanes=0) == (2, 0)


def test_doctor_tells_of_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_PROFILE", str(place))
    (finding,) = doctor_profile.judge(doctor_profile.gather(Places()))
    assert finding.what.startswith(f"{place}, measured 2026-01-01")
    place.write_text("{}")
    (finding,) = doctor_profile.judge(doctor_profile.gather(Places()))
    assert "form: is missing" in finding.what
