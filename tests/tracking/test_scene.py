"""What has changed since the last look for faces: drawn scenes."""

from __future__ import annotations

import numpy as np
import pytest

from auflow.stages.state import StateError
from auflow.stages.tracking.scene import Change, SceneWatch


def room(seed: int = 0) -> np.ndarray:
    """A textured wall, gray (240, 320) float32."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(60, 180, (30, 40)), np.ones((8, 8))).astype(np.float32)


def with_patch(picture: np.ndarray, left: int, top: int, size: int, by: float = 60.0) -> np.ndarray:
    changed = picture.copy()
    changed[top : top + size, left : left + size] += by
    return changed


@pytest.fixture
def watch() -> SceneWatch:
    seen = SceneWatch()
    seen.looked(room())
    return seen


def test_what_was_never_looked_at_is_new() -> None:
    assert SceneWatch().change(room()) is Change.FACE


def test_noise_is_nothing_new(watch: SceneWatch) -> None:
    noisy = np.clip(room() + np.random.default_rng(1).normal(0, 12, (240, 320)), 0, 255).astype(np.float32)
    assert watch.change(noisy) is Change.NONE


def test_the_smallest_face_that_can_be_found_is_noticed_wherever_it_appears(watch: SceneWatch) -> None:
    for left in range(0, 261, 7):
        assert watch.change(with_patch(room(), left, left // 2, 60)) is Change.FACE


def test_little_things_are_something_but_no_face(watch: SceneWatch) -> None:
    assert watch.change(with_patch(room(), 100, 100, 10)) is Change.SOME


def test_a_large_face_does_not_come_as_a_small_change(watch: SceneWatch) -> None:
    picture = with_patch(room(), 64, 64, 48)
    assert watch.change(picture) is Change.FACE
    assert watch.change(picture, face_px=160.0) is Change.SOME
    assert watch.change(with_patch(room(), 64, 64, 90), face_px=160.0) is Change.FACE


def test_faces_that_are_followed_may_move(watch: SceneWatch) -> None:
    face = np.array([96, 96, 60, 60], np.float32)
    picture = with_patch(room(), 100, 90, 60)
    assert watch.change(picture, [face]) is Change.NONE
    assert watch.change(with_patch(picture, 240, 20, 60), [face]) is Change.FACE


def test_where_a_face_was_at_the_last_look_is_nothing_new_when_it_has_gone() -> None:
    watch = SceneWatch()
    watch.looked(with_patch(room(), 100, 90, 60), [np.array([100, 90, 60, 60], np.float32)])
    assert watch.change(room()) is Change.NONE


def test_but_where_it_was_lost_counts() -> None:
    watch = SceneWatch()
    watch.looked(with_patch(room(), 100, 90, 60), [np.array([100, 90, 60, 60], np.float32)])
    watch.lost()
    assert watch.change(room()) is Change.FACE


def test_a_face_that_reaches_out_of_the_picture_hides_nothing_else(watch: SceneWatch) -> None:
    face = np.array([-300, -300, 100, 100], np.float32)
    assert watch.change(with_patch(room(), 200, 100, 60), [face]) is Change.FACE


def test_another_size_is_new(watch: SceneWatch) -> None:
    assert watch.change(np.zeros((480, 640), np.float32)) is Change.FACE


def test_a_tiny_picture_has_one_cell() -> None:
    watch = SceneWatch()
    watch.looked(np.zeros((5, 7), np.float32))
    assert watch.change(np.zeros((5, 7), np.float32)) is Change.NONE


def test_state(watch: SceneWatch) -> None:
    other = SceneWatch()
    other.restore(watch.snapshot())
    assert other.change(room()) is Change.NONE
    with pytest.raises(StateError, match="scene_seen"):
        other.restore({})
