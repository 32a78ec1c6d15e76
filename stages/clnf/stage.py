"""The CLNF stage: pictures in, fitted faces out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.models.clnf import load_clnf_models
from auflow.stages.clnf.camera import Camera, head_pose, landmarks_in_space
from auflow.stages.clnf.face_model import FaceModel, FaceState
from auflow.stages.clnf.tracker import FaceTracker
from auflow.stages.records import FaceFit, Frame

__all__ = ["ClnfStage", "warm_up"]


class ClnfStage:
    """Follows the widest face of one stream at a time."""

    def __init__(self, models_root: Path) -> None:
        self._model = FaceModel(load_clnf_models(models_root))
        self._tracker = FaceTracker(self._model)

    def reset(self) -> None:
        """Forget the stream before the next one."""
        self._tracker.reset()

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> FaceFit:
        """Fit the face of the next frame; `detect` is called only when the tracker needs this frame's boxes."""
        gray = cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
        result = self._tracker.process(gray, detect)
        return self._record(frame, result.state, result.success)

    def _record(self, frame: Frame, state: FaceState, success: bool) -> FaceFit:
        height, width = frame.bgr.shape[:2]
        camera = Camera.guess(width, height)
        seen = bool(state.landmarks_px.any())  # a face that was never found has no place in space
        where = (self._model.pdm, state.params_global, state.params_local, state.landmarks_px, camera)
        return FaceFit(
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            face_id=0,
            success=success,
            accepted=state.success,
            confidence=state.confidence,
            params_global=state.params_global,
            params_local=state.params_local,
            landmarks_px=state.landmarks_px,
            landmarks_mm=landmarks_in_space(*where) if seen else np.zeros(204, np.float32),
            pose=head_pose(*where) if seen else np.zeros(6),
        )


def warm_up(models_root: Path) -> None:
    """Compile (or load from the cache) every kernel with production types: one start and one tracked frame."""
    stage = ClnfStage(models_root)
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    box = np.array([[100, 60, 120, 120, 1]], np.float32)
    for index in (1, 2):
        stage.process(Frame(index, 0.0, picture), lambda: box)
