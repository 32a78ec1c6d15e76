"""The columns' units and descriptions: all of them, and the same in the code and in the README."""

from __future__ import annotations

import re
from pathlib import Path

from auflow.stages.settings import StageSettings
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.meanings import MEANINGS, NO_UNIT

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
NAMES = Layout.of(StageSettings()).names()


def rows() -> list[tuple[list[str], str, str]]:
    """The README's rows: the columns, from the first that is named to the one before the next row's; unit; meaning."""
    table = README.split("### The CSV")[1].split("### ")[0]
    cells = re.findall(r"^\| (`[a-zA-Z][^|]*) \| ?([^|]*?) ?\| ([^|]*) \|$", table, flags=re.MULTILINE)
    firsts = [NAMES.index(re.findall(r"`(\w+)`", names)[0]) for names, _, _ in cells]
    assert firsts == sorted(firsts)
    return [
        (NAMES[first:end], unit, meaning)
        for (_, unit, meaning), first, end in zip(cells, firsts, [*firsts[1:], len(NAMES)], strict=True)
    ]


def test_every_column_has_one() -> None:
    assert list(MEANINGS) == [*NAMES[:2], "face", *NAMES[2:]]
    assert "face" in Layout.of(StageSettings(faces="pictures")).names()
    assert {meaning.unit for meaning in MEANINGS.values()} == {"s", "px", "mm", "px/mm", "rad", NO_UNIT}
    assert all(meaning.description.isascii() and len(meaning.description) > 8 for meaning in MEANINGS.values())
    assert len({meaning.description for meaning in MEANINGS.values()}) > 700  # each tells which one it is


def test_the_readme_says_the_same() -> None:
    found = rows()
    assert sum(len(names) for names, _, _ in found) == 714
    for names, unit, _ in found:
        told = dict.fromkeys(m.range or m.unit.replace(NO_UNIT, "") for m in map(MEANINGS.__getitem__, names))
        assert ", ".join(told) == unit, names


def test_some_by_hand() -> None:
    assert MEANINGS["pose_Ry"].description == "head rotation about y (yaw); R = Rx Ry Rz"
    assert MEANINGS["eye_lmk_X_28"].description == (
        "landmark 0 of the eye on the right of the picture: position in space, camera frame, x"
    )
    assert (MEANINGS["x_0"].unit, MEANINGS["X_0"].unit, MEANINGS["p_33"].unit, MEANINGS["p_rz"].unit) == (
        "px",
        "mm",
        "mm",
        "rad",
    )
