"""The whole program on the committed clip, in separate processes, against the C++ program's figures of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from auflow import cli
from auflow.validation.comparison import compare, match
from auflow.validation.table import read_table


@pytest.fixture(scope="module")
def csv(models_dir: Path, demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    arguments = ["run", str(demo_dir / "astronaut.mp4"), "-o", str(folder), "--precision", "full", "--quiet"]
    assert cli.main(arguments) == 0
    return folder / "astronaut.csv"


def test_figures_of_the_reference_program(csv: Path, demo_dir: Path) -> None:
    """Bounds of the main job; measured 0.007 and 0.028 px, 0.989 and 0.993."""
    found = compare(match(read_table(demo_dir / "full.csv"), read_table(csv))).as_dict()
    assert found["row_coverage"] == 1
    assert found["success_agreement"] == 1
    assert found["landmarks2d_px"]["coverage"] == 1
    assert found["landmarks2d_px"]["p50"] <= 0.1
    assert found["landmarks2d_px"]["p90"] <= 0.5
    assert found["au_r_mean_r"] >= 0.98
    assert found["au_c_agreement"] >= 0.97


def test_one_process_writes_the_same_bytes(csv: Path, demo_dir: Path, tmp_path: Path) -> None:
    arguments = ["run", str(demo_dir / "astronaut.mp4"), "-o", str(tmp_path), "--precision", "full", "--quiet"]
    assert cli.main([*arguments, "--inline"]) == 0
    assert (tmp_path / "astronaut.csv").read_bytes() == csv.read_bytes()
