"""CLNF fit of one landmark model (the face, the inner face, an eye) over its patch-expert scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.models.types import LandmarkModel
from auflow.stages.clnf import fit_kernels as kernels
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.clnf.pdm import FittingPDM

__all__ = ["FitOutcome", "FitSettings", "LandmarkFitter"]

Floats = NDArray[np.float32]

_BASE_SCALE = 0.25
_SMALLEST_FACE = 0.25  # scale of the PDM below which landmarks cannot be followed


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Parameters of NU-RLMS at the coarsest scale."""

    kde_sigma_px: float = 1.5
    regularisation: float = 25.0
    weight_factor: float = 0.0  # above 0, points count by their expert's confidence times this
    iterations: int = 5
    refine: bool = True  # adapt the values to each scale

    def at_scale(self, scale: float) -> tuple[float, float, float]:
        """(sigma, regularisation, weight factor) for patch experts of this scale."""
        if not self.refine:
            return self.kde_sigma_px, self.regularisation, self.weight_factor
        octaves = math.log2(scale / _BASE_SCALE)
        regularisation = self.regularisation - 15 * octaves
        return (
            self.kde_sigma_px + 0.25 * octaves,
            regularisation if regularisation > 0 else 0.001,
            self.weight_factor + 2 * self.weight_factor * octaves,
        )


@dataclass(slots=True)
class FitOutcome:
    """What one fit did."""

    ok: bool = True  # False: the face became too small
    likelihood: float = 0.0
    view: int = 0
    iterations: int = 0
    converged: bool = True  # every optimisation stopped by its criterion


def similarity(source: Floats, target: Floats) -> tuple[Floats, Floats]:
    """The 2 x 2 turn and scale that takes centred `source` (2n,) to centred `target`, and its inverse."""
    forward, backward = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
    kernels.similarity(source, target, forward, backward)
    return forward, backward


class LandmarkFitter:
    """Fits pose and shape of one model to an image. Holds no state of a stream."""

    def __init__(self, model: LandmarkModel, settings: FitSettings) -> None:
        self.pdm = FittingPDM.from_model(model.pdm)
        self.experts = [PatchExperts(patches) for patches in model.patches]
        self.settings = settings
        self._confidences = [
            np.array([[0.0 if e is None else e.confidence for e in view] for view in patches.experts], np.float32)
            for patches in model.patches
        ]
        self._grids: dict[tuple[int, float], Floats] = {}
        self._rigid_jacobian = np.empty((2 * self.pdm.point_count, 6), np.float32)
        self._jacobian = np.empty((2 * self.pdm.point_count, 6 + self.pdm.mode_count), np.float32)

    def fit(self, gray: Floats, windows: Sequence[int], params_global: Floats, params_local: Floats) -> FitOutcome:
        """Fit the parameters in place; `windows` holds the search window of each scale, 0 to leave it out.

        gray : (h, w) float32, 0 to 255; params_global : (6,) float32; params_local : (m,) float32
        """
        outcome = FitOutcome()
        for scale, window in enumerate(windows[: len(self.experts)]):
            if window == 0:
                continue
            self._fit_scale(gray, scale, window, params_global, params_local, outcome)
            if params_global[0] < _SMALLEST_FACE:
                outcome.ok = False
                break
        return outcome

    def _fit_scale(
        self, gray: Floats, scale: int, window: int, params_global: Floats, params_local: Floats, outcome: FitOutcome
    ) -> None:
        experts = self.experts[scale]
        view = experts.view_index(params_global)
        shape = self.pdm.shape_mm(params_local)
        base = np.empty(2 * self.pdm.point_count, np.float32)
        kernels.project(shape, params_global, base)
        reference = shape[: base.size] * np.float32(experts.scale)
        sims = similarity(base, reference)
        responses = experts.response_maps(gray, base, sims[1], view, window)
        sigma, regularisation, weight_factor = self.settings.at_scale(experts.scale)
        weights = experts.weights[view]
        if weight_factor > 0:
            weights = weights * self._confidences[scale][view] * np.float32(weight_factor)
        model = (self.pdm.mean, self.pdm.components, self.pdm.modes, self.pdm.eigenvalues)
        settings = (np.float32(sigma * sigma), np.float32(regularisation), self.settings.iterations)
        for workspace in (self._rigid_jacobian, self._jacobian):
            likelihood, iterations, converged = kernels.nu_rlms(
                model, base, responses, experts.visible[view], weights, sims, self._grid(window, sigma),
                settings, workspace, params_global, params_local,
            )  # fmt: skip
            outcome.iterations += iterations
            outcome.converged &= converged
        outcome.likelihood = likelihood
        outcome.view = view

    def _grid(self, window: int, sigma: float) -> Floats:
        key = (window, sigma)
        if key not in self._grids:
            grid = np.empty((100 * window * window, window * window), np.float32)
            kernels.kde_grid(window, np.float32(-0.5 / (sigma * sigma)), grid)
            self._grids[key] = grid
        return self._grids[key]
