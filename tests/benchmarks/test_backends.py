"""The comparison of backends: that it measures all work, and compares with the reference."""

from __future__ import annotations

from pathlib import Path

from auflow.benchmarks.backends import main, measure


def test_every_stage_is_measured_and_compared(models_dir: Path, demo_dir: Path) -> None:
    rows = list(measure(demo_dir / "astronaut.mp4", models_dir, ["ort-cpu"], [2], repeat=1))
    assert [(row.work.split()[0], row.backend) for row in rows] == [
        ("detection", "ort-cpu"),
        ("response", "numba"), ("response", "ort-cpu"),
        ("AU", "numba"), ("AU", "ort-cpu"),
    ]  # fmt: skip
    for row in rows:
        assert row.batch == 2
        assert row.wall_ms > 0
    by_name = {(row.work.split()[0], row.backend): row.error for row in rows}
    assert by_name["response", "numba"] == 0.0
    assert 0 < by_name["response", "ort-cpu"] < 5e-6
    assert 0 < by_name["AU", "ort-cpu"] < 1e-3


def test_the_table_names_what_could_not_be_measured(models_dir: Path, demo_dir: Path, capsys) -> None:
    assert main([str(demo_dir / "astronaut.mp4"), "--backends", "ort-cpu", "--batches", "1", "--repeat", "1"]) == 0
    out = capsys.readouterr().out
    assert "tensorrt: not measured:" in out
    assert "| response maps, followed face | 1 | ort-cpu |" in out
