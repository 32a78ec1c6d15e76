"""Several faces: which tracker takes which box, when one is dropped, and the C++ program's own run."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.models.clnf import load_clnf_models
from auflow.stages.clnf.face_model import FaceModel, FaceState
from auflow.stages.clnf.multi import MultiTracker
from auflow.stages.decode import open_source
from auflow.stages.detect import MtcnnDetector

GRAY = np.zeros((480, 640), np.float32)


class ScriptedPdm:
    mode_count = 34

    def params_from_box(self, box, rotation):
        return np.array([1, 0, 0, 0, box[0], box[1]], np.float32)


class ScriptedModel:
    """Every face stays where it was started, 100 px wide; `lost` names the x of those that fail."""

    def __init__(self) -> None:
        self.pdm = ScriptedPdm()
        self.lost: set[float] = set()
        self.fits: list[tuple[float, bool]] = []

    def fit_ahead(self, starts) -> None:
        """Nothing is."""

    def fit(self, gray, params_global, params_local, *, tracking):
        x, y = float(params_global[4]), float(params_global[5])
        self.fits.append((x, tracking))
        grid = np.linspace(0, 100, 68, dtype=np.float32)
        landmarks = np.concatenate([grid + x, grid + y]).astype(np.float32)
        return FaceState(params_global.copy(), params_local.copy(), landmarks, success=x not in self.lost)


def boxes(*corners: tuple[float, float]) -> np.ndarray:
    return np.array([[x, y, 100, 100, 0.99] for x, y in corners], np.float32).reshape(-1, 5)


def test_boxes_are_taken_in_order_and_only_once() -> None:
    tracker = MultiTracker(ScriptedModel())
    found = tracker.process(GRAY, lambda: boxes((0, 0), (200, 0), (400, 0)))
    assert [(number, float(r.state.params_global[4])) for number, r in found] == [(0, 0), (1, 200), (2, 400)]


def test_detection_runs_every_eighth_frame_while_a_tracker_is_free() -> None:
    tracker = MultiTracker(ScriptedModel())
    calls = []
    for frame in range(1, 26):
        tracker.process(GRAY, lambda frame=frame: calls.append(frame) or boxes((0, 0)))
    assert calls == [1, 9, 17, 25]


def test_no_detection_when_all_four_are_busy_and_a_fifth_face_is_left_out() -> None:
    tracker = MultiTracker(ScriptedModel())
    five = boxes(*((130.0 * k, 0.0) for k in range(5)))
    assert len(tracker.process(GRAY, lambda: five)) == 4
    calls = []
    for _ in range(16):
        tracker.process(GRAY, lambda: calls.append(1) or five)
    assert calls == []


def test_a_followed_face_is_not_started_again() -> None:
    model = ScriptedModel()
    tracker = MultiTracker(model)
    for _ in range(9):
        found = tracker.process(GRAY, lambda: boxes((5, 5)))
        assert [number for number, _ in found] == [0]
    assert model.fits[0][1] is False  # started with the wide search
    assert all(tracking for _, tracking in model.fits[1:])


def test_dropped_after_more_than_four_failures_then_free_for_another() -> None:
    model = ScriptedModel()
    tracker = MultiTracker(model)
    model.lost = {0.0}
    counts = [len(tracker.process(GRAY, lambda: boxes((0, 0)))) for _ in range(8)]
    # Six rows: the failures count 0 to 5, and more than 4 of them are seen at the seventh frame.
    assert counts == [1, 1, 1, 1, 1, 1, 0, 0]
    found = tracker.process(GRAY, lambda: boxes((300, 0)))
    assert [(number, float(r.state.params_global[4])) for number, r in found] == [(0, 300)]


@pytest.mark.golden
def test_first_frames_of_multi_face_as_the_cpp_program_has_them(golden: Path, media: Path, models_dir: Path) -> None:
    """The first 60 frames: the same faces in every frame, landmarks within the CSV's one decimal (0.05 px an axis)."""
    with gzip.open(golden / "multi_face_multi" / "std.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file, skipinitialspace=True) if int(row["frame"]) <= 60]
    expected = {(int(row["frame"]), int(row["face_id"])): row for row in rows}
    tracker, detector = MultiTracker(FaceModel(load_clnf_models(models_dir))), MtcnnDetector(models_dir)
    errors, seen, agree = [], set(), []
    with open_source(media / "multi_face.avi") as source:
        bgr = np.empty((480, 640, 3), np.uint8)
        for frame in range(1, 61):
            source.read_into(bgr)
            gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
            for number, result in tracker.process(gray, lambda: detector.detect(bgr)):
                seen.add((frame, number))
                row = expected[frame, number]
                theirs = np.array([float(row[f"{a}_{k}"]) for a in "xy" for k in range(68)])
                errors.append(np.hypot(*(result.state.landmarks_px - theirs).reshape(2, -1)))
                agree.append(result.success == (row["success"] == "1"))
    assert seen == set(expected)
    assert np.median(errors) < 0.06
    assert np.percentile(errors, 90) < 0.1
    assert np.mean(agree) > 0.98
