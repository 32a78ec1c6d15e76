"""CE-CLM: the face model with CEN experts and eyes only, and its choice among several starts, which may end early."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from auflow.models.ceclm import CeclmModels, CenModel, EarlyTermination
from auflow.models.types import LandmarkModel
from auflow.stages.clnf import nu_rlms_kernels as kernels
from auflow.stages.clnf.cen_experts import CenPatchExperts
from auflow.stages.clnf.face_model import FaceModel, FaceState, PartFitter, likeliest
from auflow.stages.clnf.fitter import FitOutcome, FitSettings, LandmarkFitter, ScalePlan
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.clnf.validator import LandmarkValidator
from auflow.stages.settings import CenPrecision

__all__ = ["CeclmFaceModel", "CenFitter", "CoarseFit", "search"]

Floats = NDArray[np.float32]

_SETTINGS = FitSettings(kde_sigma_px=1.5 * 1.5, regularisation=25.0 * 0.9)
_WINDOWS_INITIAL = (11, 9, 7, 5)  # of the scales 0.25, 0.35, 0.50, 1.00
_WINDOWS_COARSE = (11, 0, 0, 0)
_WINDOWS_FINE = (0, 9, 7, 5)
_FINALISTS = 3


class CenFitter(LandmarkFitter):
    """`LandmarkFitter` with CEN experts."""

    def __init__(self, model: CenModel, settings: FitSettings, precision: CenPrecision = "float32") -> None:
        super().__init__(LandmarkModel(model.pdm, ()), settings)
        # CenPatchExperts has what a fitter uses of PatchExperts, without being one.
        self.experts = [cast(PatchExperts, CenPatchExperts(patches, precision=precision)) for patches in model.patches]
        self._confidences = [
            np.array([[expert.confidence for expert in view] for view in patches.experts], np.float32)
            for patches in model.patches
        ]

    def _fit_scale(
        self, gray: Floats, number: int, plan: ScalePlan, params_global: Floats, params_local: Floats
    ) -> tuple[int, int]:
        """As with CCNF experts, but the response maps come from matrix products outside the kernels."""
        n, (to_ref, to_img), places = self.pdm.point_count, self._turns, self._base.reshape(2, -1)
        kernels.start_scale(
            plan.pdm, n, plan.scale, params_global, params_local, self._shape, self._base, self._turns
        )  # fmt: skip
        points = np.ascontiguousarray(places[:, :n]).reshape(-1)
        maps = self.experts[number].response_maps(gray, points, to_img, plan.view, plan.window)
        plan.maps[:, :n] = maps.reshape(n, -1).T
        done: tuple[int, int] = kernels.optimise(
            plan.pdm, self._base, plan.maps, plan.visible, plan.weights, (to_ref, to_img), plan.window, plan.table,
            plan.settings, self.memory(plan), params_global, params_local,
        )  # fmt: skip
        return done


class CeclmFaceModel(FaceModel):
    """The whole CE-CLM of main_ceclm_general.txt: four scales, eyes only as parts, the validator of all 68 points.

    `iterations` and `tolerance_px` as in `FaceModel`, `cen_precision` that of the experts' dense layers.
    """

    main: CenFitter

    def __init__(
        self,
        models: CeclmModels,
        *,
        iterations: int | None = None,
        tolerance_px: float | None = None,
        cen_precision: CenPrecision = "float32",
    ) -> None:
        self.main = CenFitter(models.main, _SETTINGS.limited(iterations, tolerance_px), cen_precision)
        self.pdm = self.main.pdm
        self.validator = LandmarkValidator(models.validator)
        self.parts = [PartFitter(part, iterations, tolerance_px) for part in models.parts]
        self._windows_initial = _WINDOWS_INITIAL
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
