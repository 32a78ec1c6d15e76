"""Faces that have not changed: when a descriptor is kept, and when it is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from auflow.stages.au import AuStage
from auflow.stages.au import reuse as reuse_module
from auflow.stages.au.described import Described
from auflow.stages.au.reuse import Reuse
from auflow.stages.records import AuFrame, Frame
from auflow.stages.settings import StageSettings
from auflow.stages.state import StateError

COHERENT = StageSettings(tracking="coherent")
SIZE = 160
MATRIX = np.array([[1, 0, -20], [0, 1, -20]], np.float32)  # the face is the picture's middle, as it stands
INSIDE = np.zeros((112, 112), np.bool_)
INSIDE[20:92, 20:92] = True


def picture() -> np.ndarray:
    return np.random.default_rng(4).integers(60, 180, (SIZE, SIZE, 3), np.uint8)


def described(bgr: np.ndarray) -> Described:
    face = bgr[20:132, 20:132].copy()
    face[~INSIDE] = 0
    return Described(np.zeros(4702), face, np.zeros(35))


def changed(bgr: np.ndarray, x: int, y: int, by: int) -> np.ndarray:
    """With one channel of one pixel changed."""
    other = bgr.copy()
    other[y, x, 1] += by
    return other


@pytest.fixture
def reuse() -> Reuse:
    held = Reuse(5.0)
    held.keep(0, picture(), described(picture()), MATRIX, INSIDE)
    return held


def test_the_same_picture_is_unchanged(reuse: Reuse) -> None:
    known = reuse.unchanged(0, picture())
    assert known is not None
    assert known.reused


def test_of_another_tracker_nothing_is_known(reuse: Reuse) -> None:
    assert reuse.unchanged(1, picture()) is None


@pytest.mark.parametrize(("by", "holds"), [(12, True), (13, False)])  # 5 % of 255 are 12.75
@pytest.mark.parametrize("place", [(40, 40), (76, 81), (111, 111)])
def test_the_largest_change_of_any_channel_of_any_pixel_counts(
    reuse: Reuse, place: tuple[int, int], by: int, holds: bool
) -> None:
    assert (reuse.unchanged(0, changed(picture(), *place, by)) is not None) is holds


@pytest.mark.parametrize("place", [(10, 10), (30, 30), (125, 60)])
def test_what_is_outside_the_face_does_not(reuse: Reuse, place: tuple[int, int]) -> None:
    assert reuse.unchanged(0, changed(picture(), *place, 70)) is not None


def test_once_in_a_row_at_most(reuse: Reuse) -> None:
    answers = [reuse.unchanged(0, picture()) is not None for _ in range(3)]
    assert answers == [True, False, False]
    reuse.keep(0, picture(), described(picture()), MATRIX, INSIDE)
    assert reuse.unchanged(0, picture()) is not None


def test_the_face_before_last_counts_not_the_last(reuse: Reuse, monkeypatch) -> None:
    """Small changes add up: all are measured from the face that was computed."""
    monkeypatch.setattr(reuse_module, "_MOST_IN_A_ROW", 2)
    step = picture() + np.uint8(7)
    assert reuse.unchanged(0, step) is not None
    assert reuse.unchanged(0, step + np.uint8(7)) is None


def test_another_size_is_a_change(reuse: Reuse) -> None:
    assert reuse.unchanged(0, picture()[:-1]) is None


def test_a_tracker_that_lost_its_face_is_forgotten(reuse: Reuse) -> None:
    reuse.only([1])
    assert reuse.unchanged(0, picture()) is None


def test_restless_faces_are_compared_now_and_then() -> None:
    reuse, kept = Reuse(5.0), []
    for number in range(160):
        bgr = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        assert reuse.unchanged(0, bgr) is None
        reuse.keep(0, bgr, described(bgr), MATRIX, INSIDE)
        kept.append(0 in reuse._anchors)
    assert all(kept[:16])
    assert 10 <= sum(kept[17:64]) <= 13
    assert 10 <= sum(kept[66:]) <= 13
    still = [
        reuse.unchanged(0, bgr) is not None or reuse.keep(0, bgr, described(bgr), MATRIX, INSIDE) for _ in range(12)
    ]
    assert any(still)


def test_states(reuse: Reuse) -> None:
    reuse.unchanged(0, picture())
    arrays = reuse.snapshot()
    other = Reuse(5.0)
    other.restore(arrays)
    assert other.unchanged(0, picture()) is None  # it was kept once already
    arrays["0/counts"][2] = 0
    other.restore(arrays)
    assert other.unchanged(0, picture()) is not None
    for place in (-1, SIZE * SIZE):
        damaged = {name: array.copy() for name, array in arrays.items()}
        damaged["0/places"][0] = place
        with pytest.raises(StateError, match="pixels of a picture"):
            other.restore(damaged)
    for name in arrays:
        with pytest.raises(StateError, match=name):
            other.restore({known: array for known, array in arrays.items() if known != name})


def values(stage: AuStage, pictures: list[np.ndarray], points: list[np.ndarray], fit_of) -> list[AuFrame]:
    frames = enumerate(zip(pictures, points, strict=True), start=1)
    return [stage.process(Frame(i, 0.0, bgr), fit_of(i, landmarks)) for i, (bgr, landmarks) in frames]


def test_repeated_pictures_are_not_described_again(models_dir, demo, fit_of) -> None:
    pictures = [demo[0][k // 4] for k in range(24)]
    points = [demo[1].landmarks[k // 4] for k in range(24)]
    stage, exact = AuStage(models_dir, COHERENT), AuStage(models_dir)
    ours, theirs = values(stage, pictures, points, fit_of), values(exact, pictures, points, fit_of)
    assert [au.reused for au in ours] == [k % 2 == 1 for k in range(24)]
    assert not any(au.reused for au in theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.intensities.tobytes() == b.intensities.tobytes()
    assert stage.finish().intensities.tobytes() == exact.finish().intensities.tobytes()


@pytest.mark.parametrize(
    "settings", [StageSettings(), dataclasses.replace(COHERENT, reuse_below_percent=0.0)], ids=["openface", "0 %"]
)
def test_it_can_be_off(models_dir, demo, fit_of, settings) -> None:
    stage = AuStage(models_dir, settings)
    assert not any(au.reused for au in values(stage, [demo[0][0]] * 4, [demo[1].landmarks[0]] * 4, fit_of))


def test_descriptor_and_picture_that_are_written_are_the_kept_ones(models_dir, demo, fit_of) -> None:
    stage = AuStage(models_dir, dataclasses.replace(COHERENT, hog=True, aligned=True))
    first, second = values(stage, [demo[0][0]] * 2, [demo[1].landmarks[0], demo[1].landmarks[0] + 0.2], fit_of)
    assert second.reused
    assert second.hog.tobytes() == first.hog.tobytes()
    assert second.aligned.tobytes() == first.aligned.tobytes()
    assert first.aligned.any()
