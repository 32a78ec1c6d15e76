"""Our figures are those of the comparison that counts, on the C++ program's own outputs and against its noise floor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auflow.validation.budgets import hold, read_floor
from auflow.validation.comparison import compare

from .conftest import rows_of

pytestmark = pytest.mark.golden

PAIRS = [
    ("changeLighting/full.csv", "image_sequence/full.csv", 0),
    ("default/full.csv", "default/std.csv", 50),
    ("pyfeat/face_noface/full.csv", "pyfeat/noface_face/full.csv", 0),
    ("pyfeat/no_face/full.csv", "pyfeat/no_face/std.csv", 0),
    ("pyfeat/noface_face/full.csv", "pyfeat/no_face/full.csv", 3),
    ("liveportrait/d0/full.csv", "image_sequence/full.csv", 0),
]


def agree(ours: object, reference: object, place: str = "") -> None:
    """Every figure of the reference is in ours, equal but for the order of additions."""
    if isinstance(reference, dict):
        for name, value in reference.items():
            assert name in ours, f"{place}.{name}"
            agree(ours[name], value, f"{place}.{name}")
    elif reference is None:
        assert ours is None, place
    else:
        assert ours == pytest.approx(reference, rel=1e-9, abs=1e-12), place


@pytest.mark.parametrize(("reference", "ours", "skip"), PAIRS)
def test_figures_equal_compare_py(golden: Path, compare_py, reference: str, ours: str, skip: int) -> None:
    result = compare(rows_of(golden / reference, golden / ours, skip))
    agree(result.as_dict(), compare_py.compare(golden / reference, golden / ours, skip))


@pytest.mark.parametrize("name", ["std.csv", "online.csv"])
def test_demo_clip(demo_dir: Path, compare_py, name: str) -> None:
    result = compare(rows_of(demo_dir / "full.csv", demo_dir / name))
    theirs = compare_py.compare(demo_dir / "full.csv", demo_dir / name)
    agree(result.as_dict(), theirs)
    floor = demo_dir / "floor.json"
    rows = compare_py.hold(theirs, json.loads(floor.read_text()), 2.0)
    held = hold(result, read_floor(floor), 2.0)
    assert [h.what for h in held] == [row[0] for row in rows]
    assert [h.holds for h in held] == [row[3] for row in rows]
    for ours, row in zip(held, rows, strict=True):
        assert [ours.ours, ours.allowed] == pytest.approx(row[1:3], rel=1e-9), ours.what
    # The offline pass moves intensities, rounding does not: the floor must tell the two apart.
    assert any(h.what == "AU12_r r" and not h.holds for h in held) == (name == "online.csv")


@pytest.mark.parametrize(
    "clip", ["default", "changeLighting", "image_sequence", "pyfeat/no_face", "pyfeat/face_noface"]
)
def test_files_hold_against_their_own_floor(golden: Path, clip: str) -> None:
    full = golden / clip / "full.csv"
    held = hold(compare(rows_of(full, full)), read_floor(golden / clip / "floor.json"), 2.0)
    assert held
    assert all(h.holds for h in held)
