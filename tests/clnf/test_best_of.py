"""The choice among several starts: the likeliest fit, bit by bit the same as that start fitted by itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.stages.clnf.face_model import FaceModel, FaceState, likeliest
from auflow.stages.clnf.fitter import FitOutcome
from auflow.stages.clnf.tracker import HYPOTHESES_RAD, widest
from auflow.stages.detect import MtcnnDetector


def bits(value: Any) -> Any:
    """Everything of a fit, arrays as bytes."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, tuple):
        return tuple(bits(entry) for entry in value)
    return value


def everything(state: FaceState) -> Any:
    return bits(dataclasses.astuple(state))


@pytest.fixture(scope="module")
def scene(models_dir, demo_dir, face_model: FaceModel) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture of the demo clip (h, w) float32, and the eleven starts in its widest box."""
    capture = cv2.VideoCapture(str(demo_dir / "astronaut.mp4"))
    _, bgr = capture.read()
    capture.release()
    box = widest(MtcnnDetector(models_dir).detect(bgr))
    assert box is not None
    gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return gray, [face_model.pdm.params_from_box(box, rotation) for rotation in HYPOTHESES_RAD]


@pytest.mark.parametrize("shown", ["the face", "a blank wall", "a corner of the face"])
def test_the_winner_is_that_start_fitted_by_itself(scene, face_model, shown):
    gray, starts = scene
    if shown == "a blank wall":
        gray = np.full_like(gray, 90)
    elif shown == "a corner of the face":
        starts = [start + np.float32([0, 0, 0, 0, -40, 60]) for start in starts]
    local = np.zeros(face_model.pdm.mode_count, np.float32)
    alone = [face_model.fit(gray, start, local, tracking=False) for start in starts]
    wanted = max(alone, key=lambda state: state.likelihood)
    assert everything(face_model.best_of(gray, starts)) == everything(wanted)


def test_a_face_too_small_to_follow_is_not_validated(scene, face_model):
    gray, starts = scene
    small = [start * np.float32([0.05, 1, 1, 1, 1, 1]) for start in starts]
    state = face_model.best_of(gray, small)
    assert (state.outcome.ok, state.success, state.confidence) == (False, False, 0.0)


def test_only_the_winner_is_validated_and_has_its_parts_fitted(scene, face_model, monkeypatch):
    gray, starts = scene
    calls = {"validated": 0, "parts": 0}

    def counted(name: str, plain: Any) -> Any:
        def call(*args: Any) -> Any:
            calls[name] += 1
            return plain(*args)

        return call

    monkeypatch.setattr(face_model.validator, "check", counted("validated", face_model.validator.check))
    for part in face_model.parts:
        monkeypatch.setattr(part, "fit", counted("parts", part.fit))
    state = face_model.best_of(gray, starts)
    assert calls == {"validated": 1, "parts": len(face_model.parts)}
    # The winner's own work: two optimisations for each scale of the face, the inner face and both eyes.
    assert state.outcome.optimisations == 2 * (3 + 1 + 2 + 2)


@pytest.mark.parametrize(
    ("likelihoods", "winner"), [([-3, -1, -2], 1), ([-1, -1, -1], 0), ([-2, -1, -1], 1), ([-5], 0)]
)
def test_of_equals_the_first(likelihoods, winner):
    states = [FaceState(likelihood=value, outcome=FitOutcome(view=k)) for k, value in enumerate(likelihoods)]
    assert likeliest(iter(states)).outcome.view == winner
