"""Which frames a report shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auflow.plots.series import Series, read_series
from auflow.tests.plots.kit import write_table
from auflow.video_report.worst import jumps, lost_stretches, worst_frames

GRID = np.stack(np.meshgrid(np.linspace(0, 100, 17), np.linspace(0, 100, 4)), axis=-1).reshape(68, 2)


def series(tmp_path: Path, confidence: np.ndarray, success: np.ndarray | None = None) -> Series:
    """A face of 100 x 100 px that stands still."""
    columns = {"confidence": confidence, "AU01_r": np.zeros(len(confidence))}
    columns |= {} if success is None else {"success": success}
    points = np.tile(GRID, (len(confidence), 1, 1))
    return replace(read_series(write_table(tmp_path / "t.csv", **columns)), landmarks_px=points)


def test_the_lowest_confidence_first_and_of_neighbours_only_the_worst(tmp_path: Path) -> None:
    confidence = np.ones(200)
    confidence[[50, 51, 52]] = 0.5, 0.2, 0.4
    confidence[120] = 0.3
    found = worst_frames(series(tmp_path, confidence), 2)
    assert [frame.frame for frame in found[:2]] == [52, 121]
    assert found[0].why == "confidence 0.20"
    assert found[0].time_s == pytest.approx(51 / 25)
    assert found[0].landmarks_px is not None


def test_where_all_frames_are_alike_none_is_the_worst(tmp_path: Path) -> None:
    alike = np.full(100, 0.98)
    assert not [frame for frame in worst_frames(series(tmp_path, alike), 3) if frame.why.startswith("confidence")]
    alike[40] = 0.97
    found = [frame for frame in worst_frames(series(tmp_path, alike), 3) if frame.why.startswith("confidence")]
    assert [frame.frame for frame in found] == [41]


def test_frames_without_a_face_are_not_the_worst_but_lost(tmp_path: Path) -> None:
    confidence, success = np.ones(100), np.ones(100)
    confidence[10:20] = success[10:20] = 0
    success[50] = confidence[50] = 0
    data = series(tmp_path, confidence, success)
    assert not {frame.frame for frame in worst_frames(data, 3)} & {*range(11, 21), 51}
    assert [(s.first, s.last, s.rows) for s in lost_stretches(data, 5)] == [(11, 20, 10), (51, 51, 1)]
    assert lost_stretches(data, 1)[0].from_s == pytest.approx(0.4)
    assert lost_stretches(series(tmp_path, np.ones(5)), 5) == []


def test_a_jump_is_measured_by_the_size_of_the_face(tmp_path: Path) -> None:
    data = series(tmp_path, np.ones(60))
    points = data.landmarks_px
    assert points is not None
    points = points.copy()
    points[30:] += (30.0, 40.0)  # 50 px, and stays there
    moved = jumps(replace(data, landmarks_px=points))
    assert moved is not None
    assert moved[30] == pytest.approx(0.5)
    assert np.isnan(moved[0])
    assert np.nanmax(np.delete(moved, 30)) == 0
    larger = jumps(replace(data, landmarks_px=3 * points))
    assert larger is not None
    assert larger[30] == pytest.approx(0.5)
    found = worst_frames(replace(data, landmarks_px=points), 1)
    assert found[-1].frame == 31
    assert "50.0% of the face's size" in found[-1].why


def test_no_jump_over_a_gap(tmp_path: Path) -> None:
    success = np.ones(10)
    success[4] = 0
    data = series(tmp_path, np.ones(10), success)
    points = data.landmarks_px
    assert points is not None
    points = points.copy()
    points[5:] += 50.0
    moved = jumps(replace(data, landmarks_px=points))
    assert moved is not None
    assert np.isnan(moved[[4, 5]]).all()
    assert jumps(replace(data, landmarks_px=None)) is None
