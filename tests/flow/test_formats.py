"""Parquet and JSON lines through whole runs: killed, interrupted, in one process and in many, from the command line."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from auflow import cli, run_command
from auflow.models import store
from auflow.options import RunOptions, check_outputs
from auflow.stages.settings import FORMATS, StageSettings
from auflow.stages.sink import formats
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.provenance import read_provenance
from auflow.tests.flow.conftest import Place, until

ENDINGS = ("csv", "jsonl", "parquet")


@pytest.fixture(autouse=True)
def same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")


@pytest.fixture
def all_formats(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("AUFLOW_FAKE_FORMATS", ",".join(FORMATS))
    monkeypatch.setattr(place.kit, "SETTINGS", replace(place.kit.SETTINGS, formats=FORMATS))
    return place


def alone(place: Place, path: Path) -> dict[str, bytes]:
    """What the stages leave without any processes, by ending."""
    place.alone(path)
    return {ending: (place.root / f"reference.{ending}").read_bytes() for ending in ENDINGS}


def results(place: Place, name: str) -> dict[str, bytes]:
    return {ending: (place.out / f"{name}.{ending}").read_bytes() for ending in ENDINGS}


def test_separate_processes_write_the_same_bytes(all_formats: Place) -> None:
    path = all_formats.input("a", 40)
    (summary,) = all_formats.run(path)
    assert summary.output == str(all_formats.out / "a.csv")
    assert results(all_formats, "a") == alone(all_formats, path)


def test_killed_and_gone_on_with_to_the_byte(all_formats: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place = all_formats
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    done, path = place.input("done", 5), place.input("a", 100)
    process = place.spawn(done, path)
    until(lambda: place.has_checkpoint("a"))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    until(lambda: not place.workers(), 5)
    assert place.written() == [f"done.{ending}" for ending in ENDINGS]
    before = (place.out / "done.parquet").stat().st_mtime_ns
    process = place.spawn(done, path, resume=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "done.csv is there already" in err
    assert (place.out / "done.parquet").stat().st_mtime_ns == before
    assert "goes on after frame " in err
    assert results(place, "a") == alone(place, path)
    assert place.unfinished() == []


def test_one_of_its_files_gone_it_is_made_anew(all_formats: Place) -> None:
    place = all_formats
    path = place.input("a", 6)
    place.run(path)
    (place.out / "a.jsonl").unlink()
    process = place.spawn(path, resume=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "is there already" not in err
    assert results(place, "a") == alone(place, path)


def test_ctrl_c_writes_what_is_finished(all_formats: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place = all_formats
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.02")
    process = place.spawn(place.input("a", 2000))
    until(lambda: place.has_checkpoint("a"))
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert process.returncode == 130, err
    assert place.written() == [f"a.partial.{ending}" for ending in ENDINGS]
    found = read_provenance(place.out / "a.partial.parquet")
    frames = len((place.out / "a.partial.csv").read_text().splitlines()) - 1
    assert (found["interrupted"], found["frames"], found["rows"]) == (True, frames, frames)
    assert pq.read_metadata(place.out / "a.partial.parquet").num_rows == frames
    assert results(place, "a.partial")["csv"] == alone(place, place.input("a", frames))["csv"]


def test_a_name_that_cannot_be_had_ends_that_input_alone(all_formats: Place) -> None:
    place = all_formats
    (place.out / "a.parquet" / "x").mkdir(parents=True)
    first, second = place.run(place.input("a", 6), place.input("b", 5))
    assert (first.exit_code, second.exit_code) == (3, 0)
    assert "a.parquet: cannot be written: " in str(first.error)
    assert not (place.out / "a.csv").exists()  # the first format comes last: where it is, all are


# The command line


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunOptions]:
    """The options of runs that do nothing."""
    options: list[RunOptions] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("auflow.inline.run", lambda given, reporter: options.append(given) or [])
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)
    monkeypatch.setattr(run_command, "place_kernel_cache", lambda: None)
    return options


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], ("csv",)),
        (["--format", "parquet"], ("parquet",)),
        (["--format", "jsonl, parquet,csv,csv"], ("csv", "parquet", "jsonl")),
    ],
)
def test_formats_that_are_asked_for(taken: list[RunOptions], given: list[str], wanted: tuple[str, ...]) -> None:
    assert cli.main(["run", "--inline", "a.mp4", *given]) == 0
    assert taken[0].settings.formats == wanted


@pytest.mark.parametrize("text", ["xlsx", "", "csv,,jsonl"])
def test_formats_that_there_are_not(taken: list[RunOptions], capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--inline", "a.mp4", "--format", text])
    assert caught.value.code == 2
    assert "expected some of csv, parquet, jsonl" in capsys.readouterr().err


def test_without_the_package_nothing_starts(
    taken: list[RunOptions], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    assert cli.main(["run", "--inline", "a.mp4", "-o", "out", "--format", "parquet"]) == 2
    assert capsys.readouterr().err == (
        "auflow: error: parquet needs the package pyarrow: pip install 'auflow[parquet]'\n"
    )
    assert (taken, list(tmp_path.iterdir())) == ([], [])


def options(tmp_path: Path, *inputs: str, **more: object) -> RunOptions:
    settings = StageSettings(formats=("parquet", "jsonl"))
    paths = tuple(tmp_path / name for name in inputs)
    return RunOptions(paths, tmp_path, tmp_path, settings=settings, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "more", "said"),
    [
        (["x/a.mp4", "y/a.avi"], {}, r"x/a\.mp4 and .*y/a\.avi would both write .*/a\.parquet; run them"),
        (["a.jsonl"], {}, r"a\.jsonl would replace the input .*a\.jsonl; choose another folder"),
        (["a.mp4"], {"summary": "a.jsonl"}, r"a\.jsonl would be both the summary and a result"),
        (["folder.mp4"], {}, r"folder\.parquet is a folder, so no file can have this name"),
    ],
)
def test_files_that_would_replace_others(tmp_path: Path, inputs: list[str], more: dict[str, str], said: str) -> None:
    (tmp_path / "folder.parquet").mkdir()
    places = {name: tmp_path / value for name, value in more.items()}
    with pytest.raises(run_command.UsageError, match=said):
        check_outputs(options(tmp_path, *inputs, **places))


def test_a_csv_that_is_not_asked_for_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    check_outputs(options(tmp_path, "a.mp4", "b.csv", summary=tmp_path / "c.csv"))


# The demo clip


@pytest.fixture(scope="module")
def demo(models_dir: Path, demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    arguments = [str(demo_dir / "astronaut.mp4"), "-o", str(folder), "--quiet", "--format", "csv,parquet,jsonl"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
        assert cli.main(["run", *arguments, "--summary", str(folder / "summary.json")]) == 0
    return folder


def test_the_demo_by_the_rules_of_the_csv(demo: Path) -> None:
    settings = StageSettings()
    form = Layout.of(settings).row_format("openface")
    table = pq.read_table(demo / "astronaut.parquet")
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    text = "".join([Layout.of(settings).header() + "\n", *(form % row for row in rows)])
    assert text == (demo / "astronaut.csv").read_text()


def test_the_demo_in_json_lines_and_in_parquet(demo: Path) -> None:
    table = pq.read_table(demo / "astronaut.parquet").to_pydict()
    header, *lines = [json.loads(line) for line in (demo / "astronaut.jsonl").read_text().splitlines()]
    assert header["rows"] == len(lines) == 150
    assert [line["au_r"]["AU12"] for line in lines] == table["AU12_r"]
    assert [line["gaze"]["angle_x"] for line in lines] == table["gaze_angle_x"]
    points = np.array([line["landmarks"] for line in lines], np.float32)
    assert np.array_equal(points[:, 30, 1], np.array(table["y_30"], np.float32))
    assert read_provenance(demo / "astronaut.parquet") == read_provenance(demo / "astronaut.jsonl")


def test_the_summary_names_all_files(demo: Path) -> None:
    (entry,) = json.loads((demo / "summary.json").read_text())["inputs"]
    assert entry["output"] == str(demo / "astronaut.csv")
    assert entry["outputs"] == [str(demo / f"astronaut.{form}") for form in FORMATS]


def test_one_process_writes_the_same_bytes(demo: Path, demo_dir: Path, tmp_path: Path) -> None:
    clip = str(demo_dir / "astronaut.mp4")
    assert cli.main(["run", clip, "-o", str(tmp_path), "--quiet", "--inline", "--format", "jsonl,parquet,csv"]) == 0
    for form in FORMATS:
        assert (tmp_path / f"astronaut.{form}").read_bytes() == (demo / f"astronaut.{form}").read_bytes()
