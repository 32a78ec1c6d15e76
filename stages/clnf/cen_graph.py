"""CEN response maps that a compute backend computes, a graph for each view and window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend, Network
from auflow.models.cen import CenPatches
from auflow.models.onnx.cen import build_cen_graph
from auflow.stages.clnf.cen_experts import CenPatchExperts

__all__ = ["GraphCenExperts"]

Floats = NDArray[np.float32]


class GraphCenExperts(CenPatchExperts):
    """`CenPatchExperts` whose maps are a graph's; that of a view and window is loaded when it is first asked for."""

    def __init__(self, patches: CenPatches, backend: GraphBackend) -> None:
        super().__init__(patches)
        self._backend = backend
        self._graphs: dict[tuple[int, int], Network] = {}

    def response_maps(self, image: Floats, points_px: Floats, to_img: Floats, view: int, window: int) -> Floats:
        """As `CenPatchExperts.response_maps`, but for rounding.

        Raises
        ------
        ShapeError
        BackendError
        """
        key = view, window
        if key not in self._graphs:
            self._graphs[key] = self._backend.load(build_cen_graph(self._patches, view, window))
        areas = self.areas(image, points_px, to_img, view, window)
        out = np.zeros((points_px.size // 2, window, window), np.float32)
        out[self.visible[view]] = self._graphs[key].run(areas[None])[0][0]
        return out
