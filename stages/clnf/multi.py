"""One face or several of one stream; new trackers start where a detection overlaps no face that is followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf.face_model import FaceModel, FaceState, FitStart
from auflow.stages.clnf.snapshot import gathered, part_of
from auflow.stages.clnf.tracker import Detect, FaceTracker, TrackResult
from auflow.stages.state import field

__all__ = ["DROPPED_AFTER", "FACES", "MultiTracker", "SingleTracker", "same_face"]

Floats = NDArray[np.float32]

FACES = 4
_DETECT_EVERY = 8
DROPPED_AFTER = 4  # failures in a row
_TAKEN_ABOVE = 0.5


class SingleTracker:
    """Follows the widest face of a stream: `FaceTracker` in the form of the others.

    Parameters
    ----------
    tracker : of the face
    count_starts : number the face by its starts, for whoever wants to know whether it may be another; else 0
    """

    def __init__(self, tracker: FaceTracker, *, count_starts: bool = False) -> None:
        self._tracker = tracker
        self._count_starts = count_starts

    def reset(self) -> None:
        """Forget the stream."""
        self._tracker.reset()

    def forget_faces(self) -> None:
        """Look for the face anew: the pictures have another size from now on."""
        self._tracker.reset()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        return self._tracker.snapshot()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`; StateError where it is of other settings."""
        self._tracker.restore(arrays)

    def ahead(self, gray: Floats) -> list[FitStart]:
        """The fits that the next frame asks for in any case."""
        return self._tracker.ahead(gray)

    def process(self, gray: Floats, detect: Detect) -> list[tuple[int, TrackResult]]:
        """(number, result) of the one face: gray (h, w) float32, boxes (k, 5) from `detect`."""
        result = self._tracker.process(gray, detect)
        return [(max(0, self._tracker.starts - 1) if self._count_starts else 0, result)]


class MultiTracker:
    """Follows several faces, as OpenFace's FaceLandmarkVidMulti does."""

    def __init__(self, model: FaceModel) -> None:
        self._model = model
        self._trackers = [FaceTracker(model) for _ in range(FACES)]
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        for tracker in self._trackers:
            tracker.reset()
        self._active = [False] * FACES
        self._frames = 0

    def forget_faces(self) -> None:
        """Look for all faces anew: the pictures have another size from now on."""
        self.reset()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        own = {"active": np.array(self._active), "frames": np.array(self._frames)}
        return {**own, **gathered({str(number): t.snapshot() for number, t in enumerate(self._trackers)})}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`; StateError where it is of other settings."""
        self._active = field(arrays, "active", np.bool_, (FACES,)).tolist()
        self._frames = int(field(arrays, "frames", np.int64, ()))
        for number, tracker in enumerate(self._trackers):
            tracker.restore(part_of(arrays, str(number)))

    def ahead(self, gray: Floats) -> list[FitStart]:
        """The fits that the next frame asks for in any case."""
        followed = zip(self._trackers, self._active, strict=True)
        return [s for t, active in followed if active and t.failures <= DROPPED_AFTER for s in t.ahead(gray)]

    def process(self, gray: Floats, detect: Detect) -> list[tuple[int, TrackResult]]:
        """(face id, result) of every face that is followed: gray (h, w) float32, boxes (k, 5) from `detect`."""
        boxes = np.zeros((0, 5), np.float32)
        if self._frames % _DETECT_EVERY == 0 and not all(self._active):
            boxes = detect()
        self._frames += 1
        free = iter([box[:4] for box in boxes if not any(same_face(t.state, box) for t in self._trackers)])
        for number, tracker in enumerate(self._trackers):
            if tracker.failures > DROPPED_AFTER:
                self._active[number] = False
                tracker.reset()
            if not self._active[number] and (box := next(free, None)) is not None:
                self._active[number] = True
                tracker.start_at(box)
        self._model.fit_ahead(self.ahead(gray))
        return [(number, t.follow(gray)) for number, t in enumerate(self._trackers) if self._active[number]]


def same_face(state: FaceState, box: Floats) -> bool:
    """Whether box [x, y, w, h, ...] covers the face: overlap above half of what only one of them covers."""
    x, y = state.landmarks_px.reshape(2, -1)
    left, top, width, height = (float(v) for v in box[:4])
    face_width, face_height = float(x.max() - x.min()), float(y.max() - y.min())
    across = min(float(x.max()), left + width) - max(float(x.min()), left)
    down = min(float(y.max()), top + height) - max(float(y.min()), top)
    both = max(0.0, across) * max(0.0, down)
    only_one = face_width * face_height + width * height - 2 * both
    return both > _TAKEN_ABOVE * only_one
