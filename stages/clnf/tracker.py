"""OpenFace's video logic: track while the fit holds, detect and start anew with 11 head rotations when it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf.face_model import FaceModel, FaceState, FitStart
from auflow.stages.clnf.fitter import FitOutcome
from auflow.stages.clnf.snapshot import pack_face, unpack_face
from auflow.stages.state import field

__all__ = ["FaceTracker", "TrackResult", "best_start", "widest"]

Floats = NDArray[np.float32]
Detect = Callable[[], Floats]

HYPOTHESES_RAD = np.array(
    [
        [0, 0, 0],
        [0, -0.5236, 0],
        [0, 0.5236, 0],
        [0, -0.96, 0],
        [0, 0.96, 0],
        [0, 0, 0.5236],
        [0, 0, -0.5236],
        [0, -1.57, 0],
        [0, 1.57, 0],
        [0, -1.22, 0.698],
        [0, 1.22, -0.698],
    ],
    np.float32,
)
_RETRY_TRACKED = 2  # a lost face is looked for in every second frame ...
_RETRY_UNSEEN = 12  # ... and, where none was ever found, in every twelfth
_GIVE_UP_AFTER = 100


def widest(boxes: Floats) -> Floats | None:
    """The widest of boxes (k, 5) as [x, y, w, h], or None where there is none."""
    return None if len(boxes) == 0 else boxes[int(boxes[:, 2].argmax()), :4]


@dataclass(frozen=True, slots=True)
class TrackResult:
    """The face after one frame. `success` is what the CSV says; AUs are only taken where `state.success` holds too.

    The two differ in one case: the very first fit of a face counts as a success whatever the validator says.
    """

    state: FaceState
    success: bool


def best_start(model: FaceModel, gray: Floats, box: Floats) -> FaceState:
    """The best fit of the 11 head rotations in box [x, y, w, h], as the model judges."""
    return model.best_of(gray, (model.pdm.params_from_box(box, rotation) for rotation in HYPOTHESES_RAD))


class FaceTracker:
    """Follows one face through one stream."""

    def __init__(self, model: FaceModel) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self.state = FaceState()
        self.failures = -1  # in a row; -1 after a success
        self.starts = 0  # at boxes that were found: after each it may be another face
        self._initialised = False

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        tracking = np.array([self.failures, self._initialised, self.starts], np.int64)
        return {**pack_face(self.state), "tracking": tracking}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        failures, initialised, starts = field(arrays, "tracking", np.int64, (3,)).tolist()
        self.state = unpack_face(arrays, self._model)
        self.failures, self._initialised, self.starts = failures, bool(initialised), starts

    def process(self, gray: Floats, detect: Detect) -> TrackResult:
        """Next frame: gray (h, w) float32; `detect` gives the boxes (k, 5) of this very frame when it is called."""
        first = not self._initialised
        if self._initialised:
            self._track(gray)
        else:
            self.state = replace(self.state, outcome=FitOutcome())  # of an earlier frame: this one has no fit
        if self._due():
            box = widest(detect())
            if box is not None:
                self._initialised = True
                return self._restart(gray, box, first)
        return self._given_up()

    def ahead(self, gray: Floats) -> list[FitStart]:
        """The fits that the next frame asks for in any case: gray (h, w) float32."""
        return [self._start(gray)] if self._initialised else []

    def start_at(self, box: Floats) -> None:
        """Begin anew in box [x, y, w, h] with an upright head; the next is `follow`."""
        self.reset()
        self._initialised = True
        self.state.params_global = self._model.pdm.params_from_box(box, np.zeros(3, np.float32))

    def follow(self, gray: Floats, box: Floats | None = None) -> TrackResult:
        """Next frame without any detection; `box` [x, y, w, h] starts anew there with an upright head."""
        if box is not None:
            self.start_at(box)
        self._track(gray)
        return self._given_up()

    def try_at(self, gray: Floats, box: Floats) -> TrackResult:
        """The frame at hand once more, at box [x, y, w, h] with the head as it is thought to be and upright.

        What was known stays where the validator refuses both.
        """
        pdm = self._model.pdm
        rotations = (self.state.params_global[1:4], np.zeros(3, np.float32))
        found = self._model.best_of(gray, (pdm.params_from_box(box, rotation) for rotation in rotations))
        if found.success:
            self.state = found
            self.failures = -1
            self._initialised = True
        return TrackResult(self.state, self.state.success)

    def _track(self, gray: Floats) -> None:
        start = self._start(gray)
        self.state = self._model.fit(gray, start.params_global, start.params_local, tracking=start.tracking)
        self.failures = -1 if self.state.success else self.failures + 1

    def _start(self, gray: Floats) -> FitStart:
        return FitStart(gray, self.state.params_global, self.state.params_local, self.state.success)

    def _given_up(self) -> TrackResult:
        if not self._initialised:
            self.failures += 1
        if self.failures > _GIVE_UP_AFTER:
            self._initialised = False
        return TrackResult(self.state, self.state.success)

    def _due(self) -> bool:
        if not self._initialised:
            return (self.failures + 1) % _RETRY_UNSEEN == 0
        return not self.state.success and self.failures % _RETRY_TRACKED == 0

    def _restart(self, gray: Floats, box: Floats, first: bool) -> TrackResult:
        found = best_start(self._model, gray, box)
        if first or found.success:
            self.starts += 1
            self.state = found
            self.failures = -1
            return TrackResult(found, True)
        # The earlier estimate goes on; only the confidence in it is the new start's.
        self.state = replace(self.state, confidence=found.confidence, success=False)
        return TrackResult(self.state, False)
