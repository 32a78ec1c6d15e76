"""What is read from a table, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from auflow.errors import InputError, UsageError
from auflow.plots.bins import Bins, bins_for
from auflow.plots.series import read_series
from auflow.tests.plots.kit import SMALL, write_table


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.csv").write_text(SMALL)
    return tmp_path / "small.csv"


def test_the_first_face_is_read_unless_another_is_asked_for(small: Path) -> None:
    series = read_series(small)
    assert (series.name, series.face, series.faces) == ("small", 0, (0, 1))
    assert series.intensities["AU01"].tolist() == [1.5, 0.0, 2.5]
    assert series.presences["AU28"].tolist() == [False] * 3
    assert series.success.tolist() == [True, False, True]
    assert (series.time.tolist(), series.time_label) == ([0.0, 0.1, 0.2], "seconds")
    assert read_series(small, 1).intensities["AU12"].tolist() == [4.0]
    with pytest.raises(UsageError, match=r"no face 7; there are 0, 1 \(--face\)"):
        read_series(small, 7)


def test_images_have_frames_for_time(small: Path) -> None:
    small.write_text(SMALL.replace("0.1,", "0.0,").replace("0.2,", "0.0,"))
    assert (read_series(small).time.tolist(), read_series(small).time_label) == ([1, 2, 3], "frame")


def test_angles_are_degrees_and_landmarks_points(tmp_path: Path) -> None:
    points = {f"{axis}_{k}": [100.0 * (axis == "y") + k] for axis in "xy" for k in range(68)}
    turned = {"pose_Rx": [np.pi / 2], "pose_Ry": [0.0], "pose_Rz": [-np.pi]}
    path = write_table(tmp_path / "t.csv", **turned, gaze_angle_x=[np.pi / 4], gaze_angle_y=[0.0], **points)
    series = read_series(path, landmarks=True)
    assert series.rotation_deg == pytest.approx(np.array([[90.0, 0.0, -180.0]]), abs=1e-3)
    assert series.gaze_deg == pytest.approx(np.array([[45.0, 0.0]]), abs=1e-3)
    assert series.position_mm is None
    assert series.landmarks_px is not None
    assert series.landmarks_px[0, 5].tolist() == [5.0, 105.0]
    assert read_series(path).landmarks_px is None


def test_compressed_and_with_a_byte_order_mark(small: Path) -> None:
    packed = small.with_name("packed.csv.gz")
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + SMALL.encode()))
    assert read_series(packed).intensities["AU01"].tolist() == [1.5, 0.0, 2.5]
    assert read_series(packed).name == "packed"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_series(packed)


def test_parquet_says_the_same_as_the_csv(demo_dir: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    from auflow.plots.table import read_columns

    columns = read_columns(demo_dir / "std.csv", lambda name: True)
    parquet.write_table(pyarrow.table(columns), tmp_path / "std.parquet")
    ours, theirs = read_series(tmp_path / "std.parquet"), read_series(demo_dir / "std.csv")
    assert ours.intensities["AU12"].tolist() == theirs.intensities["AU12"].tolist()
    assert (ours.name, ours.time_label) == ("std", "seconds")
    (tmp_path / "std.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_series(tmp_path / "std.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "found no AU columns"),
        ("frame, x_0\n1, 2\n", "found no AU columns"),
        ("face, confidence, AU01_r\n0, 1, 2\n", "is of a single picture: there is no time"),
        (SMALL.splitlines()[0], "a header and no rows"),
        (SMALL.replace("2.5", "abc"), "not a CSV of numbers"),
        (SMALL + "4, 0, 0.3", "line 6 has 3 values, its header 8 names: the file is damaged"),
        (SMALL.replace("3,  0", " ,  0"), "no number for its frame"),
        ("\udcff".encode("utf-8", "surrogateescape"), "not a CSV of numbers"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str | bytes | None, message: str) -> None:
    path = tmp_path / "a.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_series(path)


def test_bins_keep_means_and_extremes_and_leave_gaps() -> None:
    bins = bins_for(7, 3)
    assert (bins.size, bins.count) == (3, 3)
    values = np.array([1.0, 2.0, 6.0, np.nan, np.nan, np.nan, 5.0])
    assert bins.mean(values).tolist()[::2] == [3.0, 5.0]
    assert np.isnan(bins.mean(values)[1])
    low, high = bins.extremes(values)
    assert (low[0], high[0], low[2], high[2]) == (1.0, 6.0, 5.0, 5.0)
    assert np.isnan([low[1], high[1]]).all()
    assert bins.first(values).tolist()[0::2] == [1.0, 5.0]
    assert bins.share(values > 1.5).tolist() == pytest.approx([2 / 3, 0.0, 1.0])
    assert bins_for(5, 10) == Bins(5, 1)
