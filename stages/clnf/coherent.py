"""The face of a stream as OpenFace follows it, without the looks for faces that would find nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf.face_model import FaceModel
from auflow.stages.clnf.fitter import FitOutcome
from auflow.stages.clnf.tracker import Detect, FaceTracker, TrackResult, widest
from auflow.stages.faces import box_around
from auflow.stages.state import field
from auflow.stages.tracking.carrier import FaceCarrier
from auflow.stages.tracking.demand import LookDemand
from auflow.stages.tracking.scene import SceneWatch

__all__ = ["CoherentTracker"]

Floats = NDArray[np.float32]


class CoherentTracker(FaceTracker):
    """Follows one face; bit by bit OpenFace's logic as long as looks for the face find it.

    Where a look has found no face, or starts are refused again and again, the next look waits (`LookDemand`), longer
    where the picture shows nothing new. Meanwhile the box of the lost face is carried by optical flow, and the face is
    started there when OpenFace would look for it. A face that was never found, or was given up, is looked for likewise.

    Parameters
    ----------
    model : of faces
    detect_every : frames from one look that is not urgent to the next, from 1
    """

    def __init__(self, model: FaceModel, detect_every: int) -> None:
        self._demand = LookDemand(detect_every)
        self._scene = SceneWatch()
        self._carrier = FaceCarrier()
        super().__init__(model)

    def reset(self) -> None:
        """Forget the stream."""
        super().reset()
        self._demand.reset()
        self._scene.reset()
        self._carrier.forget()
        self._width_px = 0.0  # of the face when it was last accepted
        self._seen = False  # by a look, and never out of sight since, to looks or to the flow: else it may be the wall

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        own = self._demand.snapshot() | self._scene.snapshot() | self._carrier.snapshot()
        return super().snapshot() | own | {"width_px": np.array(self._width_px), "seen": np.array(self._seen)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        super().restore(arrays)
        self._demand.restore(arrays)
        self._scene.restore(arrays)
        self._carrier.restore(arrays)
        self._width_px = float(field(arrays, "width_px", np.float64, ()))
        self._seen = bool(field(arrays, "seen", np.bool_, ()))

    def process(self, gray: Floats, detect: Detect) -> TrackResult:
        """Next frame: gray (h, w) float32; `detect` gives the boxes (k, 5) of this very frame when it is called.

        The picture must stay as it is until the next frame has been processed.
        """
        self._demand.next_frame()
        first = not self._initialised
        if self._initialised:
            self._track(gray)
        else:
            self.state = replace(self.state, outcome=FitOutcome())  # of an earlier frame: this one has no fit
        result = self._given_up() if self._initialised and self.state.success else self._sought(gray, detect, first)
        if result.state.success:
            self._demand.followed()
            box = box_around(result.state.landmarks_px)
            self._width_px = float(box[2])
            if self._seen:
                self._carrier.hold(gray, box)
        return result

    def _sought(self, gray: Floats, detect: Detect, first: bool) -> TrackResult:
        """The face was not found where it was, or there is none."""
        carried = self._carrier.carry(gray)
        if not self._due():
            return self._given_up()
        if self._demand.is_worth_it(lambda: self._scene.change(gray, face_px=self._width_px)):
            box = widest(detect())
            self._scene.looked(gray)
            self._demand.looked(found=box is not None)
            self._seen = box is not None or carried is not None
            if box is not None:
                self._initialised = True
                result = self._restart(gray, box, first)
                self._demand.started(accepted=result.state.success)
                return result
        if carried is not None:
            self.try_at(gray, carried)
        return self._given_up()
