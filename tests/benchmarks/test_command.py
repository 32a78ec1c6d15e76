"""`auflow bench` from the command line: what is measured, shown and kept, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from auflow import cli, kernel_cache, threads
from auflow.benchmarks import clips, machine, sections
from auflow.benchmarks.sheets import Figure
from auflow.errors import UsageError
from auflow.models import store


class Measured:
    """Takes the place of the sections: keeps what was asked for, tells made-up figures."""

    def __init__(self) -> None:
        self.benches: list[sections.Bench] = []
        self.names: list[str] = []
        self.ms = 4.0
        self.holds = True

    def __call__(self, bench: sections.Bench, section: str) -> None:
        self.benches.append(bench)
        self.names.append(section)
        bench.figures.append(Figure(f"{section} time", self.ms, "ms"))
        bench.sections[section] = [{"holds": self.holds}] if section == "memory" else {"ms": self.ms}
        bench.show(f"table of {section}")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Measured:
    found = Measured()
    monkeypatch.setattr(sections.Bench, "measure", lambda bench, section: found(bench, section))
    monkeypatch.setattr(store, "require", lambda root: None)
    monkeypatch.setattr(threads, "pin_threads", lambda: None)  # the environment of the tests stays
    monkeypatch.setattr(kernel_cache, "place_kernel_cache", lambda: None)
    monkeypatch.setattr(machine, "LOOK_S", 0.0)
    monkeypatch.chdir(tmp_path)
    return found


def bench(*arguments: str) -> int:
    return cli.main(["bench", *arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        code = bench(*arguments)
    except SystemExit as left:
        code = int(str(left.code))
    assert code == UsageError.exit_code
    return capsys.readouterr().err


@pytest.mark.usefixtures("demo_dir")
def test_demo_clip_and_all_sections_by_default(measured: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--results", "history") == 0
    assert measured.names == ["kernels", "stages", "run"]
    assert measured.benches[0].clip.name == "astronaut.mp4"
    assert (measured.benches[0].repeat, measured.benches[0].quick) == (3, False)
    assert [plan.name for plan in measured.benches[0].plans] == ["processes", "processes, no kernel cache"]
    out = capsys.readouterr().out
    assert "astronaut.mp4: 320x320, 150 frames" in out
    assert out.index("table of kernels") < out.index("table of run") < out.index("kept as")
    (path,) = Path("history").iterdir()
    content = json.loads(path.read_text())
    assert content["clip"]["name"] == "astronaut.mp4"
    assert content["figures"][0] == {"name": "kernels time", "value": 4.0, "unit": "ms"}
    assert content["machine"]["cores_usable"] >= 1


def test_installed_without_the_demo_clip(
    measured: Measured, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clips, "DEMO", Path("nowhere.mp4"))
    assert "give a video" in refused(capsys)
    assert measured.names == []


def test_options_reach_the_runs(measured: Measured, demo_dir: Path) -> None:
    clip = str(demo_dir / "astronaut.mp4")
    words = ["--only", "run,kernels", "--quick", "--cores", "1", "--jobs", "2", "--inline", "--no-history"]
    assert bench(clip, clip, *words, "--run-options=--clnf-iterations 3") == 0
    assert measured.names == ["kernels", "run"] * 2
    first = measured.benches[0]
    assert (first.repeat, first.quick, first.cores) == (1, True, (1,))
    assert len(first.plans) == 3  # alone, two at once, in one process; none without a cache
    assert {plan.options for plan in first.plans} == {("--clnf-iterations", "3")}
    assert list(Path().iterdir()) == []


def test_special_measurements_stand_alone(measured: Measured, demo_dir: Path) -> None:
    clip = str(demo_dir / "astronaut.mp4")
    assert bench(clip, "--versus", "ls {clip} {out}", "--no-history") == 0
    assert bench(clip, "--memory", "100", "--only", "stages", "--no-history") == 0
    assert measured.names == ["versus", "stages", "memory"]
    assert (measured.benches[0].versus, measured.benches[1].frames) == ("ls {clip} {out}", 100)


def test_memory_that_grows_is_an_exit_code(measured: Measured, demo_dir: Path) -> None:
    clip = str(demo_dir / "astronaut.mp4")
    assert bench(clip, "--memory", "100", "--no-history") == 0
    measured.holds = False
    assert bench(clip, "--memory", "100", "--no-history") == 1


def test_second_result_is_compared_with_the_first(
    measured: Measured, demo_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = str(demo_dir / "astronaut.mp4")
    assert bench(clip, "--only", "stages", "--results", "history") == 0
    assert "before" not in capsys.readouterr().out
    (path,) = Path("history").iterdir()
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"date": "2020-01-01T00:00:00+00:00"}))
    measured.ms = 2.0
    assert bench(clip, "--only", "stages", "--results", "history", "--quick", "--json", "now.json") == 0
    out = capsys.readouterr().out
    assert "stages time  4.00 ms  2.00 ms  -50.0%  better" in out
    assert "kept as" not in out
    assert len(list(Path("history").iterdir())) == 1  # coarse figures are not kept
    assert json.loads(Path("now.json").read_text())["figures"][0]["value"] == 2.0


def test_clip_in_another_size(measured: Measured, demo_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(str(demo_dir / "astronaut.mp4"), "--only", "stages", "--size", "64x48", "--no-history") == 0
    assert "astronaut-64x48.mp4: 64x48, 150 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--only", "kernel"], "got 'kernel'"),
        (["--repeat", "0"], "expected a whole number from 1"),
        (["--cores", "1,x"], "got 'x'"),
        (["--cores", "4096"], "this process may use"),
        (["--memory", "many"], "got 'many'"),
        (["--size", "641x480"], "even numbers of pixels"),
        (["--versus", "ls -f a.avi"], "expected {clip}"),
        (["--results", "a", "--no-history"], "not allowed with"),
        (["--run-options", "'--wild"], "--run-options"),
        (["nothing.mp4"], "nothing.mp4: there is no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    measured: Measured, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    assert what in refused(capsys, *arguments)
    assert measured.names == []


def test_json_into_a_folder_that_is_not_there(
    measured: Measured, demo_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(str(demo_dir / "astronaut.mp4"), "--json", "no/where.json") == 3
    assert "make it first" in capsys.readouterr().err
    assert measured.names == []


def test_help_loads_no_library() -> None:
    code = "import sys; from auflow import cli\ntry: cli.main(['bench', '--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit(', '.join(n for n in ('numpy', 'numba', 'cv2', 'onnxruntime', 'av') if n in sys.modules) or None)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("models_dir")
def test_whole_run(tmp_path: Path, demo_dir: Path) -> None:
    """Everything but the kernels, for real; in a process of its own, whose environment and kernel cache it sets."""
    words = ["--quick", "--only", "stages,run", "--no-history", "--json", str(tmp_path / "found.json")]
    command = [sys.executable, "-P", "-m", "auflow", "bench", str(demo_dir / "astronaut.mp4"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "stage, in one process" in out
    assert "bound by" in out
    found = json.loads((tmp_path / "found.json").read_text())
    (run,) = found["sections"]["run"]["runs"]
    assert run["frames"] == found["sections"]["stages"]["frames"] == 150
    assert {"clnf-0", "decode-0", "au-0", "sink-0"} <= {process["name"] for process in run["processes"]}
    assert 0 < run["first_au_s"] < run["wall_s"]
    assert run["pss_mb"] > 50
    assert len(found["sections"]["run"]["scaling"]["single"]) == 6
