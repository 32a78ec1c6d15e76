"""Pictures that stand for themselves: every face of each is fitted from its own box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.stages.clnf.face_model import FaceModel
from auflow.stages.clnf.tracker import Detect, TrackResult, best_start

__all__ = ["PictureFitter", "read_boxes"]

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

    def process(self, gray: Floats, detect: Detect) -> list[tuple[int, TrackResult]]:
        """(number, result) of every box: gray (h, w) float32, boxes (k, 5) from `detect`."""
        boxes = detect() if self.boxes is None else self.boxes
        return [(number, self._fit(gray, box[:4])) for number, box in enumerate(boxes)]

    def _fit(self, gray: Floats, box: Floats) -> TrackResult:
        if self._turned:
            state = best_start(self._model, gray, box)
        else:
            pdm = self._model.pdm
            start = pdm.params_from_box(box, np.zeros(3, np.float32))
            state = self._model.fit(gray, start, np.zeros(pdm.mode_count, np.float32), tracking=False)
        return TrackResult(state, state.success)


def read_boxes(folder: Path, picture: Path) -> Floats:
    """The boxes [x, y, w, h, 1] (k, 5) of NAME.jpg from NAME.txt in the folder: lines of min x, min y, max x, max y.

    Raises
    ------
    InputError
        There is no such file, or it holds something else.
    """
    path = folder / f"{picture.stem}.txt"
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the boxes of {picture.name}, one a line: {error}") from error
    if any(len(row) != 4 or row[2] <= row[0] or row[3] <= row[1] for row in rows):
        raise InputError(f"{path}: expected lines of four numbers: min x, min y, max x, max y in pixels")
    corners = np.array(rows, np.float32).reshape(-1, 4)
    sizes = corners[:, 2:] - corners[:, :2]
    return np.concatenate([corners[:, :2], sizes, np.ones((len(corners), 1), np.float32)], axis=1)
