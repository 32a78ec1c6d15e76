"""How far int8 moves what CE-CLM finds: response maps and landmarks of known faces, in both precisions.

The error is one of the weights and not of the machine: the sums of 8-bit products are exact on every CPU. So what was
measured with the real files anywhere holds everywhere; the time does not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.backends.int8 import require_int8
from auflow.errors import InputError
from auflow.models.ceclm import CeclmModels
from auflow.stages.clnf import fit_kernels
from auflow.stages.clnf.ceclm import CeclmFaceModel
from auflow.stages.clnf.gray import to_gray
from auflow.stages.records import FaceFit, Frame
from auflow.stages.settings import CenPrecision

__all__ = ["BUDGET_FLOORS", "BUDGET_PX", "Int8Error", "KnownFace", "known_faces", "measure_int8"]

Floats = NDArray[np.float32]
_Both: TypeAlias = dict[CenPrecision, CeclmFaceModel]
_Start: TypeAlias = tuple[Floats, Floats]  # global and local parameters

# OpenFace's table has landmarks in tenths of a pixel: half of one is what it rounds away itself.
BUDGET_PX = 0.05
# Where a fit is loose, anything moves it. So what half a grey value does to the float32 fit, which is what a camera
# rounds away, is measured on the same faces; a port may be off by twice its floor (docs/parity.md), and so may int8.
BUDGET_FLOORS = 2.0

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
    floor_p50_px: float  # the same of float32 alone, when every pixel is changed by up to half a grey value
    floor_p99_px: float
    float32_ms: float  # CPU time of a tracking fit of the main model on this machine, median
    int8_ms: float

    @property
    def passes(self) -> bool:
        """Whether the landmarks are within the budget."""
        bound_px = max(BUDGET_PX, BUDGET_FLOORS * self.floor_p99_px)
        return self.landmarks_p50_px <= BUDGET_PX and self.landmarks_p99_px <= bound_px


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
    require_int8()
    if not faces:
        raise InputError("int8 is measured on faces, and none was found; give a clip with a face in it")
    both: _Both = {"float32": CeclmFaceModel(models), "int8": CeclmFaceModel(models, cen_precision="int8")}
    rng = np.random.default_rng(seed)
    gaps = [gap for face in faces for gap in _map_gaps(both, face)]
    fits = [_compared(both, face, windows, start) for face in faces for windows, start in _starts(face, rng)]
    moved, floor = (np.concatenate([fit[k] for fit in fits]) for k in (0, 1))
    spent = np.array([fit[2] for fit in fits if fit[3] is _TRACKING])
    return Int8Error(
        faces=len(faces),
        maps_max=max(float(np.abs(gap).max()) for gap in gaps),
        maps_rms=float(np.sqrt(np.mean([np.mean(np.square(gap)) for gap in gaps]))),
        landmarks_p50_px=float(np.percentile(moved, 50)),
        landmarks_p99_px=float(np.percentile(moved, 99)),
        landmarks_max_px=float(moved.max()),
        floor_p50_px=float(np.percentile(floor, 50)),
        floor_p99_px=float(np.percentile(floor, 99)),
        float32_ms=float(np.median(spent[:, 0])),
        int8_ms=float(np.median(spent[:, 1])),
    )


def _starts(face: KnownFace, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], _Start]]:
    """Where fits begin, and the windows that they search: from the face, and from beside it with the mean shape."""
    yield _TRACKING, (face.params_global, face.params_local)
    scale, turn, shift = _NEAR
    away = rng.uniform(-1, 1, 6) * [scale * face.params_global[0], turn, turn, turn, shift, shift]
    yield _WINDOWS, (face.params_global + away.astype(np.float32), np.zeros_like(face.params_local))


def _compared(
    both: _Both, face: KnownFace, windows: tuple[int, ...], start: _Start
) -> tuple[Floats, Floats, tuple[float, float], tuple[int, ...]]:
    """How far each landmark is moved by int8 and by the floor, in px; the CPU time of each precision, ms; windows."""
    exact, exact_ms = _fitted(both["float32"], face.gray, windows, start)
    ours, ours_ms = _fitted(both["int8"], face.gray, windows, start)
    rng = np.random.default_rng(0)
    changed = face.gray + rng.uniform(-0.5, 0.5, face.gray.shape).astype(np.float32)
    floor, _ = _fitted(both["float32"], changed, windows, start)
    moved, loose = (np.hypot(*(exact - other).reshape(2, -1)) for other in (ours, floor))
    return moved, loose, (exact_ms, ours_ms), windows


def _map_gaps(both: _Both, face: KnownFace) -> list[Floats]:
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


def _fitted(model: CeclmFaceModel, gray: Floats, windows: tuple[int, ...], start: _Start) -> tuple[Floats, float]:
    """Landmarks (2n,) of a fit of the main model, and its CPU time in ms."""
    params_global, params_local = (each.copy() for each in start)
    before_s = time.process_time()
    model.main.fit(gray, windows, params_global, params_local)
    ms = 1e3 * (time.process_time() - before_s)
    return model.pdm.landmarks_px(params_global, params_local), ms
