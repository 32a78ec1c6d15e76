"""Another program beside auflow: how its command line is read, and in which order both run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from auflow.benchmarks.versus import compare, fill, parse
from auflow.errors import StageError, UsageError


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A program that writes its arguments into its output folder, and fails when asked to."""
    script = tmp_path / "other program.py"
    script.write_text(
        "import sys, pathlib\n"
        "clip, out, *rest = sys.argv[1:]\n"
        "if rest: sys.exit('line 1\\nits model is missing')\n"
        "(pathlib.Path(out) / 'found.csv').write_text(clip)\n"
        "pathlib.Path(__file__).with_suffix('.log').open('a').write(clip + '\\n')\n"
    )
    return script


def test_paths_stay_single_words() -> None:
    words = parse("ls -f {clip} --out={out} '; rm {clip}'")
    filled = fill(words, Path("/videos/a b; $HOME.avi"), Path("/tmp/o u t"))
    assert filled == ["ls", "-f", "/videos/a b; $HOME.avi", "--out=/tmp/o u t", "; rm /videos/a b; $HOME.avi"]


def test_relative_clips_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fill(["{clip}"], Path("a.avi"), tmp_path) == [str(tmp_path.resolve() / "a.avi")]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("ls a.avi", "expected {clip}"),
        ("ls '{clip}", "quotes"),
        ("FeatureExtraction-is-not-here {clip}", "no program 'FeatureExtraction-is-not-here'"),
    ],
)
def test_unusable_command_lines(command: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse(command)


def test_pairs_alternate(fake_run: list[list[str]], other: Path, tmp_path: Path) -> None:
    said: list[str] = []
    clip = tmp_path / "a b.avi"
    words = parse(f"{sys.executable} -I '{other}' {{clip}} {{out}}")
    result = compare(clip, words, pairs=2, cores=None, say=said.append)
    assert said == ["versus: pair 1 of 2", "versus: pair 2 of 2"]
    assert len(fake_run) == 2
    assert other.with_suffix(".log").read_text().splitlines() == [str(clip.resolve())] * 2
    assert result.ours.wall_s.least > 0.3  # the fake run sleeps
    assert 0 < result.wall_ratio.median < 1  # and is the slower one
    assert result.wall_ratio.count == result.theirs.cpu_s.count == 2


def test_order_within_a_pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from auflow.benchmarks import versus

    order = []

    def run(clip: Path, words: list[str] | None, cores: int | None) -> object:
        order.append("ours" if words is None else "theirs")
        return finished

    from auflow.benchmarks.processes import TreeTrace
    from auflow.benchmarks.runs import Finished

    finished = Finished(["x"], 0, 1.0, 1.0, TreeTrace(0.0), "", 0.0)
    monkeypatch.setattr(versus, "_run", run)
    compare(tmp_path / "a.avi", ["x", "{clip}"], pairs=3, cores=None, say=lambda text: None)
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_program_that_fails(fake_run: list[list[str]], other: Path, tmp_path: Path) -> None:
    words = parse(f"{sys.executable} -I '{other}' {{clip}} {{out}} fail")
    with pytest.raises(StageError, match="its model is missing"):
        compare(tmp_path / "a.avi", words, pairs=1, cores=None, say=lambda text: None)
