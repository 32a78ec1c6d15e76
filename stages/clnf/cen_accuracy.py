"""How far int8 moves what CE-CLM finds: response maps and landmarks of known faces, in both precisions.

The error is one of the weights and not of the machine: the sums of 8-bit products are exact on every CPU. So what was
measured with the real files anywhere holds everywhere; the time does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.models.ceclm import CeclmModels
from auflow.stages.clnf import fit_kernels
from auflow.stages.clnf.ceclm import CeclmFaceModel
from auflow.stages.clnf.gray import to_gray
from auflow.stages.records import FaceFit, Frame
from auflow.stages.settings import CenPrecision

__all__ = ["BUDGET_P50_PX", "BUDGET_P99_PX", "Int8Error", "KnownFace", "known_faces", "measure_int8"]

Floats = NDArray[np.float32]

# OpenFace's table has landmarks in tenths of a pixel: half of one is what it rounds away itself. The slowest of a
# hundred landmarks may move by twice the C++ program's own noise floor, as a port may (docs/parity.md).
BUDGET_P50_PX = 0.05
BUDGET_P99_PX = 0.2

_TRACKING = (0, 9, 7, 0)
_WINDOWS = (11, 9, 7, 5)
_NEAR = (0.02, 0.05, 3.0)  # how far a start is away: share of the scale, radians, pixels


@dataclass(frozen=True, slots=True)
class KnownFace:
    """A face in a picture, and where it is."""

    gray: Floats  # (h, w), 0 to 255
    params_global: Floats  # (6,)
    params_local: Floats  # (m,)


@dataclass(frozen=True, slots=True)
class Int8Error:
    """int8 against float32."""

    faces: int
    maps_max: float  # of response maps, whose values are 0 to 1
    maps_rms: float
    landmarks_p50_px: float  # of single landmarks, fits of both precisions from the same start
    landmarks_p99_px: float
    landmarks_max_px: float
    float32_ms: float  # CPU time of a tracking fit of the main model on this machine, median
    int8_ms: float

    @property
    def passes(self) -> bool:
        """Whether the landmarks are within the budget."""
        return self.landmarks_p50_px <= BUDGET_P50_PX and self.landmarks_p99_px <= BUDGET_P99_PX


def known_faces(pairs: Iterable[tuple[Frame, FaceFit]]) -> list[KnownFace]:
    """The faces that a landmark stage has found in frames, be it with CLNF or CE-CLM."""
    found = []
    for frame, fit in pairs:
        if fit.success:
            gray = np.empty(frame.bgr.shape[:2], np.float32)
            to_gray(frame.bgr, gray)
            found.append(KnownFace(gray, fit.params_global.copy(), fit.params_local.copy()))
    return found


def measure_int8(models: CeclmModels, faces: Sequence[KnownFace], *, seed: int = 0) -> Int8Error:
    """What int8 changes on these faces.

    Response maps are compared at all scales, around the known landmarks. Fits are compared from the known place, as
    while tracking, and from one beside it with the mean shape and all scales.

    Raises
    ------
    InputError
        There are no faces.
    BackendError
        This CPU has no instructions that make int8 faster; nothing was measured.
    """
    from auflow.backends.int8 import require_int8

    require_int8()
    if not faces:
        raise InputError("int8 is measured on faces, and none was found; give a clip with a face in it")
    both: dict[CenPrecision, CeclmFaceModel] = {
        "float32": CeclmFaceModel(models),
        "int8": CeclmFaceModel(models, cen_precision="int8"),
    }
    rng = np.random.default_rng(seed)
    gaps, moved = [], []
    spent_ms: dict[CenPrecision, list[float]] = {"float32": [], "int8": []}
    for face in faces:
        gaps += _map_gaps(both, face)
        beside = _beside(face, rng)
        for windows, start in ((_TRACKING, (face.params_global, face.params_local)), (_WINDOWS, beside)):
            landmarks = {}
            for precision, model in both.items():
                landmarks[precision], ms = _fitted(model, face.gray, windows, start)
                if windows is _TRACKING:
                    spent_ms[precision].append(ms)
            moved.append(np.hypot(*(landmarks["float32"] - landmarks["int8"]).reshape(2, -1)))
    every = np.concatenate(moved)
    return Int8Error(
        faces=len(faces),
        maps_max=max(float(np.abs(gap).max()) for gap in gaps),
        maps_rms=float(np.sqrt(np.mean([np.mean(np.square(gap)) for gap in gaps]))),
        landmarks_p50_px=float(np.percentile(every, 50)),
        landmarks_p99_px=float(np.percentile(every, 99)),
        landmarks_max_px=float(every.max()),
        float32_ms=float(np.median(spent_ms["float32"])),
        int8_ms=float(np.median(spent_ms["int8"])),
    )


def _map_gaps(both: dict[CenPrecision, CeclmFaceModel], face: KnownFace) -> list[Floats]:
    """Differences of the visible points' response maps, one array for each scale."""
    gaps = []
    pdm = both["float32"].pdm
    points, shape = pdm.landmarks_px(face.params_global, face.params_local), pdm.shape_mm(face.params_local)
    n = pdm.point_count
    for ours, theirs, window in zip(both["float32"].main.experts, both["int8"].main.experts, _WINDOWS, strict=False):
        to_ref, to_img = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
        fit_kernels.similarity(points, shape[: 2 * n] * np.float32(ours.scale), n, to_ref, to_img)
        view = ours.view_index(face.params_global)
        maps = [experts.response_maps(face.gray, points, to_img, view, window) for experts in (ours, theirs)]
        gaps.append((maps[0] - maps[1])[ours.visible[view]])
    return gaps


def _beside(face: KnownFace, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A start beside the face: turned, moved, of another size, with the mean shape."""
    scale, turn, shift = _NEAR
    away = rng.uniform(-1, 1, 6) * [scale * face.params_global[0], turn, turn, turn, shift, shift]
    return face.params_global + away.astype(np.float32), np.zeros_like(face.params_local)


def _fitted(
    model: CeclmFaceModel, gray: Floats, windows: tuple[int, ...], start: tuple[Floats, Floats]
) -> tuple[Floats, float]:
    """Landmarks (2n,) of a fit of the main model, and its CPU time in ms."""
    params_global, params_local = (each.copy() for each in start)
    before_s = time.process_time()
    model.main.fit(gray, windows, params_global, params_local)
    ms = 1e3 * (time.process_time() - before_s)
    return model.pdm.landmarks_px(params_global, params_local), ms
