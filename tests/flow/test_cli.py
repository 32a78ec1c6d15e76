"""The command line: what it checks, what it says, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import auflow
from auflow import cli, inline, run_command
from auflow.errors import ModelError, StageError
from auflow.models import store
from auflow.options import RunOptions, output_path
from auflow.report import StreamSummary
from auflow.stages.settings import StageSettings
from auflow.stages.sink.paths import overlay_path


class Runner:
    """Stands in for `inline.run`: keeps the options and answers with what it is given."""

    def __init__(self) -> None:
        self.options: RunOptions | None = None
        self.summaries: list[StreamSummary] = []
        self.error: BaseException | None = None

    def __call__(self, options: RunOptions, reporter) -> list[StreamSummary]:
        self.options = options
        if self.error is not None:
            raise self.error
        for summary in self.summaries:
            reporter.stream_finished(summary)
        return self.summaries


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    """A run without models and stages, in an empty folder."""
    runner = Runner()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inline, "run", runner)
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)  # the environment of the tests stays
    monkeypatch.setattr(run_command, "place_kernel_cache", lambda: None)
    return runner


def summary(**changes: object) -> StreamSummary:
    values = {
        "path": "a.mp4",
        "output": "a.csv",
        "frames": 10,
        "successes": 9,
        "corrupt_frames": 0,
        "seconds": 2.0,
        "interrupted": False,
        "error": None,
    }
    return StreamSummary(**(values | changes))


def run(*arguments: str) -> int:
    return cli.main(["run", "--inline", *arguments])


def test_options_are_passed_on(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFACE_MODELS_DIR", str(tmp_path / "models"))
    arguments = ["a.mp4", "b.mp4", "-o", "new/out", "--precision", "full", "--jobs", "3", "--overlay", "--quiet"]
    assert run(*arguments) == 0
    assert runner.options == RunOptions(
        inputs=(Path("a.mp4"), Path("b.mp4")),
        output_dir=Path("new/out"),
        models_root=tmp_path / "models",
        inline=True,
        jobs=3,
        settings=StageSettings(precision="full", overlay=True),
        quiet=True,
    )
    assert list((tmp_path / "new/out").iterdir()) == []


def test_jobs_are_never_more_than_inputs(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_command, "_available_cpus", lambda: 8)
    assert run("a.mp4", "b.mp4") == 0
    assert runner.options is not None
    assert runner.options.jobs == 2


@pytest.mark.parametrize(
    ("summaries", "code"),
    [
        ([summary()], 0),
        ([summary(), summary(error="x", exit_code=2, output=None)], 2),
        ([summary(error="x", exit_code=3), summary(error="y", exit_code=2)], 3),
        ([summary(error="x", output=None)], 1),
        ([summary(error="x", exit_code=2, output=None), summary(interrupted=True)], 130),
    ],
)
def test_exit_code_is_that_of_the_first_error(runner: Runner, summaries: list[StreamSummary], code: int) -> None:
    runner.summaries = summaries
    assert run("a.mp4") == code


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (StageError("clnf-1 died"), 5, "auflow: error: clnf-1 died\n"),
        (KeyboardInterrupt(), 130, "auflow: interrupted\n"),
    ],
)
def test_errors_are_sentences(
    runner: Runner, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    runner.error = error
    assert run("a.mp4") == code
    assert capsys.readouterr().err == message


def test_a_wait_for_kernels_is_explained(
    runner: Runner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(run_command, "kernels_are_ready", lambda model: asked.append(model))
    run("a.mp4")
    assert capsys.readouterr().err == "auflow: compiling kernels for this machine, once: about 20 s\n"
    run("a.mp4", "--quiet")
    assert capsys.readouterr().err == ""
    assert asked == ["clnf", "clnf"]


def test_unexpected_error_is_not_hidden(runner: Runner) -> None:
    runner.error = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        run("a.mp4")


def test_models_are_checked_before_anything_is_made(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def require(root: Path) -> None:
        raise ModelError("type this")

    monkeypatch.setattr(store, "require", require)
    assert run("a.mp4", "-o", "out") == 4
    assert capsys.readouterr().err == "auflow: error: type this\n"
    assert runner.options is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["a file", "a file/below"])
def test_folder_that_cannot_be_made(
    runner: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    (tmp_path / "a file").write_text("in the way")
    assert run("a.mp4", "-o", folder) == 3
    assert f"{folder}: no file can be written in this folder" in capsys.readouterr().err
    assert runner.options is None


def test_folder_without_room(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_command.tempfile, "TemporaryFile", refuse)
    assert run("a.mp4") == 3
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        (["x/a.mp4", "y/a.mov"], ["x/a.mp4 and y/a.mov would both write a.csv"]),
        (["a.mp4", "a.mp4"], ["a.mp4 and a.mp4 would both write a.csv"]),
        (["--overlay", "a.mp4", "a.overlay.mp4"], ["a.overlay.mp4 would replace the input a.overlay.mp4"]),
    ],
)
def test_one_result_never_replaces_another_file(
    runner: Runner, capsys: pytest.CaptureFixture[str], inputs: list[str], named: list[str]
) -> None:
    assert run(*inputs) == 2
    message = capsys.readouterr().err
    assert all(name in message for name in named)
    assert runner.options is None


def test_names_of_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "session.2").mkdir()
    options = RunOptions((), Path("out"), Path("models"))
    names = {"a.b.mp4": "a.b.csv", "x/a.mp4": "a.csv", "session.2": "session.2.csv", ".": f"{tmp_path.name}.csv"}
    assert {name: output_path(options, Path(name)).name for name in names} == names
    assert overlay_path(Path("out/a.b.csv")) == Path("out/a.b.overlay.mp4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "a.mp4", "--jobs", "0"], "expected a whole number from 1, got '0'"),
        (["run", "a.mp4", "--precision", "most"], "invalid choice: 'most'"),
        (["walk"], "invalid choice: 'walk'"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "auflow models fetch --accept-license" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--help"])
    assert caught.value.code == 0
    assert "auflow run *.mp4 -o results" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"auflow {auflow.__version__}\n"


def test_plot_writes_beside_the_csv(tmp_path: Path, demo_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "a.csv").write_bytes((demo_dir / "std.csv").read_bytes())
    assert cli.main(["plot", str(tmp_path / "a.csv")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}\n"
    assert (tmp_path / "a.png").is_file()
    assert cli.main(["plot", str(tmp_path / "nothing.csv")]) == 2


HEAVY = {"av", "cv2", "matplotlib", "numba", "numpy", "onnx", "onnxruntime", "rich", "zmq"}
HELP = """
import sys
from auflow.cli import main
try:
    main(["run", "--help"])
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stderr.split())


def test_module_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "auflow", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"auflow {auflow.__version__}\n")


def test_nothing_to_run_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run"]) == 2
    assert "nothing to run on" in capsys.readouterr().err


def test_inputs_on_both_sides_of_an_option(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("a.mp4", "--jobs", "2", "b.mp4") == 0
    assert runner.options is not None
    assert runner.options.inputs == (Path("a.mp4"), Path("b.mp4"))
    with pytest.raises(SystemExit) as caught:
        run("a.mp4", "--jobs", "2", "b.mp4", "--nonsense")
    assert caught.value.code == 2
    assert "unrecognized arguments: b.mp4 --nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-ogaze", "-op", "-outdir"])
def test_old_openface_names_are_no_output_folder(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "a.mp4", option, "x"])
    assert caught.value.code == 2
    assert option in capsys.readouterr().err
