"""The whole CLNF: main model, parts (inner face, eyes), refit and validation on one gray image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend
from auflow.models.types import ClnfModels, LandmarkModel, Part
from auflow.stages.clnf.fitter import FitOutcome, FitSettings, LandmarkFitter
from auflow.stages.clnf.map_fitter import GraphFitter
from auflow.stages.clnf.pdm import calc_params
from auflow.stages.clnf.validator import LandmarkValidator

__all__ = ["FaceModel", "FaceState", "FitStart", "PartFitter", "PartState", "likeliest", "windows_of"]

Floats = NDArray[np.float32]

_WINDOWS_INITIAL = (11, 9, 7)
_WINDOWS_TRACKING = (0, 9, 7)
_WINDOWS_WILD = (15, 13, 11)
_WILD = FitSettings(kde_sigma_px=1.25, regularisation=35.0, weight_factor=2.5, iterations=10)
_ACCEPTED_ABOVE = 0.725
_SCALE_HEADROOM = 0.9
_EYE_WINDOWS = (3, 5, 9)
_INNER_WINDOWS = (9,)
_INNER = "inner"


@dataclass(frozen=True, slots=True)
class PartState:
    """One part's own fit."""

    name: str
    params_global: Floats  # (6,)
    params_local: Floats  # (m,)
    landmarks_px: Floats  # (2n,) planar
    refined: bool  # False: the face was too small, the shape is only computed


@dataclass(frozen=True, slots=True)
class FitStart:
    """A fit that is going to be asked for: what `FaceModel.fit` takes."""

    gray: Floats  # (h, w)
    params_global: Floats  # (6,)
    params_local: Floats  # (m,)
    tracking: bool


@dataclass(slots=True)
class FaceState:
    """Everything that is known of one face after a fit; a fresh one is a face not found yet."""

    params_global: Floats = field(default_factory=lambda: np.array([1, 0, 0, 0, 0, 0], np.float32))
    params_local: Floats = field(default_factory=lambda: np.zeros(34, np.float32))
    landmarks_px: Floats = field(default_factory=lambda: np.zeros(136, np.float32))
    parts: tuple[PartState, ...] = ()  # inner face, left eye, right eye
    likelihood: float = -10.0
    confidence: float = 0.0
    success: bool = False
    outcome: FitOutcome = field(default_factory=FitOutcome)


class FaceModel:
    """Fits faces. Holds models and scratch space only, so that one instance serves any number of streams.

    `wild` searches wider and longer, for faces in unusual poses, as OpenFace's `-wild` does. `iterations` and
    `tolerance_px` end an optimisation earlier or later than OpenFace does; None leaves its limits. `backend` computes
    the response maps; None is our own kernels.
    """

    def __init__(
        self,
        models: ClnfModels,
        *,
        wild: bool = False,
        iterations: int | None = None,
        tolerance_px: float | None = None,
        backend: GraphBackend | None = None,
    ) -> None:
        settings = _WILD if wild else FitSettings()
        self.main = make_fitter(models.main, settings.limited(iterations, tolerance_px), backend)
        self._windows_initial: tuple[int, ...] = _WINDOWS_WILD if wild else _WINDOWS_INITIAL
        self.pdm = self.main.pdm
        self.validator = LandmarkValidator(models.validator)
        self.parts = [PartFitter(part, iterations, tolerance_px, backend) for part in models.parts]

    def best_of(self, gray: Floats, starts: Iterable[Floats]) -> FaceState:
        """The likeliest fit of several starts, each the global parameters (6,) of a mean shape.

        Neither the parts nor the validator have a say in which, so only the winner gets them.
        """
        local = np.zeros(self.pdm.mode_count, np.float32)
        windows = self._windows_initial
        return self.complete(gray, likeliest(self.fit_main(gray, start, local, windows) for start in starts))

    def fit(self, gray: Floats, params_global: Floats, params_local: Floats, *, tracking: bool) -> FaceState:
        """Fit from the given start (left unchanged): gray (h, w) float32, parameters (6,) and (34,) float32.

        `tracking` searches only near the start, at the two finer scales.
        """
        return self.complete(gray, self.fit_main(gray, params_global, params_local, self._windows_of(tracking)))

    def _windows_of(self, tracking: bool) -> tuple[int, ...]:
        return _WINDOWS_TRACKING if tracking else self._windows_initial

    def fit_main(self, gray: Floats, params_global: Floats, params_local: Floats, windows: Sequence[int]) -> FaceState:
        """The main model alone, from the given start (left unchanged), in the window of each scale."""
        g, p = params_global.copy(), params_local.copy()
        outcome = self.main.fit(gray, windows, g, p, judge=True)
        return FaceState(g, p, self.pdm.landmarks_px(g, p), likelihood=outcome.likelihood, outcome=outcome)

    def fit_ahead(self, starts: Sequence[FitStart]) -> None:
        """Fits that `fit` will be asked for, together where that is cheaper; here nothing is."""

    def forget_ahead(self, gray: Floats) -> None:
        """The picture will change: what was fitted ahead in it and not asked for is of no use any more."""

    def complete(self, gray: Floats, state: FaceState) -> FaceState:
        """The same face, changed in place: its parts fitted and merged, and validated."""
        scale = float(state.params_global[0])
        state.parts = tuple(part.fit(gray, state.landmarks_px, scale, state.outcome) for part in self.parts)
        return self.conclude(gray, state)

    def conclude(self, gray: Floats, state: FaceState) -> FaceState:
        """The same face, changed in place: its parts, which are fitted, merged, and validated."""
        if any(part.refined for part in state.parts):
            for fitter, part in zip(self.parts, state.parts, strict=True):
                fitter.merge(part, state.landmarks_px)
            state.params_global, state.params_local = calc_params(self.pdm, state.landmarks_px)
            state.landmarks_px = self.pdm.landmarks_px(state.params_global, state.params_local)
        if state.outcome.ok:
            state.confidence = self.validator.check(gray, state.landmarks_px, state.params_global)
            state.success = state.confidence > _ACCEPTED_ABOVE
        return state


def make_fitter(model: LandmarkModel, settings: FitSettings, backend: GraphBackend | None) -> LandmarkFitter:
    """The fitter of a shape model with CCNF experts."""
    return LandmarkFitter(model, settings) if backend is None else GraphFitter(model, settings, backend)


def windows_of(part: str | None) -> tuple[int, ...]:
    """Search windows of a part's scales, or (None) of the main model's, without `wild`."""
    return _WINDOWS_INITIAL if part is None else _INNER_WINDOWS if part == _INNER else _EYE_WINDOWS


def likeliest(fits: Iterable[FaceState]) -> FaceState:
    """The fit of the highest likelihood of the main model; of equals the first."""
    return max(fits, key=lambda state: state.likelihood)


class PartFitter:
    """One part: started from the main landmarks that it shares, fitted, merged back."""

    def __init__(
        self,
        part: Part,
        iterations: int | None = None,
        tolerance_px: float | None = None,
        backend: GraphBackend | None = None,
    ) -> None:
        inner = part.name == _INNER
        self.name = part.name
        self.windows = windows_of(part.name)
        settings = (
            FitSettings(kde_sigma_px=1.75, regularisation=2.5, weight_factor=2.5, refine=False)
            if inner
            else FitSettings(kde_sigma_px=1.0, regularisation=0.5, weight_factor=0.0, refine=False)
        )
        self.fitter = make_fitter(part.model, settings.limited(iterations, tolerance_px), backend)
        self.pdm = self.fitter.pdm
        self._first_scale = self.fitter.experts[0].scale
        n = self.pdm.point_count
        main, own = part.mapping[:, 0], part.mapping[:, 1]
        self._main_rows = np.concatenate([main, main + 68])
        self._own_rows = np.concatenate([own, own + n])
        self._start = np.zeros(2 * n, np.float32)

    def fit(self, gray: Floats, landmarks_px: Floats, main_scale: float, outcome: FitOutcome) -> PartState:
        """Fit the part that starts from the main landmarks (136,); below a size its shape is only computed.

        The work is counted in `outcome`.
        """
        g, p = self.begin(landmarks_px)
        wanted = self.wanted(main_scale)
        if wanted:
            outcome.add(self.fitter.fit(gray, self.windows, g, p))
        return self.end(g, p, wanted)

    def begin(self, landmarks_px: Floats) -> tuple[Floats, Floats]:
        """Parameters (6,) and (m,) to start from, by the main landmarks (136,)."""
        self._start[self._own_rows] = landmarks_px[self._main_rows]
        return calc_params(self.pdm, self._start)

    def wanted(self, main_scale: float) -> bool:
        """Whether a face of this scale of the main model is large enough for the part to be fitted."""
        return main_scale > _SCALE_HEADROOM * self._first_scale

    def end(self, params_global: Floats, params_local: Floats, wanted: bool) -> PartState:
        """The part as these parameters make it."""
        landmarks_px = self.pdm.landmarks_px(params_global, params_local)
        return PartState(self.name, params_global, params_local, landmarks_px, wanted)

    def merge(self, part: PartState, landmarks_px: Floats) -> None:
        """Put the part's landmarks in place of the main model's (136,)."""
        landmarks_px[self._main_rows] = part.landmarks_px[self._own_rows]
