"""Several faces followed as OpenFace does, with less looking for more of them and more care for those that are lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf.face_model import FaceModel, FitStart
from auflow.stages.clnf.multi import DROPPED_AFTER, FACES, same_face
from auflow.stages.clnf.snapshot import gathered, part_of
from auflow.stages.clnf.tracker import Detect, FaceTracker, TrackResult
from auflow.stages.faces import box_around, distance, overlap
from auflow.stages.state import field
from auflow.stages.tracking.carrier import FaceCarrier
from auflow.stages.tracking.demand import SearchDemand
from auflow.stages.tracking.scene import SceneWatch

__all__ = ["CoherentMultiTracker"]

Floats = NDArray[np.float32]

_DOUBLED_ABOVE = 0.5  # common share of two trackers' boxes from which on they follow the same face
_NEAR = 1.0  # of its width: so far from where it was lost a face is still the same
_MAY_BE = 4.0


class _Place:
    """Room for one face: who follows it, and what is known for the case that it is lost."""

    def __init__(self, model: FaceModel) -> None:
        self.tracker = FaceTracker(model)
        self.carrier = FaceCarrier()
        self.number = -1  # of the face that is followed; -1: none
        self.own_box = np.zeros(4, np.float32)  # where it was last without another tracker on the same face

    @property
    def is_free(self) -> bool:
        return self.number < 0

    @property
    def has_failed(self) -> bool:
        """In the frame at hand."""
        return not self.is_free and self.tracker.failures >= 0

    def free(self) -> None:
        """Follow nothing."""
        self.number = -1
        self.own_box = np.zeros(4, np.float32)
        self.tracker.reset()
        self.carrier.forget()

    def follow(self, gray: Floats) -> TrackResult:
        """The next frame; a face that is not where it was is tried where the flow has carried it."""
        result = self.tracker.follow(gray)
        if not result.success and (carried := self.carrier.carry(gray)) is not None:
            result = self.tracker.try_at(gray, carried)
        return self._held(gray, result)

    def start(self, gray: Floats, box: Floats) -> TrackResult:
        """The frame at hand, anew at box [x, y, w, h]."""
        failures = self.tracker.failures
        self.own_box = box.copy()
        result = self.tracker.follow(gray, box)
        if not result.success:
            self.tracker.failures = max(failures, self.tracker.failures)  # a start that fails earns no more time
        return self._held(gray, result)

    def _held(self, gray: Floats, result: TrackResult) -> TrackResult:
        if result.success:
            self.carrier.hold(gray, box_around(result.state.landmarks_px))
        return result

    def snapshot(self) -> dict[str, NDArray[Any]]:
        own = {"number": np.array(self.number), "own_box": self.own_box}
        return own | self.tracker.snapshot() | self.carrier.snapshot()

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.number = int(field(arrays, "number", np.int64, ()))
        self.own_box = field(arrays, "own_box", np.float32, (4,))
        self.tracker.restore(arrays)
        self.carrier.restore(arrays)


class CoherentMultiTracker:
    """Follows up to four faces. Each new face has a number of its own, which is never given again.

    A face that stays is fitted as in OpenFace's logic (`MultiTracker`), and given up after as many failures. Different
    are: a face that fails is tried once where optical flow has carried its box, and started anew when it is found near
    by; faces are looked for by `SearchDemand`; of two trackers that have come to follow the same face the one that was
    there before stays.

    Parameters
    ----------
    model : of faces
    detect_every : least frames from one look for faces to the next, from 1
    """

    def __init__(self, model: FaceModel, detect_every: int) -> None:
        self._model = model
        self._places = [_Place(model) for _ in range(FACES)]
        self._demand = SearchDemand(detect_every)
        self._scene = SceneWatch()
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._next_number = 0
        self.forget_faces()

    def forget_faces(self) -> None:
        """Look for all faces anew: the pictures have another size from now on."""
        for place in self._places:
            place.free()
        self._demand.reset()
        self._scene.reset()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        places = gathered({str(number): place.snapshot() for number, place in enumerate(self._places)})
        own = {"next_number": np.array(self._next_number)}
        return own | self._demand.snapshot() | self._scene.snapshot() | places

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`; StateError where it is of other settings."""
        self._next_number = int(field(arrays, "next_number", np.int64, ()))
        self._demand.restore(arrays)
        self._scene.restore(arrays)
        for number, place in enumerate(self._places):
            place.restore(part_of(arrays, str(number)))

    def ahead(self, gray: Floats) -> list[FitStart]:
        """The fits that the next frame asks for in any case."""
        return [start for place in self._places if not place.is_free for start in place.tracker.ahead(gray)]

    def process(self, gray: Floats, detect: Detect) -> list[tuple[int, TrackResult]]:
        """(number, result) of every face that is followed: gray (h, w) float32, boxes (k, 5) from `detect`.

        The picture must stay as it is until the next frame has been processed.
        """
        self._demand.next_frame()
        self._model.fit_ahead(self.ahead(gray))
        results = {place.number: place.follow(gray) for place in self._places if not place.is_free}
        for box in self._new_boxes(gray, detect):
            place = self._place_for(box)
            if place is not None:
                results[place.number] = place.start(gray, box)
        self._free_doubled()
        followed = [(place.number, results[place.number]) for place in self._places if not place.is_free]
        for place in self._places:
            if place.tracker.failures > DROPPED_AFTER:
                place.free()
        return sorted(followed, key=lambda one: one[0])

    def _new_boxes(self, gray: Floats, detect: Detect) -> list[Floats]:
        """Boxes [x, y, w, h] of faces that nobody follows, where it is time to look for some."""
        followed = [place for place in self._places if not place.is_free and not place.has_failed]
        if len(followed) == FACES:
            return []
        if any(place.has_failed for place in self._places):
            self._demand.lost()
            self._scene.lost()
        known = [box_around(place.tracker.state.landmarks_px) for place in followed]
        if not self._demand.is_due(lambda: self._scene.change(gray, known), alone=not followed):
            return []
        boxes = [box[:4] for box in detect() if not any(same_face(place.tracker.state, box) for place in followed)]
        self._scene.looked(gray, known)
        self._demand.looked(found=len(boxes) > 0)
        return boxes

    def _place_for(self, box: Floats) -> _Place | None:
        """That of the face that was lost nearest to the box, a free one, or none."""
        lost = sorted((p for p in self._places if p.has_failed), key=lambda p: distance(p.own_box, box))
        if lost and distance(lost[0].own_box, box) <= _NEAR:
            return lost[0]
        if lost and distance(lost[0].own_box, box) <= _MAY_BE:
            lost[0].free()  # it is hardly there any more, and may well be this one
        place = next((place for place in self._places if place.is_free), None)
        if place is not None:
            place.number, self._next_number = self._next_number, self._next_number + 1
        return place

    def _free_doubled(self) -> None:
        """Trackers that have come upon a face that another one follows follow nothing from now on."""
        followed = [place for place in self._places if not place.is_free]
        boxes = [box_around(place.tracker.state.landmarks_px) for place in followed]
        gone: set[int] = set()
        for place, box in zip(followed, boxes, strict=True):

            def was_here(other: _Place, box: Floats = box) -> tuple[float, int]:
                return overlap(other.own_box, box), -other.number

            there = [other for other, its in zip(followed, boxes, strict=True) if overlap(its, box) > _DOUBLED_ABOVE]
            if len(there) > 1 and max(there, key=was_here) is not place:
                gone.add(place.number)
            elif len(there) == 1 and not place.has_failed:
                place.own_box = box
        for place in followed:
            if place.number in gone:
                place.free()
