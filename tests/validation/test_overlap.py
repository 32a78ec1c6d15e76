"""Faces matched by place: pairs, what is left over, and files that number faces differently."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from auflow import cli
from auflow.errors import InputError
from auflow.validation.comparison import compare, match
from auflow.validation.overlap import rows_by_overlap
from auflow.validation.table import read_table

from .conftest import POINTS, Columns


def faces(*rows: tuple[int, int, float, float, float]) -> Columns:
    """(frame, face_id, left, top, width) each: 68 points whose bounding box is that square."""
    out: Columns = {
        "frame": np.array([row[0] for row in rows], float),
        "face_id": np.array([row[1] for row in rows], float),
        "success": np.ones(len(rows)),
    }
    steps = np.linspace(0, 1, 68)
    for name in POINTS:
        axis, point = name.split("_")
        start = 2 if axis == "x" else 3
        out[name] = np.array([row[start] + row[4] * steps[int(point)] for row in rows])
    return out


@pytest.fixture
def pairs(write):
    """`pairs(reference, ours)`: (frame, face) of the reference -> face of ours, or None."""

    def pairs(reference: Columns, ours: Columns) -> dict[tuple[int, int], int | None]:
        tables = read_table(write("reference.csv", reference)), read_table(write("ours.csv", ours))
        keys = sorted(tables[0].rows)
        rows = rows_by_overlap(*tables, keys)
        names = tables[1].column("face_id")
        return {(frame, face): int(names[row]) if row >= 0 else None
                for (face, frame), row in zip(keys, rows, strict=True)}  # fmt: skip

    return pairs


def test_numbers_do_not_matter_and_may_change(pairs) -> None:
    reference = faces((1, 0, 0, 0, 100), (1, 1, 300, 0, 100), (2, 0, 0, 0, 100), (2, 1, 300, 0, 100))
    ours = faces((1, 7, 301, 2, 100), (1, 3, 2, 1, 98), (2, 0, 1, 0, 100), (2, 7, 299, 0, 100))
    assert pairs(reference, ours) == {(1, 0): 3, (1, 1): 7, (2, 0): 0, (2, 1): 7}


def test_the_largest_overlap_comes_first_and_nobody_is_taken_twice(pairs) -> None:
    # Ours overlaps both faces of the reference by more than half, and the second one more.
    reference = faces((1, 0, 0, 0, 100), (1, 1, 25, 0, 100))
    assert pairs(reference, faces((1, 5, 20, 0, 100))) == {(1, 0): None, (1, 1): 5}
    assert pairs(reference, faces((1, 5, 20, 0, 100), (1, 6, 0, 5, 100))) == {(1, 0): 6, (1, 1): 5}


def test_less_than_half_is_another_face(pairs) -> None:
    one = faces((1, 0, 0, 0, 100))
    assert pairs(one, faces((1, 0, 32, 0, 100))) == {(1, 0): 0}  # 68 of 132
    assert pairs(one, faces((1, 0, 35, 0, 100))) == {(1, 0): None}  # 65 of 135
    assert pairs(one, faces((1, 0, 0, 0, 50))) == {(1, 0): None}  # the same corner, another size


def test_frames_are_never_mixed(pairs) -> None:
    reference = faces((1, 0, 0, 0, 100), (2, 0, 300, 0, 100), (3, 0, 0, 0, 100))
    ours = faces((1, 0, 300, 0, 100), (2, 1, 300, 0, 100))
    assert pairs(reference, ours) == {(1, 0): None, (2, 0): 1, (3, 0): None}


def test_missing_landmarks_match_nothing(pairs) -> None:
    nothing = faces((1, 0, 0, 0, 100), (1, 1, 0, 0, 0))
    nothing["x_5"][0] = np.nan
    assert pairs(faces((1, 0, 0, 0, 100)), nothing) == {(1, 0): None}


def test_comparison_by_overlap(write, columns: Columns) -> None:
    """Two faces 500 px apart whose numbers are swapped: nothing agrees by number, everything by place."""
    second = columns | {name: columns[name] + 500 for name in POINTS if name[0] == "x"} | {"face_id": np.ones(40)}
    second["AU12_r"] = columns["AU12_r"][::-1]
    reference = {name: np.concatenate([columns[name], second[name]]) for name in columns}
    ours = reference | {"face_id": 1 - reference["face_id"]}
    tables = read_table(write("a.csv", reference)), read_table(write("b.csv", ours))
    by_id, by_place = compare(match(*tables)), compare(match(*tables, by="overlap"))
    assert by_id.groups["landmarks2d_px"].mean == pytest.approx(500)
    assert by_id.intensities["AU12_r"].r < 0.9
    assert by_place.groups["landmarks2d_px"].max == 0
    assert by_place.intensities["AU12_r"].r == pytest.approx(1)
    assert (by_place.row_coverage, by_place.success_agreement) == (1, 1)


def test_a_face_that_ours_lacks_is_a_miss(write) -> None:
    reference = faces((1, 0, 0, 0, 100), (1, 1, 300, 0, 100), (2, 0, 0, 0, 100), (2, 1, 300, 0, 100))
    ours = faces((1, 0, 300, 0, 100), (2, 0, 300, 0, 100), (2, 3, 0, 0, 100))
    result = compare(match(read_table(write("a.csv", reference)), read_table(write("b.csv", ours)), by="overlap"))
    assert (result.row_coverage, result.success_agreement) == (0.75, 0.75)
    assert result.groups["landmarks2d_px"].coverage == 0.75
    assert result.groups["landmarks2d_px"].max == 0


def test_from_the_command_line(write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(write("a.csv", faces((1, 0, 0, 0, 100), (2, 0, 0, 0, 100), (3, 0, 0, 0, 100))))
    other = str(write("b.csv", faces((1, 4, 0, 0, 100), (2, 2, 0, 0, 100), (3, 0, 0, 0, 100))))
    out = tmp_path / "out.json"
    assert cli.main(["validate", one, other, "--match", "overlap", "--json", str(out), "--max-landmark-px", "0"]) == 0
    assert json.loads(out.read_text())["match"] == "overlap"
    assert cli.main(["validate", one, other, "--json", str(out), "--max-landmark-px", "0"]) == 1
    assert json.loads(out.read_text())["match"] == "id"
    capsys.readouterr()
    far = str(write("c.csv", faces((1, 0, 900, 0, 100))))
    assert cli.main(["validate", one, far, "--match", "overlap"]) == 2
    assert "no row in common" in capsys.readouterr().err


def test_needs_landmarks(write, columns: Columns) -> None:
    whole = read_table(write("a.csv", columns))
    cut = read_table(write("b.csv", {name: values for name, values in columns.items() if name != "y_67"}))
    with pytest.raises(InputError, match=r"b\.csv: has no column `y_67`: faces are matched by overlap"):
        match(whole, cut, by="overlap")


@pytest.mark.golden
def test_the_cpp_programs_faces_are_found_under_other_numbers(golden: Path, tmp_path: Path) -> None:
    """multi_face_multi with its numbers turned round: each row finds itself again, all 2103 of them."""
    reference = read_table(golden / "multi_face_multi" / "std.csv.gz")
    turned = reference.values.copy()
    turned[:, reference.names["face_id"]] = 3 - turned[:, reference.names["face_id"]]
    names = ", ".join(reference.names)
    np.savetxt(tmp_path / "turned.csv", turned, "%.10g", ", ", header=names, comments="")
    rows = match(reference, read_table(tmp_path / "turned.csv"), by="overlap")
    # A crowded frame may hold the same face twice; it is then matched to one of the two.
    assert np.mean(rows.our_rows == rows.reference_rows) > 0.999
    assert (rows.our_rows >= 0).all()
