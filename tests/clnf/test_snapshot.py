"""A stage gone on from its snapshot, several in one process, and pictures that change their size: bit for bit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.stages.clnf import ClnfStage
from auflow.stages.detect import MtcnnDetector
from auflow.stages.records import FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.state import StateError, pack_state

Pictures = list[np.ndarray]
Fits = list[tuple[FaceFit, ...]]


@pytest.fixture(scope="module")
def pictures(demo_dir: Path) -> Pictures:
    """A face, 14 pictures without one (it is lost, looked for, found again), a face; small for the sake of time."""
    capture = cv2.VideoCapture(str(demo_dir / "astronaut.mp4"))
    shown = [capture.read()[1] for _ in range(26)]
    capture.release()
    return [*shown[:6], *[np.full_like(shown[0], 90)] * 14, *shown[6:]]


@pytest.fixture(scope="module")
def detect(models_dir: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The real detector, which remembers what it saw."""
    detector = MtcnnDetector(models_dir)
    known: dict[bytes, np.ndarray] = {}

    def boxes(bgr: np.ndarray) -> np.ndarray:
        key = bgr.tobytes()
        if key not in known:
            known[key] = detector.detect(bgr)
        return known[key].copy()

    return boxes


@pytest.fixture(scope="module")
def step(detect) -> Callable[..., tuple[FaceFit, ...]]:
    """`step(stage, number, picture)`: the fits of one frame."""
    return lambda stage, number, picture: stage.process(Frame(number, number / 30, picture), lambda: detect(picture))


def same(ours: Fits, theirs: Fits) -> bool:
    def values(fit: FaceFit) -> list[object]:
        found = [getattr(fit, field.name) for field in dataclasses.fields(fit)]
        return [value.tobytes() if isinstance(value, np.ndarray) else value for value in found]

    return [[values(fit) for fit in frame] for frame in ours] == [[values(fit) for fit in frame] for frame in theirs]


SETTINGS = [
    StageSettings(),
    StageSettings(faces="all"),
    StageSettings(faces="pictures"),
    StageSettings(wild=True, clnf_iterations=3, clnf_tolerance_px=0.1),
    StageSettings(tracking="coherent"),
    StageSettings(tracking="coherent", faces="all", detect_every=2),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["widest", "all", "pictures", "wild", "coherent", "coherent-all"])
def test_a_fresh_stage_goes_on_after_every_frame(models_dir: Path, pictures: Pictures, step, settings) -> None:
    if settings.faces == "pictures":
        pictures = pictures[4:8]
    whole = ClnfStage(models_dir, settings)
    expected = [step(whole, number, picture) for number, picture in enumerate(pictures, start=1)]
    blob = ClnfStage(models_dir, settings).snapshot()
    found = []
    for number, picture in enumerate(pictures, start=1):
        stage = ClnfStage(models_dir, settings)
        stage.restore(blob)
        found.append(step(stage, number, picture))
        blob = stage.snapshot()
        assert len(blob) < 30_000
    assert same(found, expected)
    assert blob == whole.snapshot()
    success = [any(fit.success for fit in frame) for frame in expected]
    assert success[0]
    assert success[-1] == (settings.faces != "pictures")
    assert not all(success)


def test_a_face_that_was_given_up(models_dir: Path, pictures: Pictures, step) -> None:
    """More than a hundred failures: the tracker is as before its first face, but reports the last one."""
    blank = np.full_like(pictures[0], 90)
    clip = [*pictures[:2], *[blank] * 106, *pictures[2:5]]
    stage = ClnfStage(models_dir)
    expected = []
    blobs = {}
    for number, picture in enumerate(clip, start=1):
        if number in (104, 107, 108):
            blobs[number] = stage.snapshot()
        expected.append(step(stage, number, picture))
    for first, blob in blobs.items():
        stage.restore(blob)
        found = [step(stage, number, picture) for number, picture in enumerate(clip[first - 1 :], start=first)]
        assert same(found, expected[first - 1 :])


@pytest.mark.parametrize("settings", SETTINGS[:2], ids=["widest", "all"])
def test_two_streams_in_turn_are_as_each_alone(models_dir: Path, pictures: Pictures, step, settings) -> None:
    clips = [pictures, [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures[3:]]]

    def alone(clip: Pictures) -> Fits:
        stage = ClnfStage(models_dir, settings)
        return [step(stage, number, picture) for number, picture in enumerate(clip, start=1)]

    expected = [alone(clip) for clip in clips]
    stages = [ClnfStage(models_dir, settings) for _ in clips]
    found: list[Fits] = [[], []]
    for number in range(1, len(clips[0]) + 1):
        for stage, clip, fits in zip(stages, clips, found, strict=True):
            if number <= len(clip):
                fits.append(step(stage, number, clip[number - 1]))
    assert stages[0]._model is stages[1]._model
    assert same(found[0], expected[0])
    assert same(found[1], expected[1])


def test_models_are_shared_where_their_settings_are_the_same(models_dir: Path) -> None:
    first = ClnfStage(models_dir)
    assert ClnfStage(models_dir, StageSettings(faces="all", hog=True, camera=(1, 1, 1, 1)))._model is first._model
    assert ClnfStage(models_dir, StageSettings(clnf_iterations=2))._model is not first._model
    assert ClnfStage(models_dir, StageSettings(wild=True))._model is not first._model


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_has_the_model_that_was_loaded_before_it(models_dir: Path, pictures: Pictures, step) -> None:
    stage = ClnfStage(models_dir)
    expected = step(stage, 1, pictures[0])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            other = ClnfStage(models_dir)
            code = 0 if other._model is stage._model and same([step(other, 1, pictures[0])], [expected]) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    stage.reset()
    assert same([step(stage, 1, pictures[0])], [expected])


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=["widest", "all", "pictures"])
def test_another_size_in_the_middle_is_a_new_beginning(models_dir: Path, pictures: Pictures, step, settings) -> None:
    small = [np.ascontiguousarray(picture[::2, ::2]) for picture in pictures[20:23]]
    stage = ClnfStage(models_dir, settings)
    for number, picture in enumerate(pictures[:3], start=1):
        step(stage, number, picture)
    blob = stage.snapshot()
    changed = [step(stage, number, picture) for number, picture in enumerate(small, start=4)]
    fresh = ClnfStage(models_dir, settings)
    assert same(changed, [step(fresh, number, picture) for number, picture in enumerate(small, start=4)])
    assert any(fit.success for fit in changed[0])
    # It is noticed after a restart, too, and back again.
    other = ClnfStage(models_dir, settings)
    other.restore(blob)
    assert same(changed, [step(other, number, picture) for number, picture in enumerate(small, start=4)])
    assert step(other, 7, pictures[3])[0].success


def test_reset_forgets_the_size_too(models_dir: Path, pictures: Pictures, tmp_path: Path, step) -> None:
    """Boxes that were given for the next stream are not lost to the size of the one before."""
    (tmp_path / "face.txt").write_text("200 60 420 330\n")
    stage = ClnfStage(models_dir, StageSettings(faces="pictures", boxes_dir=str(tmp_path)))
    info = SourceInfo("face.jpg", "images", 64, 64, 0.0, 1)
    for size in (1, 2):
        stage.reset(info)
        picture = np.ascontiguousarray(pictures[0][::size])
        found = stage.process(Frame(1, 0.0, picture), lambda: pytest.fail("the box was given"))
        assert len(found) == 1
    again = ClnfStage(models_dir, StageSettings(faces="pictures", boxes_dir=str(tmp_path)))
    again.restore(stage.snapshot())
    assert same([again.process(Frame(1, 0.0, picture), lambda: pytest.fail("the box was given"))], [found])


def test_states_of_others_are_refused_and_leave_the_stage_new(models_dir: Path, pictures: Pictures, step) -> None:
    first = step(ClnfStage(models_dir), 1, pictures[0])
    stage, several = ClnfStage(models_dir), ClnfStage(models_dir, StageSettings(faces="all"))
    step(stage, 1, pictures[0])
    blob = stage.snapshot()
    wrong = [
        (several.snapshot(), "expected clnf.clnf.widest of version 2, got clnf.clnf.all"),
        (blob[:-1], "check sum"),
        (pack_state("clnf.clnf.widest", 2, {"size": np.zeros(2, np.int64)}), "expected an array tracking"),
        (pack_state("clnf.clnf.widest", 2, {"tracking": np.zeros(3, np.int64)}), "expected an array judged"),
    ]
    for damaged, said in wrong:
        step(stage, 2, pictures[1])
        with pytest.raises(StateError, match=said):
            stage.restore(damaged)
        assert same([step(stage, 1, pictures[0])], [first])
