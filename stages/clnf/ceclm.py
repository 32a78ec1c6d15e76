"""CE-CLM: the face model with CEN experts and eyes only, and its choice among several starts, which may end early."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend
from auflow.models.ceclm import CeclmModels, CenModel, EarlyTermination
from auflow.models.types import LandmarkModel
from auflow.stages.clnf.cen_experts import CenPatchExperts
from auflow.stages.clnf.cen_graph import GraphCenExperts
from auflow.stages.clnf.face_model import FaceModel, FaceState, PartFitter, likeliest
from auflow.stages.clnf.fitter import FitOutcome, FitSettings
from auflow.stages.clnf.map_fitter import MapFitter
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.clnf.validator import LandmarkValidator
from auflow.stages.settings import CenPrecision

__all__ = ["CEN_WINDOWS", "CeclmFaceModel", "CenFitter", "CoarseFit", "search"]

Floats = NDArray[np.float32]

_SETTINGS = FitSettings(kde_sigma_px=1.5 * 1.5, regularisation=25.0 * 0.9)
CEN_WINDOWS = (11, 9, 7, 5)  # of the scales 0.25, 0.35, 0.50, 1.00
_WINDOWS_COARSE = (11, 0, 0, 0)
_WINDOWS_FINE = (0, 9, 7, 5)
_FINALISTS = 3


class CenFitter(MapFitter):
    """`MapFitter` with CEN experts: our own products in a precision, or graphs that a backend computes in float32."""

    def __init__(
        self,
        model: CenModel,
        settings: FitSettings,
        precision: CenPrecision = "float32",
        backend: GraphBackend | None = None,
    ) -> None:
        super().__init__(LandmarkModel(model.pdm, ()), settings)
        experts = [
            CenPatchExperts(patches, precision=precision) if backend is None else GraphCenExperts(patches, backend)
            for patches in model.patches
        ]
        # CenPatchExperts has what a fitter uses of PatchExperts, without being one.
        self.experts = cast(list[PatchExperts], experts)
        self._confidences = [
            np.array([[expert.confidence for expert in view] for view in patches.experts], np.float32)
            for patches in model.patches
        ]


class CeclmFaceModel(FaceModel):
    """The whole CE-CLM of main_ceclm_general.txt: four scales, eyes only as parts, the validator of all 68 points.

    `iterations`, `tolerance_px` and `backend` as in `FaceModel`, `cen_precision` that of the experts' dense layers
    without a backend.
    """

    main: CenFitter

    def __init__(
        self,
        models: CeclmModels,
        *,
        iterations: int | None = None,
        tolerance_px: float | None = None,
        cen_precision: CenPrecision = "float32",
        backend: GraphBackend | None = None,
    ) -> None:
        self.main = CenFitter(models.main, _SETTINGS.limited(iterations, tolerance_px), cen_precision, backend)
        self.pdm = self.main.pdm
        self.validator = LandmarkValidator(models.validator)
        self.parts = [PartFitter(part, iterations, tolerance_px, backend) for part in models.parts]
        self._windows_initial = CEN_WINDOWS
        self._rule = models.main.early_termination

    def best_of(self, gray: Floats, starts: Iterable[Floats]) -> FaceState:
        """The fit of the best of several starts, each the global parameters (6,) of a mean shape."""
        fits = (self.coarse(gray, params_global) for params_global in starts)
        return self.complete(gray, search(fits, lambda fit: self.fine(gray, fit), self._rule))

    def coarse(self, gray: Floats, params_global: Floats) -> CoarseFit:
        """The coarsest scale alone, from the mean shape: no parts, no validation."""
        g, p = params_global.copy(), np.zeros(self.pdm.mode_count, np.float32)
        outcome = self.main.fit(gray, _WINDOWS_COARSE, g, p, judge=True)
        return CoarseFit(g, p, outcome.likelihood, outcome.view, outcome)

    def fine(self, gray: Floats, fit: CoarseFit) -> FaceState:
        """The other scales, from where a coarse fit ended: no parts, no validation either."""
        state = self.fit_main(gray, fit.params_global, fit.params_local, _WINDOWS_FINE)
        state.outcome.add(fit.outcome)
        return state


@dataclass(frozen=True, slots=True)
class CoarseFit:
    """Where the coarsest scale of one start ended."""

    params_global: Floats  # (6,)
    params_local: Floats  # (m,)
    likelihood: float
    view: int
    outcome: FitOutcome = field(default_factory=FitOutcome)  # whose work is counted with that of the fine fit


def search(fits: Iterable[CoarseFit], fine: Callable[[CoarseFit], FaceState], rule: EarlyTermination) -> FaceState:
    """The fit of the best of several starts; `fits` is asked for no more than are needed.

    The first coarse fit that passes `rule` is the one. Where none passes, the three of the highest scores go on and
    the highest likelihood of their fine fits wins; of equals the earlier one.

    References
    ----------
    OpenFace 2.2; Zadeh et al., ICCVW 2017.
    """
    scored: list[tuple[float, CoarseFit]] = []
    for fit in fits:
        score = rule.score(fit.likelihood, fit.view)
        if rule.passes(score, fit.view):
            return fine(fit)
        scored.append((score, fit))
    scored.sort(key=lambda entry: entry[0], reverse=True)
    return likeliest(fine(fit) for _, fit in scored[:_FINALISTS])
