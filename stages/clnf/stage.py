"""The CLNF stage: pictures in, fitted faces out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.models.clnf import load_clnf_models
from auflow.stages.clnf.camera import Camera, head_pose, landmarks_in_space, rotation_matrix
from auflow.stages.clnf.face_model import FaceModel, FaceState
from auflow.stages.clnf.gaze import eye_gaze, gaze_angles
from auflow.stages.clnf.multi import MultiTracker, SingleTracker
from auflow.stages.clnf.pictures import PictureFitter
from auflow.stages.clnf.tracker import FaceTracker
from auflow.stages.decode.boxes import read_boxes
from auflow.stages.records import FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings

__all__ = ["ClnfStage", "warm_up"]

EYE_CORNERS = {"left_eye_28": (36, 39), "right_eye_28": (42, 45)}  # part -> its corners on the face


class ClnfStage:
    """Fits the faces of one stream at a time: the widest one, several, or those of each picture by itself."""

    def __init__(self, models_root: Path, settings: StageSettings | None = None) -> None:
        self._settings = settings or StageSettings()
        self._model = _face_model(models_root, self._settings)
        self._tracker = _tracker(self._model, self._settings)

    def reset(self, info: SourceInfo | None = None) -> None:
        """Forget the stream before the next one, which `info` is of."""
        self._tracker.reset()
        if isinstance(self._tracker, PictureFitter) and self._settings.boxes_dir and info is not None:
            self._tracker.boxes = read_boxes(Path(self._settings.boxes_dir), Path(info.path))

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        """Fit the faces of the next frame; `detect` is called only when the tracker needs this frame's boxes."""
        gray = cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
        found = self._tracker.process(gray, detect)
        return tuple(self._record(frame, number, result.state, result.success) for number, result in found)

    def _record(self, frame: Frame, number: int, state: FaceState, success: bool) -> FaceFit:
        fit = FaceFit(
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            face_id=number,
            success=success,
            accepted=state.success,
            confidence=state.confidence,
            params_global=state.params_global,
            params_local=state.params_local,
            landmarks_px=state.landmarks_px,
            landmarks_mm=np.zeros(204, np.float32),
            pose=np.zeros(6),
        )
        if not state.landmarks_px.any():  # a face that was never found has no place in space
            return fit
        height, width = frame.bgr.shape[:2]
        given = self._settings.camera
        return self._place(fit, state, Camera(*given) if given else Camera.guess(width, height))

    def _place(self, fit: FaceFit, state: FaceState, camera: Camera) -> FaceFit:
        """The fit with what the camera model adds: 3-D landmarks, pose, gaze."""
        where = (self._model.pdm, state.params_global, state.params_local, state.landmarks_px, camera)
        face_mm, pose = landmarks_in_space(*where), head_pose(*where)
        eyes = [
            (part, landmarks_in_space(fitter.pdm, part.params_global, part.params_local, part.landmarks_px, camera))
            for fitter, part in zip(self._model.parts, state.parts, strict=True)
            if part.name in EYE_CORNERS
        ]
        gaze = np.zeros(8)
        if fit.success:
            head = rotation_matrix(pose[3:])
            corners = face_mm.reshape(3, -1)
            first, second = (eye_gaze(mm, corners[:, EYE_CORNERS[part.name]], head) for part, mm in eyes)
            gaze = np.concatenate([first, second, gaze_angles(first, second)])
        return replace(
            fit,
            landmarks_mm=face_mm,
            pose=pose,
            gaze=gaze,
            eyes_px=_side_by_side([part.landmarks_px for part, _ in eyes], 2),
            eyes_mm=_side_by_side([mm for _, mm in eyes], 3),
        )


def _face_model(models_root: Path, settings: StageSettings) -> FaceModel:
    if settings.model == "ceclm":
        # 430 MB of experts are mapped, and their module loaded, only here.
        from auflow.models.ceclm import load_ceclm_models
        from auflow.stages.clnf.ceclm import CeclmFaceModel

        return CeclmFaceModel(load_ceclm_models(models_root))
    return FaceModel(load_clnf_models(models_root), wild=settings.wild)


def _tracker(model: FaceModel, settings: StageSettings) -> MultiTracker | PictureFitter | SingleTracker:
    if settings.faces == "all":
        return MultiTracker(model)
    if settings.faces == "pictures":
        return PictureFitter(model, turned=settings.wild)
    return SingleTracker(FaceTracker(model))


def _side_by_side(shapes: list[NDArray[np.float32]], axes: int) -> NDArray[np.float32]:
    """Planar shapes joined to one planar shape."""
    return np.concatenate([shape.reshape(axes, -1) for shape in shapes], axis=1).reshape(-1)


def warm_up(models_root: Path) -> None:
    """Compile (or load from the cache) every kernel with production types: one wide fit and one narrow one."""
    stage = ClnfStage(models_root, StageSettings(faces="all"))
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    box = np.array([[100, 60, 120, 120, 1]], np.float32)
    for index in (1, 2):
        stage.process(Frame(index, 0.0, picture), lambda: box)
