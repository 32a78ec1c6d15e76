"""The figures of a report, and the sentences about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.plots.series import Series, read_series
from auflow.tests.plots.kit import write_table
from auflow.video_report.summary import Summary, notes_on, summarise


def series_of(tmp_path: Path, fps: float = 25.0, **columns: object) -> Series:
    return read_series(write_table(tmp_path / "t.csv", fps, **columns))  # type: ignore[arg-type]


def test_figures_count_the_frames_with_a_face(tmp_path: Path) -> None:
    series = series_of(
        tmp_path,
        success=[1, 1, 0, 1],
        confidence=[1.0, 0.5, 0.0, 0.9],
        AU01_r=[1.0, 3.0, 5.0, 2.0],
        AU01_c=[1, 0, 1, 1],
        AU28_c=[0, 0, 0, 1],
        pose_Rx=[0.0, 0.6, 2.0, -0.6],
        pose_Ry=[0.0] * 4,
        pose_Rz=[0.0] * 4,
    )
    found = summarise(series)
    assert (found.frames, found.tracked) == (4, 3)
    assert found.duration_s == pytest.approx(0.16)
    assert found.fps == pytest.approx(25.0)
    assert found.confidence == pytest.approx(0.8)
    assert found.low == pytest.approx(1 / 3)
    assert found.far == pytest.approx(2 / 3)
    assert found.neutral == pytest.approx(1 / 3)
    inner, suck = found.aus["AU01"], found.aus["AU28"]
    assert (inner.mean, inner.largest, inner.at_frame, inner.present) == (2.0, 3.0, 2, pytest.approx(2 / 3))
    assert (suck.mean, suck.largest, suck.at_frame, suck.present) == (None, None, None, pytest.approx(1 / 3))


def test_without_any_face_there_are_no_means(tmp_path: Path) -> None:
    found = summarise(series_of(tmp_path, success=[0, 0], AU01_r=[1.0, 2.0], AU01_c=[1, 1]))
    assert (found.tracked, found.confidence, found.far, found.neutral) == (0, None, None, None)
    assert found.aus["AU01"].mean is None
    assert notes_on(found, static=False, faces=1) == ["No face was tracked in any frame: there are no values to use."]


def test_a_table_without_time(tmp_path: Path) -> None:
    found = summarise(series_of(tmp_path, timestamp=[0.0, 0.0], AU01_r=[1.0, 2.0]))
    assert (found.duration_s, found.fps) == (None, None)


def summary(**changes: object) -> Summary:
    good: dict[str, object] = {
        "frames": 1000,
        "tracked": 1000,
        "duration_s": 40.0,
        "fps": 25.0,
        "confidence": 0.95,
        "low": 0.0,
        "far": 0.0,
        "neutral": 0.5,
        "aus": {},
    }
    return Summary(**(good | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"tracked": 900}, ["No face was tracked in 10.0%"]),
        ({"low": 0.2}, ["sit badly"]),
        ({"far": 0.2}, ["turned by more than 30°"]),
        ({"duration_s": 5.0}, ["The video is short"]),
        ({"tracked": 100, "frames": 100}, ["The video is short"]),
        ({"neutral": 0.0}, ["hardly a frame without any Action Unit"]),
        ({"low": 0.2, "far": 0.2, "tracked": 500}, ["No face", "sit badly", "turned by"]),
        ({"low": None, "far": None, "neutral": None, "duration_s": None}, []),
    ],
)
def test_what_a_reader_should_know(changes: dict[str, object], said: list[str]) -> None:
    notes = notes_on(summary(**changes), static=False, faces=1)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True)), notes


def test_static_models_need_no_baseline_and_other_faces_are_told() -> None:
    notes = notes_on(summary(duration_s=2.0, neutral=0.0), static=True, faces=3)
    assert notes == ["The table has 3 faces; this page is about one of them."]
    assert np.all([notes_on(summary(neutral=0.0), static=known, faces=1) for known in (False, None)])
