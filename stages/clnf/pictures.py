"""Pictures that stand for themselves: every face of each is fitted from its own box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf.face_model import FaceModel, FitStart
from auflow.stages.clnf.tracker import Detect, TrackResult, best_start
from auflow.stages.state import field

__all__ = ["PictureFitter"]

Floats = NDArray[np.float32]


class PictureFitter:
    """Fits all faces of a picture, as OpenFace's FaceLandmarkImg does: upright heads, or with `turned` 11 rotations.

    `boxes`, (k, 5) float32, are taken instead of detection when they are set.
    """

    def __init__(self, model: FaceModel, *, turned: bool) -> None:
        self._model = model
        self._turned = turned
        self.boxes: Floats | None = None

    def reset(self) -> None:
        """Forget the boxes; of pictures there is nothing to forget."""
        self.boxes = None

    def forget_faces(self) -> None:
        """The pictures have another size from now on: without meaning here."""

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next pictures depend on: the boxes that were given."""
        return {} if self.boxes is None else {"boxes": self.boxes}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`; StateError where it is of other settings."""
        self.boxes = field(arrays, "boxes", np.float32, (None, 5)) if "boxes" in arrays else None

    def process(self, gray: Floats, detect: Detect) -> list[tuple[int, TrackResult]]:
        """(number, result) of every box: gray (h, w) float32, boxes (k, 5) from `detect`."""
        boxes = detect() if self.boxes is None else self.boxes
        if self._turned:
            states = [best_start(self._model, gray, box[:4]) for box in boxes]
        else:
            starts = [self._upright(gray, box[:4]) for box in boxes]
            self._model.fit_ahead(starts)
            states = [self._model.fit(gray, s.params_global, s.params_local, tracking=False) for s in starts]
        return [(number, TrackResult(state, state.success)) for number, state in enumerate(states)]

    def ahead(self, gray: Floats) -> list[FitStart]:
        """The fits that the next picture asks for in any case: none, for its faces must be found first."""
        return []

    def _upright(self, gray: Floats, box: Floats) -> FitStart:
        pdm = self._model.pdm
        start = pdm.params_from_box(box, np.zeros(3, np.float32))
        return FitStart(gray, start, np.zeros(pdm.mode_count, np.float32), False)
