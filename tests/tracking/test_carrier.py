"""A box carried by optical flow: drawn faces that move, grow, vanish, and are covered."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from auflow.stages.state import StateError
from auflow.stages.tracking.carrier import FaceCarrier

BOX = np.array([120, 80, 80, 90], np.float32)


def texture(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 6 + 2, width // 6 + 2)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def scene(dx: float = 0.0, dy: float = 0.0, growth: float = 1.0) -> np.ndarray:
    """A face of 80 x 90 pixels before a wall, gray (240, 320) float32."""
    picture = texture(1, 240, 320)
    matrix = np.array([[growth, 0, BOX[0] + dx], [0, growth, BOX[1] + dy]])
    face = cv2.warpAffine(texture(2, 90, 80), matrix, (320, 240), flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(np.ones((90, 80), np.float32), matrix, (320, 240))
    return np.where(mask > 0.5, face, picture).astype(np.float32)


@pytest.fixture
def carrier() -> FaceCarrier:
    held = FaceCarrier()
    held.hold(scene(), BOX)
    return held


def test_without_a_box_there_is_nothing_to_carry() -> None:
    assert FaceCarrier().carry(scene()) is None


def test_a_box_moves_with_its_face(carrier: FaceCarrier) -> None:
    moved = carrier.carry(scene(9, -5))
    assert moved == pytest.approx(BOX + np.array([9, -5, 0, 0]), abs=1.0)
    assert moved.dtype == np.float32


def test_a_box_grows_with_its_face(carrier: FaceCarrier) -> None:
    moved = carrier.carry(scene(-4, -4.5, 1.1))
    assert moved[2:] == pytest.approx(BOX[2:] * 1.1, rel=0.02)


def test_it_goes_on_from_picture_to_picture(carrier: FaceCarrier) -> None:
    for step in range(1, 13):
        moved = carrier.carry(scene(5 * step, 2 * step))
    assert moved == pytest.approx(BOX + np.array([60, 24, 0, 0]), abs=2.5)


def test_a_face_that_is_gone_is_not_carried_with_the_wall(carrier: FaceCarrier) -> None:
    assert carrier.carry(texture(1, 240, 320)) is None
    assert carrier.carry(scene()) is None  # lost is lost


def test_what_no_longer_looks_like_the_face_is_given_up(carrier: FaceCarrier) -> None:
    """Slowly faded into another picture, each step small enough for the flow."""
    other = texture(5, 240, 320)
    answers = [
        carrier.carry((1 - share) * scene() + share * other) for share in np.linspace(0.0, 1.0, 21, dtype=np.float32)
    ]
    assert answers[0] is not None
    assert answers[-1] is None


def test_a_face_that_leaves_the_picture_is_given_up(carrier: FaceCarrier) -> None:
    answers = [carrier.carry(scene(8.0 * step)) for step in range(1, 26)]
    assert answers[5] is not None
    assert answers[-1] is None


def test_flat_pictures_say_nothing(carrier: FaceCarrier) -> None:
    assert carrier.carry(np.full((240, 320), 90, np.float32)) is None


@pytest.mark.parametrize("box", [(-30, -20, 60, 60), (310, 230, 40, 40), (0, 0, 320, 240), (5, 5, 1, 1)])
def test_boxes_at_the_border_do_no_harm(box: tuple[float, ...]) -> None:
    carrier = FaceCarrier()
    carrier.hold(scene(), np.array(box, np.float32))
    moved = carrier.carry(scene(1, 1))
    assert moved is None or np.isfinite(moved).all()


def test_it_goes_on_from_a_state_bit_by_bit(carrier: FaceCarrier) -> None:
    for step in range(4):
        other = FaceCarrier()
        other.restore(carrier.snapshot())
        ours, theirs = carrier.carry(scene(4 * step, step)), other.carry(scene(4 * step, step))
        assert ours.tobytes() == theirs.tobytes()
    nothing = FaceCarrier()
    nothing.restore(FaceCarrier().snapshot())
    assert nothing.carry(scene()) is None
    with pytest.raises(StateError, match="carried_view"):
        nothing.restore({"carried_box": BOX})
