"""The whole stage: the demo clip against the C++ program's CSV, starts and steps against its traces."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.stages.clnf import ClnfStage
from auflow.stages.clnf.face_model import FaceState
from auflow.stages.clnf.tracker import FaceTracker
from auflow.stages.detect import MtcnnDetector
from auflow.stages.records import FaceFit, Frame


def f32(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def distances(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each point, px."""
    return np.hypot(*(found - f32(wanted)).reshape(2, -1))


def demo_frames(folder: Path, count: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(folder / "astronaut.mp4"))
    for index in range(1, count + 1):
        there, picture = capture.read()
        assert there
        yield Frame(index, (index - 1) / 30, picture)
    capture.release()


@pytest.fixture(scope="module")
def stage(models_dir: Path) -> ClnfStage:
    return ClnfStage(models_dir)


@pytest.fixture(scope="module")
def demo_fits(stage: ClnfStage, models_dir: Path, demo_dir: Path) -> tuple[list[FaceFit], list[int]]:
    """Fits of the demo clip's first 40 frames, and the frames that were searched."""
    detector = MtcnnDetector(models_dir)
    searched, fits = [], []
    stage.reset()
    for frame in demo_frames(demo_dir, 40):

        def detect(frame: Frame = frame) -> np.ndarray:
            searched.append(frame.index)
            return detector.detect(frame.bgr)

        fits += stage.process(frame, detect)
    return fits, searched


@pytest.fixture(scope="module")
def demo_rows(demo_dir: Path) -> list[dict[str, str]]:
    with (demo_dir / "full.csv").open(newline="") as lines:
        return list(csv.DictReader(lines, skipinitialspace=True))[:40]


def columns(row: dict[str, str], *names: str) -> np.ndarray:
    return np.array([float(row[name]) for name in names])


def test_the_demo_clip_has_the_landmarks_of_the_reference(demo_fits, demo_rows):
    fits, searched = demo_fits
    assert searched == [1]
    assert [fit.index for fit in fits] == list(range(1, 41))
    assert all(fit.success and fit.accepted for fit in fits)
    assert all(row["success"] == "1" for row in demo_rows)
    names = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    away = np.concatenate(
        [distances(fit.landmarks_px, columns(row, *names)) for fit, row in zip(fits, demo_rows, strict=True)]
    )
    # The product's promise; measured 0.008, 0.035 and 0.09 (99 %), as the C++ program built with other flags has them.
    assert np.percentile(away, 50) <= 0.1
    assert np.percentile(away, 90) <= 0.5
    assert np.percentile(away, 99) <= 1.0


def test_the_demo_clip_has_the_pose_and_confidence_of_the_reference(demo_fits, demo_rows):
    space = [f"{axis}_{i}" for axis in "XYZ" for i in range(68)]
    same = 0
    for fit, row in zip(demo_fits[0], demo_rows, strict=True):
        same += abs(fit.confidence - float(row["confidence"])) < 1e-5
        # 1 mm of depth in 500 is 0.2 % of the scale; measured: 0.12 mm, 0.001 rad, 0.02 mm
        assert np.abs(fit.pose[:3] - columns(row, "pose_Tx", "pose_Ty", "pose_Tz")).max() <= 1
        assert np.abs(fit.pose[3:] - columns(row, "pose_Rx", "pose_Ry", "pose_Rz")).max() <= 0.01
        assert np.median(np.abs(fit.landmarks_mm - columns(row, *space))) <= 0.2
    assert same >= 36  # one of 30 bins: between two nearly equal ones 0.001 px decide (measured: 39)


def test_the_records_have_the_declared_types(demo_fits):
    for fit in demo_fits[0][:2]:
        arrays = (fit.params_global, fit.params_local, fit.landmarks_px, fit.landmarks_mm, fit.pose)
        assert [(a.shape, a.dtype) for a in arrays] == [
            ((6,), np.float32), ((34,), np.float32), ((136,), np.float32), ((204,), np.float32), ((6,), np.float64),
        ]  # fmt: skip
        assert isinstance(fit.success, bool)
        assert isinstance(fit.accepted, bool)
    assert demo_fits[0][1].timestamp_s == pytest.approx(1 / 30)


def test_a_second_stream_after_reset_gets_the_same_fits(stage, models_dir, demo_fits, demo_dir):
    fits, _ = demo_fits
    boxes = MtcnnDetector(models_dir).detect(next(demo_frames(demo_dir, 1)).bgr)
    stage.reset()
    for frame, before in zip(demo_frames(demo_dir, 3), fits, strict=False):
        (fit,) = stage.process(frame, lambda: boxes)
        assert np.array_equal(fit.landmarks_px, before.landmarks_px)
        assert np.array_equal(fit.params_local, before.params_local)
        assert np.array_equal(fit.pose, before.pose)


def test_a_read_only_picture_is_fitted_and_left_alone(stage, demo_dir, demo_fits):
    frame = next(demo_frames(demo_dir, 1))
    frame.bgr.flags.writeable = False
    before = frame.bgr.copy()
    stage.reset()
    g = demo_fits[0][0].params_global
    box = f32([[g[4] - 80, g[5] - 80, 160, 160, 1]])
    (fit,) = stage.process(frame, lambda: box)
    assert np.isfinite(fit.landmarks_px).all()
    assert np.array_equal(frame.bgr, before)


def test_a_stream_without_a_face(stage):
    stage.reset()
    picture = np.zeros((48, 64, 3), np.uint8)
    for index in range(1, 15):
        (fit,) = stage.process(Frame(index, 0.0, picture), lambda: np.zeros((0, 5), np.float32))
        assert not fit.success
        assert not fit.accepted
        assert fit.confidence == 0
        assert not any(a.any() for a in (fit.landmarks_px, fit.landmarks_mm, fit.pose, fit.params_local))


@pytest.mark.parametrize("box", [(-80, -80, 100, 100), (600, 400, 120, 120), (300, 200, 8, 8), (0, 0, 640, 480)])
def test_a_box_at_the_edge_or_too_small_does_no_harm(stage, box):
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    stage.reset()
    for index in (1, 2):
        (fit,) = stage.process(Frame(index, 0.0, picture), lambda: f32([[*box, 1.0]]))
        assert np.isfinite(fit.landmarks_px).all()
        assert np.isfinite(fit.pose).all()
        assert 0 <= fit.confidence <= 1


@pytest.mark.golden
@pytest.mark.parametrize(
    ("clip", "number"),
    [("default", 1), ("2015-10-15-15-14", 1), *[("multi_face_single", number) for number in (1, 13, 578, 580)]],
)
def test_golden_hypotheses(trace, gray_frames, face_model, clip, number):
    """The 11 starts of a search: where each ends, how likely, how certain, and which one wins."""
    events = trace(clip)
    _, gray = next(gray_frames(clip, {number}))
    starts = [event for event in events.hyp_start if event["frame"] == number]
    ends = [event for event in events.hyp if event["frame"] == number]
    assert len(starts) == len(ends) == 11
    likelihoods, gaps, certain = [], [], 0
    for start, end in zip(starts, ends, strict=True):
        state = face_model.fit(gray, f32(start["params_global"]), np.zeros(34, np.float32), tracking=False)
        likelihoods.append(state.likelihood)
        points = face_model.pdm.landmarks_px(f32(end["params_global"]), f32(end["params_local"]))
        gaps.append(np.median(distances(state.landmarks_px, points)))
        certain += abs(state.confidence - end["certainty"]) < 1e-6
    wanted = np.array([end["lhood"] for end in ends])
    best = int(np.argmax(wanted))
    assert int(np.argmax(likelihoods)) == best
    # Three scales of two optimisations of five steps amplify every flip on the 0.1-px grid: measured over the 66
    # starts 0.03 px and 0.0015 at most, nearly all of them the same path with gaps of 0.001 px.
    away = np.abs(likelihoods - wanted)
    assert np.median(away) <= 5e-4
    assert away[best] <= 5e-3
    assert np.median(gaps) <= 0.02
    assert gaps[best] <= 0.1
    assert max(gaps) <= 1
    assert certain >= 10


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "2015-10-15-15-14"])
def test_golden_tracking_steps(trace, gray_frames, face_model, clip):
    """One tracking step from the C++ program's state of the frame before, 60 times, so that nothing accumulates."""
    events = trace(clip)
    medians, tops, likelihoods = [], [], []
    parts: list[float] = []
    for number, gray in gray_frames(clip, set(range(2, 62))):
        last, frame = events.frames[number - 1], events.frames[number]
        state = face_model.fit(gray, f32(last["params_global"]), f32(last["params_local"]), tracking=True)
        away = distances(state.landmarks_px, frame["landmarks"])
        medians.append(np.median(away))
        tops.append(away.max())
        parts += [distances(part.landmarks_px, frame[part.name]["landmarks"]).max() for part in state.parts]
        likelihoods.append(abs(state.likelihood - frame["lhood"]))
        assert state.success
        assert state.confidence == pytest.approx(frame["certainty"], abs=1e-6)
    assert len(medians) == 60
    # Half of the steps take the same path over the 0.1-px grid; in the others a cell flips.
    assert np.median(medians) <= 0.002
    assert np.percentile(medians, 90) <= 0.01
    assert np.median(tops) <= 0.01
    assert np.percentile(tops, 90) <= 0.06
    assert max(tops) <= 0.4
    assert np.median(parts) <= 0.01
    assert np.percentile(parts, 90) <= 0.12
    assert max(likelihoods) <= 2e-3


@pytest.mark.golden
def test_golden_loss_and_new_starts(trace, gray_frames, face_model):
    """Real pictures about the new starts of multi_face, each from the C++ program's state of the frame before.

    Left to itself the clip is a matter of luck: certainties of 0.717 and 0.75 stand about the limit of 0.725, and the
    C++ program compiled with other flags searches three times instead of four. Frames 580 and 581 are left out:
    there 0.001 px decide between the two bins. What is searched and kept in them, `test_golden_decisions` tells.
    """
    events = trace("multi_face_single")
    detected = []
    wanted = {*range(1, 16), 576, 577, 578, 579, 582, 583}
    tracker = FaceTracker(face_model)
    for number, gray in gray_frames("multi_face_single", wanted):
        last, frame = events.frames.get(number - 1), events.frames[number]
        if last is not None:
            enter(tracker, last, failures=0 if number == 579 else -1)
        box = [[e["x"], e["y"], e["width"], e["height"], e["conf"]] for e in events.det if e["frame"] == number]

        def detect(box: list[Any] = box, number: int = number) -> np.ndarray:
            detected.append(number)
            return f32(box)

        result = tracker.process(gray, detect)
        assert result.success == bool(frame["success"]), number
        assert result.state.confidence == pytest.approx(frame["certainty"], abs=1e-6), number
        assert np.median(distances(result.state.landmarks_px, frame["landmarks"])) <= 0.05, number
    assert detected == [1, 13, 578]


def enter(tracker: FaceTracker, frame: dict[str, Any], failures: int) -> None:
    """Put the tracker where the C++ program was after a frame."""
    tracker._initialised = True
    tracker.failures = failures
    tracker.state = FaceState(
        f32(frame["params_global"]), f32(frame["params_local"]), f32(frame["landmarks"]),
        confidence=frame["certainty"], success=bool(frame["success"]),
    )  # fmt: skip
