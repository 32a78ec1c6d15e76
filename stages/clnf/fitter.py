"""CLNF fit of one landmark model (the face, the inner face, an eye) over its patch-expert scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auflow.models.types import LandmarkModel
from auflow.stages.clnf import nu_rlms_kernels as kernels
from auflow.stages.clnf.lanes import aligned, padded
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.clnf.pdm import FittingPDM, PackedPDM, pack, step_memory

__all__ = ["FitOutcome", "FitSettings", "LandmarkFitter", "ScalePlan"]

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
    tolerance_px: float = 0.01  # an optimisation ends when all points together move less
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

    def limited(self, iterations: int | None, tolerance_px: float | None) -> FitSettings:
        """The same with the user's limits in place of the model's, where given."""
        return replace(
            self,
            iterations=self.iterations if iterations is None else iterations,
            tolerance_px=self.tolerance_px if tolerance_px is None else tolerance_px,
        )


@dataclass(slots=True)
class FitOutcome:
    """What one fit did."""

    ok: bool = True  # False: the face became too small
    likelihood: float = 0.0
    view: int = 0
    optimisations: int = 0  # a rigid and a non-rigid one for each scale
    converged: int = 0  # of them, stopped by the tolerance and not by the limit
    iterations: int = 0  # of all of them together

    def add(self, other: FitOutcome) -> None:
        """Count another fit's work with this one's."""
        self.optimisations += other.optimisations
        self.converged += other.converged
        self.iterations += other.iterations


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """What a fit takes that is the same for every face at one scale, view and window: N points in lanes."""

    scale: np.float32
    view: int
    window: int
    pdm: PackedPDM
    visible: NDArray[np.bool_]  # (n,)
    weights: Floats  # (N,)
    settings: tuple[np.float32, int, np.float32]  # regularisation, iterations, tolerance in px
    kde_factor: np.float32
    table: Floats  # (10 w, w)
    kernels: Floats  # (2, w, N), to work in
    maps: Floats  # (w * w, N), of the last fit


class LandmarkFitter:
    """Fits pose and shape of one model to an image. Holds no state of a stream, only memory to work in."""

    def __init__(self, model: LandmarkModel, settings: FitSettings) -> None:
        self.pdm = FittingPDM.from_model(model.pdm)
        self.experts = [PatchExperts(patches) for patches in model.patches]
        self.settings = settings
        self._confidences = [
            np.array([[0.0 if e is None else e.confidence for e in view] for view in patches.experts], np.float32)
            for patches in model.patches
        ]
        self._plans: dict[tuple[int, int, int], ScalePlan] = {}
        n, m = self.pdm.point_count, self.pdm.mode_count
        lanes = padded(n)
        self._turns = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
        self._base, self._shape = aligned(2 * lanes, np.float32), aligned(3 * lanes, np.float32)
        self._places, self._sums = aligned((5, 2 * lanes), np.float32), aligned((5, lanes), np.float32)
        self._where = aligned(2 * lanes, np.float32)
        self._steps = step_memory(n, 0), step_memory(n, m)

    def fit(
        self, gray: Floats, windows: Sequence[int], params_global: Floats, params_local: Floats, *, judge: bool = False
    ) -> FitOutcome:
        """Fit the parameters in place; `windows` holds the search window of each scale, 0 to leave it out.

        gray : (h, w) float32, 0 to 255; params_global : (6,) float32; params_local : (m,) float32; with `judge` the
        outcome has the likelihood at the last scale.
        """
        outcome = FitOutcome()
        plan: ScalePlan | None = None
        for number, window in enumerate(windows[: len(self.experts)]):
            if window == 0:
                continue
            plan = self.plan(number, self.experts[number].view_index(params_global), window)
            iterations, converged = self._fit_scale(gray, number, plan, params_global, params_local)
            self.count(outcome, plan, iterations, converged, params_global)
            if not outcome.ok:
                break
        if judge and plan is not None:
            outcome.likelihood = self.likelihood(plan)
        return outcome

    @staticmethod
    def count(outcome: FitOutcome, plan: ScalePlan, iterations: int, converged: int, params_global: Floats) -> None:
        """Add what a scale has come to; a face that has become too small ends the fit."""
        outcome.view = plan.view
        outcome.optimisations += 2
        outcome.iterations += iterations
        outcome.converged += converged
        outcome.ok = bool(params_global[0] >= _SMALLEST_FACE)

    def likelihood(self, plan: ScalePlan) -> float:
        """Of the landmarks where the last optimisation of this plan has left them."""
        found: float = kernels.landmark_likelihood(
            plan.maps, plan.visible, self._places[1], plan.window, plan.kde_factor
        )
        return found

    def plan(self, number: int, view: int, window: int) -> ScalePlan:
        """What a fit takes at the scale of this number; made when first asked for."""
        key = number, view, window
        if key not in self._plans:
            self._plans[key] = self._make_plan(number, view, window)
        return self._plans[key]

    def _make_plan(self, number: int, view: int, window: int) -> ScalePlan:
        experts = self.experts[number]
        sigma, regularisation, weight_factor = self.settings.at_scale(experts.scale)
        weights = experts.weights[view]
        if weight_factor > 0:
            weights = weights * self._confidences[number][view] * np.float32(weight_factor)
        lanes = padded(weights.size)
        in_lanes = aligned(lanes, np.float32)
        in_lanes[: weights.size] = weights
        kde_factor = np.float32(-0.5 / (sigma * sigma))
        table = np.empty((10 * window, window), np.float32)
        kernels.kde_table(window, kde_factor, table)
        return ScalePlan(
            scale=np.float32(experts.scale),
            view=view,
            window=window,
            pdm=pack(self.pdm, weights),
            visible=experts.visible[view],
            weights=in_lanes,
            settings=(
                np.float32(regularisation), self.settings.iterations, np.float32(self.settings.tolerance_px),
            ),
            kde_factor=kde_factor,
            table=table,
            kernels=aligned((2, window, lanes), np.float32),
            maps=aligned((window * window, lanes), np.float32),
        )  # fmt: skip

    def _fit_scale(
        self, gray: Floats, number: int, plan: ScalePlan, params_global: Floats, params_local: Floats
    ) -> tuple[int, int]:
        """Start, response maps and both optimisations: iterations and converged optimisations."""
        responses = self.experts[number].plan(plan.view, plan.window)
        done: tuple[int, int] = kernels.fit_scale(
            gray, plan.pdm, plan.scale, responses.experts, responses.sigma, responses.scratch, plan.visible,
            plan.weights, plan.window, plan.table, plan.settings, (self._base, self._turns, self.memory(plan)),
            plan.maps, params_global, params_local,
        )  # fmt: skip
        return done

    def memory(self, plan: ScalePlan) -> tuple[object, ...]:
        """The arrays that `nu_rlms_kernels.optimise` works in."""
        return (plan.kernels, self._where, self._sums), *self._steps, self._places, self._shape
