"""A fitter whose response maps come from outside its kernels: matrix products, or a compute backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend, Network
from auflow.models.onnx.ccnf import build_ccnf_graph
from auflow.models.types import CcnfPatches, LandmarkModel
from auflow.stages.clnf import nu_rlms_kernels as kernels
from auflow.stages.clnf.areas import cut_areas
from auflow.stages.clnf.fitter import FitOutcome, FitSettings, LandmarkFitter, ScalePlan
from auflow.stages.clnf.patch_experts import PatchExperts

__all__ = ["GraphFitter", "GraphPatchExperts", "MapFitter"]

Floats = NDArray[np.float32]

_LEAST_RESPONSE = np.float32(2.0**-64)  # of a neuron in the kernels


class MapFitter(LandmarkFitter):
    """`LandmarkFitter` that asks its experts for their response maps."""

    def _fit_scale(
        self, gray: Floats, number: int, plan: ScalePlan, params_global: Floats, params_local: Floats
    ) -> tuple[int, int]:
        n, (to_ref, to_img), places = self.pdm.point_count, self._turns, self._base.reshape(2, -1)
        kernels.start_scale(
            plan.pdm, n, plan.scale, params_global, params_local, self._shape, self._base, self._turns
        )  # fmt: skip
        points = np.ascontiguousarray(places[:, :n]).reshape(-1)
        maps = self.experts[number].response_maps(gray, points, to_img, plan.view, plan.window)
        _take(maps, plan)
        done: tuple[int, int] = kernels.optimise(
            plan.pdm, self._base, plan.maps, plan.visible, plan.weights, (to_ref, to_img), plan.window, plan.table,
            plan.settings, self.memory(plan), params_global, params_local,
        )  # fmt: skip
        return done


class GraphFitter(MapFitter):
    """`MapFitter` with CCNF experts that a backend computes, those of several fits in one call."""

    def __init__(self, model: LandmarkModel, settings: FitSettings, backend: GraphBackend) -> None:
        super().__init__(model, settings)
        self._graphs = [GraphPatchExperts(patches, backend) for patches in model.patches]
        self.experts = list(self._graphs)

    def fit_many(
        self, grays: Sequence[Floats], windows: Sequence[int], params: Sequence[tuple[Floats, Floats]], *, judge: bool
    ) -> list[FitOutcome]:
        """What `fit` does, of several faces, scale by scale: pictures and parameters (global, local) of each."""
        outcomes = [FitOutcome() for _ in params]
        for number, window in enumerate(windows[: len(self.experts)]):
            going = [k for k, outcome in enumerate(outcomes) if outcome.ok]
            if window and going:
                last = not any(windows[number + 1 : len(self.experts)])
                jobs = [(grays[k], *params[k], outcomes[k]) for k in going]
                self._fit_scale_many(number, window, jobs, judge=judge, last=last)
        return outcomes

    def _fit_scale_many(
        self,
        number: int,
        window: int,
        jobs: Sequence[tuple[Floats, Floats, Floats, FitOutcome]],
        *,
        judge: bool,
        last: bool,
    ) -> None:
        experts, n = self._graphs[number], self.pdm.point_count
        plans = [self.plan(number, experts.view_index(g), window) for _, g, _, _ in jobs]
        begun, areas = [], []
        for plan, (gray, g, p, _) in zip(plans, jobs, strict=True):
            kernels.start_scale(plan.pdm, n, plan.scale, g, p, self._shape, self._base, self._turns)
            points = np.ascontiguousarray(self._base.reshape(2, -1)[:, :n]).reshape(-1)
            areas.append(cut_areas(gray, points, self._turns[1], plan.visible, window))
            begun.append((self._base.copy(), tuple(turn.copy() for turn in self._turns)))
        maps = experts.maps_of(np.stack(areas), np.array([plan.view for plan in plans], np.int64), window)
        for plan, (base, turns), own, (_, g, p, outcome) in zip(plans, begun, maps, jobs, strict=True):
            _take(own, plan)
            self._base[:] = base
            iterations, converged = kernels.optimise(
                plan.pdm, self._base, plan.maps, plan.visible, plan.weights, turns, plan.window, plan.table,
                plan.settings, self.memory(plan), g, p,
            )  # fmt: skip
            self.count(outcome, plan, iterations, converged, g)
            if judge and (last or not outcome.ok):
                outcome.likelihood = self.likelihood(plan)


class GraphPatchExperts(PatchExperts):
    """`PatchExperts` whose maps are a graph's; that of a window is loaded when it is first asked for."""

    def __init__(self, patches: CcnfPatches, backend: GraphBackend) -> None:
        super().__init__(patches)
        self._backend = backend
        self._networks: dict[int, Network] = {}

    def response_maps(self, image: Floats, points_px: Floats, to_img: Floats, view: int, window: int) -> Floats:
        """As `PatchExperts.response_maps`, but for rounding.

        Raises
        ------
        BackendError
        """
        areas = cut_areas(image, points_px, to_img, self.visible[view], window)
        maps: Floats = self.maps_of(areas[None], np.array([view], np.int64), window)[0]
        return maps

    def maps_of(self, areas: Floats, views: NDArray[np.int64], window: int) -> Floats:
        """Response maps (b, n, w, w) of the areas (b, n, s, s) around the landmarks of several faces, by their views.

        The next call may write over them.
        """
        if window not in self._networks:
            name = f"ccnf_{self.scale:g}_{window}"
            self._networks[window] = self._backend.load(build_ccnf_graph(self._patches, window, name))
        maps: Floats = self._networks[window].run(areas, views)[0]
        return maps


def _take(maps: Floats, plan: ScalePlan) -> None:
    """Response maps (n, w, w) as the optimiser wants them: landmarks side by side, and nowhere without any response.

    A mean shift weighs by the response, so a map of zeros has no mean. The kernels never give one; what rounds
    otherwise, in half precision above all, may.
    """
    n = len(maps)
    np.maximum(maps.reshape(n, -1).T, _LEAST_RESPONSE, out=plan.maps[:, :n])
