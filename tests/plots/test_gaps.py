"""Faces that come and go: nothing is drawn where the table has no rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.plots.data import island, unpacked
from auflow.plots.drawing import draw
from auflow.plots.gaps import with_gaps
from auflow.plots.series import Series, read_series
from auflow.tests.plots.kit import picture_of, write_table


def series_of(path: Path, frames: list[int] | np.ndarray) -> Series:
    numbers = np.asarray(frames)
    rotation = {"pose_Rx": np.ones(len(numbers)), "pose_Ry": numbers, "pose_Rz": numbers}
    ones = np.ones(len(numbers))
    times = {"frame": numbers, "timestamp": (numbers - 1) / 25}
    return read_series(write_table(path, AU01_r=5 * ones, AU01_c=ones, **rotation, **times))


def test_missing_frames_become_rows_without_a_face(tmp_path: Path) -> None:
    whole = with_gaps(series_of(tmp_path / "t.csv", [1, 2, 3, 11, 12]))
    assert whole.frame.tolist() == list(range(1, 13))
    assert whole.time == pytest.approx(np.arange(12) / 25)
    assert whole.success.tolist() == [True] * 3 + [False] * 7 + [True] * 2
    assert whole.presences["AU01"].tolist() == whole.success.tolist()
    assert np.isnan(whole.intensities["AU01"]).tolist() == (~whole.success).tolist()
    assert whole.rotation_deg is not None
    assert np.isnan(whole.rotation_deg[3:10]).all()
    assert whole.confidence is not None
    assert np.isfinite(whole.confidence[[0, 2, 10, 11]]).all()


@pytest.mark.parametrize(
    "frames",
    [[1], [1, 2, 3, 4], [1, 2, 4, 5, 8, 9], [10, 20, 30, 40], [5, 4, 9], [1, 1, 100]],
    ids=["one", "whole", "single drops", "every tenth", "backwards", "twice"],
)
def test_tables_without_gaps_stay_as_they_are(tmp_path: Path, frames: list[int]) -> None:
    series = series_of(tmp_path / "t.csv", frames)
    assert with_gaps(series) is series


def test_every_tenth_frame_and_a_gap(tmp_path: Path) -> None:
    assert with_gaps(series_of(tmp_path / "t.csv", [10, 20, 30, 80, 90])).frame.tolist() == list(range(10, 91, 10))


def test_frame_numbers_without_sense_cost_no_memory(tmp_path: Path) -> None:
    whole = with_gaps(series_of(tmp_path / "t.csv", [1, 2, 3, 4, 900_000_000]))
    assert len(whole.frame) <= 1_000_010


def test_no_colour_and_no_line_over_a_gap(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    series = series_of(tmp_path / "t.csv", np.concatenate([np.arange(1, 101), np.arange(301, 401)]))
    draw(series, tmp_path / "a.png", ("heatmap",))
    picture = picture_of(tmp_path / "a.png")
    yellow = (np.abs(picture - (37, 231, 253)) < 12).all(axis=2)
    columns = np.flatnonzero(yellow.any(axis=0) & (np.arange(1650) < 0.92 * 1650))  # without the colour bar
    places = (columns - 0.215 * 1650) / (0.71 * 1650)
    assert ((places < 0.27) | (places > 0.73)).all()
    assert (places < 0.25).sum() > 200
    assert (places > 0.75).sum() > 200


def test_the_page_has_the_gap_too(tmp_path: Path) -> None:
    import json

    data = json.loads(island(series_of(tmp_path / "t.csv", [1, 2, 3, 11, 12])))
    assert unpacked(data["frame"]).tolist() == list(range(1, 13))
    assert unpacked(data["success"]).round(3).tolist() == [1] * 3 + [0] * 7 + [1] * 2
    assert np.isnan(unpacked(data["aus"][0]["mean"])).sum() == 7
