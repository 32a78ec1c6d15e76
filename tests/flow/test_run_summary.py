"""The summary file: the same from both runners, there whatever becomes of the run, and never in the way of a file."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import auflow
from auflow import cli, inline, orchestrator, run_command
from auflow.errors import OutputError, StageError
from auflow.flow.supervision import Limits
from auflow.inline import Stages
from auflow.models import store
from auflow.options import RunOptions
from auflow.report import PlainReporter, StreamSummary
from auflow.run_summary import run_and_summarise
from auflow.stages.settings import StageSettings

TIMES = {"seconds", "fps", "first_result_s", "latency_ms"}


class Runs:
    """A folder with fake inputs, and both runners with fake stages."""

    def __init__(self, root: Path, kit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.file = root / "summary.json"
        self.words = io.StringIO()
        self.kit = kit
        monkeypatch.setattr(inline, "open_source", lambda path: closing(self.kit.FakeSource(path)))
        monkeypatch.setattr(inline, "ResultSink", self.kit.FakeSink)

    def input(self, name: str, frames: int, **more: int) -> Path:
        path = self.root / f"{name}.json"
        path.write_text(json.dumps({"frames": frames, "width": 64, "height": 48, "seed": 1, **more}))
        return path

    def stages(self, *_: object) -> Stages:
        return Stages(self.kit.FakeDetector(), self.kit.FakeClnf(), self.kit.FakeAu())

    def run(self, runner: Callable[..., list[StreamSummary]], *inputs: Path) -> dict[str, Any]:
        settings = StageSettings(clnf_iterations=3)
        options = RunOptions(
            inputs, self.root / "out", self.root, settings=settings, summary=self.file, checkpoint_s=0.02
        )
        run_and_summarise(runner, options, PlainReporter(self.words))
        return self.document()

    def inline(self, *inputs: Path) -> dict[str, Any]:
        return self.run(partial(inline.run, load=self.stages), *inputs)

    def processes(self, *inputs: Path) -> dict[str, Any]:
        return self.run(partial(orchestrator.run, kit="fake_kit"), *inputs)

    def document(self) -> dict[str, Any]:
        document = json.loads(self.file.read_text())
        assert isinstance(document, dict)
        return document


@pytest.fixture
def runs(place: Any, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(place.root, place.kit, monkeypatch)


def without_times(value: Any) -> Any:
    """The document with only the structure left of what no two runs have in common."""
    if isinstance(value, list):
        return [without_times(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: type(item) if key in TIMES else without_times(item) for key, item in value.items()}


def test_both_runners_tell_the_same(runs: Runs) -> None:
    inputs = (runs.input("a", 23), runs.root / "missing.json", runs.input("b", 9, corrupt=2), runs.input("c", 0))
    alone, apart = runs.inline(*inputs), runs.processes(*inputs)
    assert without_times(alone) == without_times(apart)
    for document in (alone, apart):
        assert len({json.dumps(_structure(entry)) for entry in document["inputs"]}) == 1  # whatever became of it
        assert [entry["state"] for entry in document["inputs"]] == ["complete", "failed", "complete", "complete"]
        first = document["inputs"][0]
        times = [first["latency_ms"][name] for name in ("p50", "p95", "p99", "max")]
        assert times == sorted(times)
        assert 0 < times[0] < 1e3 * document["totals"]["seconds"]
        assert 0 < first["first_result_s"] < document["totals"]["seconds"]
        assert document["totals"]["first_result_s"] == first["first_result_s"]
        assert document["inputs"][3]["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}


def _structure(value: Any) -> Any:
    return {key: _structure(item) for key, item in value.items()} if isinstance(value, dict) else None


def test_what_it_says(runs: Runs) -> None:
    document = runs.inline(runs.input("a", 8), runs.root / "missing.json")
    assert document["version"] == auflow.__version__
    assert document["options"]["clnf_iterations"] == 3
    assert document["exit_code"] == 2
    assert document["error"] is None
    first, second = document["inputs"]
    assert (first["path"], first["output"]) == (str(runs.root / "a.json"), str(runs.root / "out/a.csv"))
    assert (first["frames"], first["successes"], first["corrupt"]) == (8, 6, 0)
    assert first["fps"] == pytest.approx(8 / first["seconds"], rel=0.5)  # both are rounded
    # The fake fits: 4 optimisations each; all of them converge in every fourth frame, else one; 10 or 11 iterations.
    assert first["convergence"] == {
        "fits": 8,
        "fits_converged": 2,
        "fits_converged_share": 0.25,
        "optimisations": 32,
        "optimisations_converged": 14,
        "optimisations_converged_share": 0.4375,
        "iterations": 84,
        "iterations_per_fit": 10.5,
    }
    # The fake detection every 5 frames, a face in all but each third, of which each fifth is reused: here the fifth.
    assert first["coherence"] == {
        "detections": 2,
        "detections_per_frame": 0.25,
        "faces": 6,
        "reused": 1,
        "reused_share": 0.1667,
    }
    assert second["coherence"] == {
        "detections": 0,
        "detections_per_frame": None,
        "faces": 0,
        "reused": 0,
        "reused_share": None,
    }
    assert "missing.json" in second["error"]
    assert (second["exit_code"], second["output"], second["fps"]) == (2, None, None)
    totals = document["totals"]
    assert (totals["inputs"], totals["complete"], totals["failed"], totals["frames"]) == (2, 1, 1, 8)
    assert (totals["convergence"], totals["coherence"]) == (first["convergence"], first["coherence"])


def test_after_a_stage_died_too_often(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "clnf:8:kill")
    limits = Limits(budget=0)
    with pytest.raises(StageError):
        runs.run(
            partial(orchestrator.run, kit="fake_kit", limits=limits),
            runs.input("first", 5),
            runs.input("second", 40),
            runs.input("third", 5),
        )
    document = runs.document()
    assert document["exit_code"] == 5
    assert "clnf-0 was ended by signal 9" in document["error"]
    assert "at frame 8" in document["error"]
    assert [entry["state"] for entry in document["inputs"]] == ["complete", "unfinished", "unfinished"]
    assert document["totals"]["frames"] == 5


def test_frames_that_failed_and_restarts(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "clnf:8:kill")
    document = runs.processes(runs.input("first", 5), runs.input("second", 40))
    first, second = document["inputs"]
    assert first["pictures"] == {"in": 5, "done": 5, "dropped": 0, "failed": 0}
    assert second["pictures"] == {"in": 40, "done": 39, "dropped": 0, "failed": 1}
    assert (second["frames"], second["restarts"]) == (40, 2)
    assert document["totals"]["pictures"] == {"in": 45, "done": 44, "dropped": 0, "failed": 1}
    assert document["totals"]["restarts"] == first["restarts"] + 2
    assert document["totals"]["failed"] == 0  # inputs


def test_after_ctrl_c(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    process = runs.kit.FakeClnf.process

    def interrupting(self: Any, frame: Any, detect: Any) -> Any:
        if frame.index == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return process(self, frame, detect)

    monkeypatch.setattr(runs.kit.FakeClnf, "process", interrupting)
    document = runs.inline(runs.input("a", 9), runs.input("b", 9))
    assert document["exit_code"] == 130
    assert [(entry["state"], entry["frames"]) for entry in document["inputs"]] == [
        ("interrupted", 3),
        ("unfinished", 0),
    ]
    assert document["inputs"][0]["output"] == str(runs.root / "out/a.partial.csv")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, None),
        (OutputError("disk full"), 3, "disk full"),
        (ZeroDivisionError("a bug"), 1, "ZeroDivisionError: a bug"),
    ],
)
def test_whatever_ends_the_run(runs: Runs, error: BaseException, code: int, text: str | None) -> None:
    runs.file.write_text("of an earlier run")

    def runner(options: RunOptions, reporter: Any) -> list[StreamSummary]:
        assert not runs.file.exists()
        reporter.warning("hm")
        raise error

    with pytest.raises(type(error)):
        runs.run(runner, Path("a.mp4"))
    assert (runs.document()["exit_code"], runs.document()["error"]) == (code, text)
    assert runs.words.getvalue() == "auflow: warning: hm\n"


@pytest.mark.parametrize("failing", [False, True])
def test_a_full_disk(runs: Runs, monkeypatch: pytest.MonkeyPatch, failing: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def runner(options: RunOptions, reporter: Any) -> list[StreamSummary]:
        if failing:
            raise StageError("clnf-0 died")
        return []

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StageError if failing else OutputError, match="died" if failing else "No space left"):
        runs.run(runner, Path("a.mp4"))
    assert ("No space left" in runs.words.getvalue()) == failing
    assert [path.name for path in runs.root.iterdir()] == ["out"]


def test_a_link_stays_a_link(runs: Runs) -> None:
    (runs.root / "real.json").write_text("{}")
    runs.file.symlink_to("real.json")
    runs.inline(runs.input("a", 2))
    assert runs.file.is_symlink()
    assert json.loads((runs.root / "real.json").read_text())["totals"]["frames"] == 2


def test_names_that_are_not_unicode(runs: Runs) -> None:
    path = runs.input("a", 2)
    odd = path.with_name(os.fsdecode(b"\xff.json"))
    path.rename(odd)
    assert runs.inline(odd)["inputs"][0]["path"] == str(odd)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., RunOptions | None]:
    """`asked("a.mp4", ...)`: the options that get to a runner; None when the command line is refused."""
    seen: list[RunOptions] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inline, "run", lambda options, reporter: seen.append(options) or [])
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)

    def ask(*arguments: str) -> RunOptions | None:
        seen.clear()
        code = cli.main(["run", "--inline", *arguments])
        assert code == (0 if seen else 2)
        return seen[0] if seen else None

    return ask


def test_options(asked: Callable[..., RunOptions | None], tmp_path: Path) -> None:
    options = asked("a.mp4", "--summary", "new/run.json", "--clnf-iterations", "3", "--clnf-tolerance", "0.1")
    assert options is not None
    assert options.summary == Path("new/run.json")
    assert options.settings == StageSettings(clnf_iterations=3, clnf_tolerance_px=0.1)
    assert json.loads((tmp_path / "new/run.json").read_text())["exit_code"] == 0
    plain = asked("a.mp4")
    assert plain is not None
    assert (plain.summary, plain.settings) == (None, StageSettings())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4", "--summary", "a.mp4"], "a.mp4 would replace the input a.mp4; choose another name for --summary"),
        (["a.mp4", "--summary", "./a.csv"], "a.csv would be both the summary and a result"),
        (["a.mp4", "--hog", "--summary", "a.hog"], "a.hog would be both the summary and a result"),
        (["a.mp4", "--summary", "."], "--summary: expected the name of a file"),
    ],
)
def test_names_that_are_taken(
    asked: Callable[..., RunOptions | None], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert asked(*arguments) is None
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clnf-iterations", "0"], "--clnf-iterations: expected a whole number from 1, got '0'"),
        (["--clnf-iterations", "2.5"], "--clnf-iterations: expected a whole number from 1, got '2.5'"),
        (["--clnf-tolerance=-0.1"], "--clnf-tolerance: expected pixels, 0 or more, got '-0.1'"),
        (["--clnf-tolerance", "nan"], "--clnf-tolerance: expected pixels, 0 or more, got 'nan'"),
        (["--clnf-tolerance", "inf"], "--clnf-tolerance: expected pixels, 0 or more, got 'inf'"),
        (["--fx", "0"], "--fx/-fx: expected pixels above 0, got '0'"),
    ],
)
def test_numbers_that_make_no_sense(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "a.mp4", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("what", ["summary", "timeline"])
def test_a_file_that_is_something_else_stays(
    what: str, models_dir: Path, demo_dir: Path, tmp_path: Path, capsys
) -> None:
    table = tmp_path / "earlier.csv"
    table.write_text("frame, face_id\n1, 0\n")
    words = ["run", str(demo_dir / "astronaut.mp4"), "-o", str(tmp_path / "out"), f"--{what}"]
    assert cli.main([*words, str(table)]) == 2
    assert f"it is no {what} of an earlier run" in capsys.readouterr().err
    assert table.read_text() == "frame, face_id\n1, 0\n"
    assert cli.main([*words, "-"]) == 2
    assert "standard output is not one" in capsys.readouterr().err
