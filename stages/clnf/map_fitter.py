"""A fitter whose response maps come from outside its kernels: matrix products, or a compute backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend, Network
from auflow.models.onnx.ccnf import build_ccnf_graph
from auflow.models.types import CcnfPatches, LandmarkModel
from auflow.stages.clnf import nu_rlms_kernels as kernels
from auflow.stages.clnf import patch_kernels
from auflow.stages.clnf.fitter import FitSettings, LandmarkFitter, ScalePlan
from auflow.stages.clnf.patch_experts import PatchExperts

__all__ = ["GraphFitter", "GraphPatchExperts", "MapFitter", "cut_areas"]

Floats = NDArray[np.float32]


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
        plan.maps[:, :n] = maps.reshape(n, -1).T
        done: tuple[int, int] = kernels.optimise(
            plan.pdm, self._base, plan.maps, plan.visible, plan.weights, (to_ref, to_img), plan.window, plan.table,
            plan.settings, self.memory(plan), params_global, params_local,
        )  # fmt: skip
        return done


class GraphFitter(MapFitter):
    """`MapFitter` with CCNF experts that a backend computes."""

    def __init__(self, model: LandmarkModel, settings: FitSettings, backend: GraphBackend) -> None:
        super().__init__(model, settings)
        self.experts = [GraphPatchExperts(patches, backend) for patches in model.patches]


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
        if window not in self._networks:
            name = f"ccnf_{self.scale:g}_{window}"
            self._networks[window] = self._backend.load(build_ccnf_graph(self._patches, window, name))
        areas = cut_areas(image, points_px, to_img, self.visible[view], window)
        (maps,) = self._networks[window].run(areas[None], np.array([view], np.int64))
        return np.ascontiguousarray(maps[0])


def cut_areas(
    image: Floats, points_px: Floats, to_img: Floats, visible: NDArray[np.bool_], window: int
) -> NDArray[np.float32]:
    """The patches (n, s, s), s = window + 10, around points_px (2n,) of image (h, w); 0 where not visible.

    `to_img` (2, 2) = [a -b; b a] turns and scales the reference frame into the image.
    """
    n, side = visible.size, window + patch_kernels.SUPPORT - 1
    a, b = to_img[0, 0], -to_img[0, 1]
    steps = np.empty((2, side), np.int32)
    patch_kernels.grid_steps(a, b, steps)
    areas = np.zeros((n, side, side), np.float32)
    for point in np.flatnonzero(visible):
        patch_kernels.warp_patch(image, a, b, points_px[point], points_px[n + point], steps, areas[point])
    return areas
