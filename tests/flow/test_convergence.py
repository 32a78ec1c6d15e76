"""Limit and tolerance of the landmark fit with the real stages: what the options do, and what the summary tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from auflow import cli, run_command
from auflow.benchmarks import convergence

FRAMES = 4
TRACKED = 14  # optimisations of a large face that is tracked: two for each of 7 scales
SEARCHED = 16


@pytest.fixture(scope="module")
def clip(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the demo clip."""
    path = tmp_path_factory.mktemp("clip") / "astronaut.mp4"
    with av.open(str(demo_dir / "astronaut.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None or number == FRAMES:
                break
            packet.stream = stream
            target.mux(packet)
    return path


@pytest.fixture
def run(models_dir: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`run("--clnf-iterations", "2")`: the convergence in the run's summary, and the CSV beside it."""
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)  # the environment of the tests stays

    def run(*arguments: str, inline: bool = True) -> dict[str, Any]:
        file = tmp_path / "summary.json"
        how = ["--inline"] if inline else []
        words = ["run", str(clip), "-o", str(tmp_path), "--quiet", "--summary", str(file), *how, *arguments]
        assert cli.main(words) == 0
        found: dict[str, Any] = json.loads(file.read_text())["totals"]["convergence"]
        return {**found, "csv": (tmp_path / "astronaut.csv").read_bytes()}

    return run


def test_defaults_are_those_of_openface(run: Callable[..., dict[str, Any]]) -> None:
    plain = run()
    assert plain["fits"] == FRAMES
    assert SEARCHED + (FRAMES - 1) * (TRACKED - 2) <= plain["optimisations"] <= SEARCHED + (FRAMES - 1) * TRACKED
    assert plain["iterations"] <= 5 * plain["optimisations"]
    assert plain == run("--clnf-iterations", "5", "--clnf-tolerance", "0.01")
    assert plain["csv"] != run("--clnf-iterations", "2")["csv"]


@pytest.mark.parametrize("limit", [1, 3])
def test_without_a_tolerance_every_optimisation_goes_to_the_limit(
    run: Callable[..., dict[str, Any]], limit: int
) -> None:
    found = run("--clnf-iterations", str(limit), "--clnf-tolerance", "0")
    assert found["iterations"] == limit * found["optimisations"]
    assert (found["optimisations_converged"], found["fits_converged"]) == (0, 0)


def test_with_a_wide_tolerance_every_optimisation_ends_after_its_first_iteration(
    run: Callable[..., dict[str, Any]],
) -> None:
    found = run("--clnf-tolerance", "100000")
    assert found["iterations"] == found["optimisations"] == found["optimisations_converged"]
    assert found["fits_converged_share"] == 1.0


def test_wild_has_its_own_limit(run: Callable[..., dict[str, Any]]) -> None:
    wild = run("--wild", "--clnf-tolerance", "0")
    assert wild["iterations"] > 5 * wild["optimisations"]  # 10 for the face itself
    found = run("--wild", "--clnf-iterations", "2", "--clnf-tolerance", "0")
    assert found["iterations"] == 2 * found["optimisations"]


@pytest.mark.timeout(300)  # the kernels may have to be compiled
def test_the_counts_pass_through_the_processes(run: Callable[..., dict[str, Any]]) -> None:
    assert run("--clnf-iterations", "3", inline=False) == run("--clnf-iterations", "3")


def test_a_table_for_the_document(
    clip: Path,
    demo_dir: Path,
    models_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(convergence, "pin_threads", lambda: None)
    monkeypatch.setattr(convergence, "ITERATIONS", (1, 5))
    monkeypatch.setattr(convergence, "TOLERANCES_PX", (0.0, 0.01))
    assert convergence.main([f"{clip}={demo_dir / 'full.csv'}", "--json", str(tmp_path / "x.json")]) == 0
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in row] for row in rows[2:]] == [["1", "0"], ["5", "0"], ["5", "0.01"]]
    one, never, usual = json.loads((tmp_path / "x.json").read_text())
    assert one["landmarks_p50_px"] > 5 * usual["landmarks_p50_px"]
    assert one["iterations_per_fit"] == pytest.approx(never["iterations_per_fit"] / 5)
    assert 0 < usual["cpu_ms"] < 1000


@pytest.mark.parametrize("words", [["a.mp4"], ["=b.csv"], ["a.mp4=b.csv", "--repeat", "0"]])
def test_wrong_words(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        convergence.main(words)
    assert caught.value.code == 2
