"""The history: what is written, what is compared with what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auflow.benchmarks.clips import Clip
from auflow.benchmarks.results import Result, baseline, comparison, load, save, write
from auflow.benchmarks.sheets import Figure
from auflow.errors import OutputError, UsageError

MACHINE = {"cpu": "AMD EPYC 9004", "cores_usable": 2, "memory_gb": 25.3, "load_average": 0.1}


def result(day: int, **changes: object) -> Result:
    values = {
        "date": f"2026-01-{day:02}T12:00:00+00:00",
        "version": "1.0",
        "commit": {"hash": "22c686a0", "dirty": True},
        "machine": MACHINE,
        "clip": Clip("a clip.avi", "0123456789abcdef", 640, 480, 30.0, 842),
        "options": {"run_options": ""},
        "figures": (Figure("clnf", 4.0, "ms"), Figure("speed", 180.0, "fps")),
        "sections": {"stages": {"stages": [{"ms_per_frame": 1 / 3}]}},
    }
    return Result(**(values | changes))  # type: ignore[arg-type]


def test_file_is_named_by_date_commit_machine_and_clip(tmp_path: Path) -> None:
    path = save(result(3), tmp_path / "new" / "results")
    assert path.name == "20260103T120000Z_22c686a0-dirty_amd-epyc-9004-2-cores-25-gb_a clip.json"
    assert load(path) == replace(result(3), sections={"stages": {"stages": [{"ms_per_frame": 0.333333}]}})


def test_results_of_several_clips_are_a_list(tmp_path: Path) -> None:
    write([result(1), result(2)], tmp_path / "both.json")
    assert [one["date"][:10] for one in json.loads((tmp_path / "both.json").read_text())] == [
        "2026-01-01",
        "2026-01-02",
    ]


def test_newest_earlier_value_of_each_figure_counts(tmp_path: Path) -> None:
    save(result(1, figures=(Figure("clnf", 9.0, "ms"), Figure("speed", 100.0, "fps"))), tmp_path)
    newer = save(result(2, figures=(Figure("clnf", 5.0, "ms"),)), tmp_path)
    save(result(9, figures=(Figure("clnf", 1.0, "ms"),)), tmp_path)  # later than the one that is compared
    values, files = baseline(result(3), tmp_path)
    assert {name: figure.value for name, figure in values.items()} == {"clnf": 5.0, "speed": 100.0}
    assert len(files) == 2
    assert newer.name in files


@pytest.mark.parametrize(
    "other",
    [
        {"machine": MACHINE | {"cpu": "another"}},
        {"machine": MACHINE | {"cores_usable": 4}},
        {"clip": Clip("a clip.avi", "ffff", 640, 480, 30.0, 842)},
        {"options": {"run_options": "--multi-face"}},
    ],
)
def test_only_like_is_compared_with_like(tmp_path: Path, other: dict[str, object]) -> None:
    save(result(1, **other), tmp_path)
    assert baseline(result(2), tmp_path) == ({}, [])


def test_files_that_are_no_results_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "20250101.json").write_text("[1, 2]")
    (tmp_path / "20250102.json").write_text("{")
    (tmp_path / "20250103.json").write_text('{"format": 1}')
    (tmp_path / "20250104.json").write_text('{"format": 99}')
    assert baseline(result(2), tmp_path) == ({}, [])
    for path in tmp_path.glob("*.json"):
        with pytest.raises(UsageError, match="expected a result of `auflow bench`"):
            load(path)


def test_comparison_tells_better_from_worse() -> None:
    before = {
        "a time": Figure("a time", 4.0, "ms"),
        "a rate": Figure("a rate", 100.0, "fps"),
        "same": Figure("same", 10.0, "ms"),
        "slower": Figure("slower", 1.0, "s"),
    }
    now = [Figure("a time", 2.0, "ms"), Figure("a rate", 110.0, "fps"), Figure("same", 10.2, "ms")]
    table = comparison([*now, Figure("slower", 1.2, "s"), Figure("new", 5.0, "ms")], before, ["old.json"])
    assert table is not None
    assert table.rows == [
        ("a time", "4.00 ms", "2.00 ms", "-50.0%", "better"),
        ("slower", "1.00 s", "1.20 s", "+20.0%", "worse"),
        ("a rate", "100.00 fps", "110.00 fps", "+10.0%", "better"),
    ]
    assert table.notes == ("1 of 4 figures within 5%; before: old.json",)


def test_nothing_to_compare_with() -> None:
    assert comparison([Figure("a", 1.0, "ms")], {}, []) is None


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--results"):
        save(result(1), tmp_path / "file" / "results")
    with pytest.raises(OutputError, match="choose another place"):
        write(result(1), tmp_path / "file" / "a.json")
