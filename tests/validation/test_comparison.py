"""Matching and measuring on files whose agreement is known, and what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.errors import InputError
from auflow.stages.records import AU_INTENSITIES
from auflow.validation.table import read_table
from auflow.validation.worst import missing_rows, ranges, worst_by_aus, worst_frames

from .conftest import POINTS, Columns, rows_of


def without(columns: Columns, *names: str) -> Columns:
    return {name: values for name, values in columns.items() if name not in names}


def rows(columns: Columns, chosen) -> Columns:
    return {name: values[chosen] for name, values in columns.items()}


def test_identical_files_agree_in_everything(columns: Columns, measure) -> None:
    result = measure(columns, columns)
    assert (result.rows_reference, result.rows_ours, result.rows_compared) == (40, 40, 40)
    assert (result.row_coverage, result.success_agreement) == (1, 1)
    assert set(result.groups) == {"landmarks2d_px", "pose_mm", "confidence"}
    assert all(group.max == 0 and group.coverage == 1 for group in result.groups.values())
    assert len(result.intensities) == 17
    assert len(result.presences) == 18
    for au in result.intensities.values():
        assert (au.mae, au.coverage) == (0, 1)
        assert [au.r, au.ccc, au.icc] == pytest.approx([1, 1, 1])
    assert all((presence.agreement, presence.f1) == (1, 1) for presence in result.presences.values())


def test_shifted_landmarks_are_that_far_away(columns: Columns, measure) -> None:
    shift = {"x": 3.0, "y": 4.0}
    ours = columns | {name: columns[name] + shift[name[0]] for name in POINTS} | {"pose_Ty": columns["pose_Ty"] - 6}
    result = measure(columns, ours)
    landmarks = result.groups["landmarks2d_px"]
    assert [landmarks.mean, landmarks.p50, landmarks.p99, landmarks.max] == pytest.approx([5, 5, 5, 5])
    assert result.groups["pose_mm"].mean == pytest.approx(2)  # one column of three


def test_shifted_intensity(columns: Columns, measure) -> None:
    result = measure(columns, columns | {"AU12_r": columns["AU12_r"] + 0.5})
    au = result.intensities["AU12_r"]
    variance = columns["AU12_r"].var()
    assert [au.r, au.icc, au.mae, au.max] == pytest.approx([1, 1, 0.5, 0.5], abs=1e-6)
    assert au.ccc == pytest.approx(2 * variance / (2 * variance + 0.25), abs=1e-6)


def test_swapped_aus_do_not_correlate(columns: Columns, measure) -> None:
    result = measure(columns, columns | {"AU12_r": columns["AU25_r"], "AU25_r": columns["AU12_r"]})
    expected = np.corrcoef(columns["AU12_r"], columns["AU25_r"])[0, 1]
    assert expected < 0.9
    for name in ("AU12_r", "AU25_r"):
        assert result.intensities[name].r == pytest.approx(expected)
    assert result.intensities["AU01_r"].r == pytest.approx(1)


def test_missing_rows_are_misses(columns: Columns, measure) -> None:
    result = measure(columns, rows(columns, slice(0, 30)))
    assert (result.row_coverage, result.success_agreement) == (0.75, 0.75)
    assert result.groups["landmarks2d_px"].coverage == 0.75
    assert result.intensities["AU01_r"].coverage == 0.75
    assert result.presences["AU45_c"].agreement == 0.75
    present = columns["AU45_c"] > 0
    hits, wrong = present[:30].sum(), 10
    assert result.presences["AU45_c"].f1 == pytest.approx(2 * hits / (2 * hits + wrong))


def test_missing_columns_are_misses(columns: Columns, measure) -> None:
    result = measure(columns, without(columns, "AU04_r", "AU28_c", "x_7", "success"))
    au = result.intensities["AU04_r"]
    assert (au.coverage, au.r, au.mae, au.ccc) == (0, 0, None, None)
    assert result.presences["AU28_c"].agreement == 0
    assert result.presences["AU28_c"].f1 == 0
    assert result.groups["landmarks2d_px"].coverage == pytest.approx(135 / 136)
    assert result.success_agreement == 0
    assert "AU04_r" not in measure(without(columns, "AU04_r"), columns).intensities


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_missing(columns: Columns, measure, value: float) -> None:
    spoilt = columns["AU01_r"].copy()
    spoilt[:4] = value
    result = measure(columns, columns | {"AU01_r": spoilt, "confidence": spoilt})
    assert result.intensities["AU01_r"].coverage == 0.9
    assert result.groups["confidence"].coverage == 0.9
    assert result.groups["confidence"].max is not None


def test_values_count_where_the_reference_has_success(columns: Columns, measure) -> None:
    failed = np.where(np.arange(40) < 10, 0.0, 1.0)
    spoilt = np.where(failed == 0, 99.0, columns["AU01_r"])
    result = measure(columns | {"success": failed}, columns | {"AU01_r": spoilt})
    assert (result.rows_compared, result.success_agreement) == (30, 0.75)
    assert result.intensities["AU01_r"].max == 0
    # And where it failed everywhere there is nothing but success to compare.
    nothing = measure(columns | {"success": np.zeros(40)}, columns)
    assert (nothing.rows_compared, nothing.groups, nothing.intensities) == (0, {}, {})
    assert nothing.success_agreement == 0


def test_faces_are_matched_by_number_and_order_does_not_count(columns: Columns, measure) -> None:
    other = columns | {"face_id": np.ones(40), "AU01_r": columns["AU02_r"]}
    both = {name: np.concatenate((columns[name], other[name])) for name in columns}
    assert measure(both, rows(both, slice(None, None, -1))).intensities["AU01_r"].max == 0
    assert measure(both, columns).row_coverage == 0.5


def test_skip_leaves_out_the_first_frames(columns: Columns, measure) -> None:
    late = np.where(np.arange(40) < 10, 5.0, columns["AU01_r"])
    assert measure(columns, columns | {"AU01_r": late}).intensities["AU01_r"].max > 2
    result = measure(columns, columns | {"AU01_r": late}, skip=10)
    assert (result.rows_reference, result.intensities["AU01_r"].max) == (30, 0)


def test_compressed_and_image_files_are_read(columns: Columns, write) -> None:
    plain, packed = write("a.csv", columns), write("b.csv.gz", columns)
    np.testing.assert_array_equal(read_table(plain).values, read_table(packed).values)
    image = {"face": np.array([0.0, 1.0]), **rows(without(columns, "frame", "face_id", "timestamp", "success"), [0, 1])}
    table = read_table(write("image.csv", image))
    assert table.of_image
    assert table.rows == {(0, 1): 0, (1, 1): 1}
    assert table.column("success").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "No such file"),
        (b"", "neither `frame` nor `face`"),
        (b"a, b\n1, 2\n", "neither `frame` nor `face`"),
        (b"frame, success\n", "a header and no rows"),
        (b"frame, success\n1, 1\n2\n", "line 3 has 1 values, its header 2"),
        (b"frame, success\n1, 1\n2, yes\n", "line 3: expected numbers.*yes"),
        (b"frame, success\n1, 1\n1, 1\n", "face 0 of frame 1 stands there twice"),
        (b"frame, success\n, 1\n", "no number for its frame"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not a CSV file"),
    ],
)
def test_what_is_no_csv_is_named(tmp_path, data: bytes | None, message: str) -> None:
    path = tmp_path / "a.csv"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_table(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("data", [b"frame, success\n1, 1\n", b"\x1f\x8b\x08\0\0\0\0\0\0\3cut"])
def test_damaged_compression_is_named(tmp_path, data: bytes) -> None:
    (tmp_path / "a.csv.gz").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "a.csv.gz")


def test_what_does_not_fit_together_is_named(columns: Columns, write) -> None:
    whole = write("a.csv", columns)
    later = write("b.csv", columns | {"frame": columns["frame"] + 100})
    with pytest.raises(InputError, match=r"no row in common.*frames 101 to 140 of face 0 against frames 1 to 40"):
        rows_of(whole, later)
    with pytest.raises(InputError, match="not one column"):
        rows_of(whole, write("c.csv", {"frame": columns["frame"], "left": columns["x_0"]}))
    with pytest.raises(InputError, match="no column `success`"):
        rows_of(write("d.csv", without(columns, "success")), whole)
    with pytest.raises(InputError, match="--skip 40 leaves nothing"):
        rows_of(whole, whole, skip=40)


def test_half_a_point_in_the_reference_is_an_error(columns: Columns, measure) -> None:
    with pytest.raises(InputError, match="no `y_67`"):
        measure(without(columns, "y_67"), columns)


def test_worst_frames(columns: Columns, write) -> None:
    away = {name: columns[name].copy() for name in ("x_3", "AU09_r", "AU12_r")}
    away["x_3"][[9, 10, 30]] += [20, 30, 10]
    away["AU09_r"][20] += 2
    away["AU12_r"][20] += 1
    match = rows_of(write("a.csv", columns), write("b.csv", columns | away))
    found = worst_frames(match, 6)
    assert [face.key[1] for face in found] == [11, 31]  # frame 10 is beside 11, all others are equal
    assert found[0].mean_px == pytest.approx(30 / 68)
    assert found[0].max_px == pytest.approx(30)
    assert found[0].ours_px[3, 0] - found[0].reference_px[3, 0] == pytest.approx(30)
    (by_au,) = worst_by_aus(match, 6)
    assert (by_au.key, by_au.au, by_au.timestamp_s) == ((0, 21), "AU09", 0.8)
    assert by_au.au_ours - by_au.au_reference == pytest.approx(2)


def test_gaps_are_told_as_stretches(columns: Columns, write) -> None:
    ours = rows(columns, [i for i in range(40) if i not in (2, 3, 4, 9)])
    missing = missing_rows(rows_of(write("a.csv", columns), write("b.csv", ours)))
    assert ranges(missing) == "3 to 5, 10"
    assert ranges([(0, 1), (2, 5)]) == "face 0: 1; face 2: 5"
    assert ranges([(0, k) for k in range(0, 12, 2)], most=2) == "0, 2, and 4 more stretches"


def test_json_has_the_names_of_a_floor(columns: Columns, measure) -> None:
    figures = measure(columns, without(columns, "AU04_r")).as_dict()
    assert figures["au_r"]["AU12_r"].keys() == {"coverage", "r", "mae", "max", "ccc", "icc"}
    assert figures["au_r_min_r"] == 0
    assert figures["au_r_mae"] == pytest.approx(9 / len(AU_INTENSITIES))
    assert figures["au_c"]["AU28_c"] == 1
    assert figures["au_c_f1"]["AU28_c"] == 1
