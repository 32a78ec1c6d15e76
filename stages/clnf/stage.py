"""The CLNF stage: pictures in, fitted faces out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from auflow.backends.load import load_backend
from auflow.backends.names import REFERENCE, BackendName
from auflow.models.clnf import load_clnf_models
from auflow.stages.clnf.camera import Camera, Placement, place_face
from auflow.stages.clnf.face_model import FaceModel, FaceState, FitStart, PartState
from auflow.stages.clnf.gray import to_gray
from auflow.stages.clnf.multi import MultiTracker, SingleTracker
from auflow.stages.clnf.pdm import calc_params
from auflow.stages.clnf.pictures import PictureFitter
from auflow.stages.clnf.tracker import FaceTracker
from auflow.stages.decode.boxes import read_boxes
from auflow.stages.records import FaceFit, Frame, SourceInfo
from auflow.stages.settings import CenPrecision, Model, StageSettings
from auflow.stages.state import field, pack_state, unpack_state

if TYPE_CHECKING:
    from auflow.stages.clnf.coherent_multi import CoherentMultiTracker

__all__ = ["ClnfStage", "fit_together", "warm_up", "warm_up_fit", "warm_up_rest"]

_EYES = ("left_eye_28", "right_eye_28")
_STATE = 2  # version of the state's form
_Tracker: TypeAlias = "MultiTracker | CoherentMultiTracker | PictureFitter | SingleTracker"


class ClnfStage:
    """Fits the faces of one stream at a time: the widest one, several, or those of each picture by itself.

    For several streams at a time there are as many of these, called in turn from one thread: with the same settings
    they share one model, which has its scratch memory with it.
    """

    def __init__(self, models_root: Path, settings: StageSettings | None = None) -> None:
        self._settings = settings or StageSettings()
        self._model = _face_model(models_root, self._settings)
        self._tracker = _tracker(self._model, self._settings)
        names = [part.name for part in self._model.parts]
        self._left, self._right = (names.index(eye) for eye in _EYES)
        self._size = (0, 0)  # of the pictures: height, width; none so far
        # Two, in turn: the picture before is looked at once more where a face has just been lost.
        self._gray = self._gray_before = np.empty(self._size, np.float32)
        self._begun: int | None = None  # the frame that `begin` has taken

    def reset(self, info: SourceInfo | None = None) -> None:
        """Forget the stream before the next one, which `info` is of."""
        self._size = (0, 0)
        self._begun = None
        self._tracker.reset()
        if isinstance(self._tracker, PictureFitter) and self._settings.boxes_dir and info is not None:
            self._tracker.boxes = read_boxes(Path(self._settings.boxes_dir), Path(info.path))

    def snapshot(self) -> bytes:
        """All that the next frames depend on: `restore` in any stage with the same settings goes on from it."""
        return pack_state(self._kind, _STATE, {"size": np.array(self._size), **self._tracker.snapshot()})

    def restore(self, blob: bytes) -> None:
        """Be as the stage was that gave this `snapshot`.

        Raises
        ------
        StateError
            It is damaged, or of other settings; the stage is as after `reset`.
        """
        self.reset()
        try:
            arrays = unpack_state(blob, self._kind, _STATE)
            self._tracker.restore(arrays)
            height, width = field(arrays, "size", np.int64, (2,)).tolist()
            self._size = height, width
        except BaseException:
            self._tracker.reset()
            raise

    @property
    def _kind(self) -> str:
        how = ".coherent" if self._settings.coherent else ""
        return f"clnf.{self._settings.model}.{self._settings.faces}{how}"

    @property
    def gains_by_company(self) -> bool:
        """Whether fits of several streams are cheaper together (`fit_together`)."""
        return self._settings.clnf_backend != REFERENCE["clnf"] and self._settings.model == "clnf"

    def begin(self, frame: Frame) -> list[FitStart]:
        """Take the next frame, which `process` then goes on with: the fits that it will ask for in any case."""
        self._take(frame)
        return self._tracker.ahead(self._gray)

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        """Fit the faces of the next frame; `detect` is called only when the tracker needs this frame's boxes.

        Where the size of the pictures changes, faces are looked for anew.
        """
        if self._begun != frame.index:
            self._take(frame)
        self._begun = None
        found = self._tracker.process(self._gray, detect)
        self._model.forget_ahead(self._gray)
        return tuple(self._record(frame, number, result.state, result.success) for number, result in found)

    def _take(self, frame: Frame) -> None:
        """The frame's picture in gray."""
        self._begun = frame.index
        height, width, _ = frame.bgr.shape
        if self._size != (height, width):
            if any(self._size):
                self._tracker.forget_faces()
            self._size = height, width
        if self._settings.coherent:
            self._gray, self._gray_before = self._gray_before, self._gray
        if self._gray.shape != self._size:
            self._gray = np.empty(self._size, np.float32)
        to_gray(frame.bgr, self._gray)

    def _record(self, frame: Frame, number: int, state: FaceState, success: bool) -> FaceFit:
        # A face that was never found has no place in space.
        placed = self._place(frame, state, success) if state.landmarks_px.any() else Placement.zeros()
        return FaceFit(
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            face_id=number,
            success=success,
            accepted=state.success,
            confidence=state.confidence,
            params_global=state.params_global,
            params_local=state.params_local,
            landmarks_px=state.landmarks_px,
            landmarks_mm=placed.landmarks_mm,
            pose=placed.pose,
            gaze=placed.gaze,
            eyes_px=placed.eyes_px,
            eyes_mm=placed.eyes_mm,
            visible=self._visible(state),
            optimisations=state.outcome.optimisations,
            converged=state.outcome.converged,
            iterations=state.outcome.iterations,
        )

    def _visible(self, state: FaceState) -> NDArray[np.uint8]:
        finest = self._model.main.experts[-1]
        visible: NDArray[np.uint8] = finest.visible[finest.view_index(state.params_global)].view(np.uint8)
        return visible

    def _place(self, frame: Frame, state: FaceState, success: bool) -> Placement:
        """What the camera model adds: 3-D landmarks, pose, gaze."""
        height, width = frame.bgr.shape[:2]
        given = self._settings.camera
        camera = Camera(*given) if given else Camera.guess(width, height)
        face, left, right = (
            (pdm.shape_mm(fit.params_local), fit.params_global, fit.landmarks_px)
            for pdm, fit in (
                (self._model.pdm, state),
                (self._model.parts[self._left].pdm, state.parts[self._left]),
                (self._model.parts[self._right].pdm, state.parts[self._right]),
            )
        )
        return place_face(face, left, right, camera, with_gaze=success)


def _face_model(models_root: Path, settings: StageSettings) -> FaceModel:
    wild = settings.wild and settings.model == "clnf"
    limits = settings.clnf_iterations, settings.clnf_tolerance_px
    precision = settings.cen_precision if settings.model == "ceclm" else "float32"
    return _load(models_root.resolve(), settings.model, wild, limits, settings.clnf_backend, precision)


# A model holds nothing of a stream, so all stages of a process have the same one. What the nursery has loaded is
# found here by its forks.
@lru_cache(maxsize=2)
def _load(
    models_root: Path,
    model: Model,
    wild: bool,
    limits: tuple[int | None, float | None],
    backend_name: BackendName,
    precision: CenPrecision,
) -> FaceModel:
    iterations, tolerance_px = limits
    backend = None if backend_name == REFERENCE["clnf"] else load_backend(backend_name)
    if model == "ceclm":
        # 430 MB of experts are mapped, and their module loaded, only here.
        from auflow.models.ceclm import load_ceclm_models
        from auflow.stages.clnf.ceclm import CeclmFaceModel

        return CeclmFaceModel(
            load_ceclm_models(models_root), iterations=iterations, tolerance_px=tolerance_px,
            cen_precision=precision, backend=backend,
        )  # fmt: skip
    models = load_clnf_models(models_root)
    if backend is None:
        return FaceModel(models, wild=wild, iterations=iterations, tolerance_px=tolerance_px)
    from auflow.stages.clnf.batched_model import BatchedFaceModel

    return BatchedFaceModel(models, backend, wild=wild, iterations=iterations, tolerance_px=tolerance_px)


def _tracker(model: FaceModel, settings: StageSettings) -> _Tracker:
    if settings.faces == "pictures":
        return PictureFitter(model, turned=settings.wild)
    if settings.coherent:
        # They bring OpenCV, which the others do without.
        from auflow.stages.clnf.coherent import CoherentTracker
        from auflow.stages.clnf.coherent_multi import CoherentMultiTracker

        if settings.faces == "all":
            return CoherentMultiTracker(model, settings.detect_every)
        return SingleTracker(CoherentTracker(model, settings.detect_every), count_starts=settings.identities)
    if settings.faces == "all":
        return MultiTracker(model)
    return SingleTracker(FaceTracker(model), count_starts=settings.identities)


def fit_together(work: Sequence[tuple[ClnfStage, Frame]]) -> None:
    """Before `process` is called for these frames, one of each stream: the fits that they ask for, in one go."""
    starts = [(stage, stage.begin(frame)) for stage, frame in work]
    for model in {id(stage._model): stage._model for stage, _ in starts}.values():
        model.fit_ahead([start for stage, own in starts if stage._model is model for start in own])


def warm_up(models_root: Path, model: Model = "clnf") -> None:
    """Compile (or load from the cache) the landmark model's kernels for production types: a wide and a narrow fit."""
    stage = ClnfStage(models_root, StageSettings(faces="all", model=model))
    for index in (1, 2):
        stage.process(Frame(index, 0.0, _noise()), lambda: _BOX[None])


def warm_up_fit(models_root: Path, model: Model) -> None:
    """Of these kernels only those of the fit, which take the longest to compile."""
    gray = np.zeros((240, 320), np.float32)
    to_gray(_noise(), gray)
    for precision in get_args(CenPrecision) if model == "ceclm" else ("float32",):
        face_model = _face_model(models_root, StageSettings(model=model, cen_precision=precision))
        state = _upright(face_model)
        windows = (11, 9, 7, 5)[: len(face_model.main.experts)]
        face_model.main.fit(gray, windows, state.params_global, state.params_local, judge=True)
    calc_params(face_model.pdm, state.landmarks_px)


def warm_up_rest(models_root: Path, model: Model) -> None:
    """Of these kernels those that work on a face that is fitted already."""
    stage = ClnfStage(models_root, StageSettings(model=model))
    state = _upright(stage._model)
    stage._model.validator.check(np.zeros((240, 320), np.float32), state.landmarks_px, state.params_global)
    stage._place(Frame(1, 0.0, _noise()), state, True)


_BOX = np.array([100, 60, 120, 120, 1], np.float32)


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


def _upright(model: FaceModel) -> FaceState:
    """Mean shapes, of the face and of its parts, in `_BOX`."""
    shapes = []
    for pdm in (model.pdm, *(part.pdm for part in model.parts)):
        scale_and_place = pdm.params_from_box(_BOX[:4], np.zeros(3, np.float32))
        mean = np.zeros(pdm.mode_count, np.float32)
        shapes.append((scale_and_place, mean, pdm.landmarks_px(scale_and_place, mean)))
    parts = [PartState(part.name, *shape, True) for part, shape in zip(model.parts, shapes[1:], strict=True)]
    return FaceState(*shapes[0], tuple(parts))
