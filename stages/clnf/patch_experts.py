"""CCNF patch experts packed for the kernels, and the response maps of a shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from auflow.models.types import CcnfPatches, CcnfPatchExpert
from auflow.stages.clnf import response_kernels as kernels
from auflow.stages.clnf.fit_kernels import nearest_view
from auflow.stages.clnf.lanes import LANES, aligned, padded
from auflow.stages.clnf.patch_kernels import SUPPORT, TAPS
from auflow.stages.clnf.sigma import PackedSigma, Shifts, make_schedule, pack_sigma
from auflow.stages.clnf.sigma_kernels import REACH, STRIDE

__all__ = ["PackedExperts", "PatchExperts", "Scratch", "make_scratch"]

Floats = NDArray[np.float32]
PackedExperts = tuple[NDArray[np.bool_], Floats, Floats, Floats, Floats]
# area, mean, inverse norm, sums, response, answer, padded, rows, steps: of `response_kernels.response_maps`
Scratch = tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, NDArray[np.int32]]

_ALPHA_FLOOR = 1e-4  # neurons below it are left out, as in OpenFace
_LOG2_E = 1.0 / math.log(2.0)


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """What `response_kernels.response_maps` takes for a view and a window."""

    experts: PackedExperts
    sigma: PackedSigma
    scratch: Scratch


class PatchExperts:
    """The experts of one scale. What belongs to a view or a window is packed when first asked for."""

    def __init__(self, patches: CcnfPatches) -> None:
        self.scale = float(patches.scale)
        self.centres_rad = np.deg2rad(patches.centres_deg)
        self.visible = np.ascontiguousarray(patches.visibilities, np.bool_)
        self.weights = np.ascontiguousarray(self.visible, np.float32)
        self._patches = patches
        self._experts: dict[int, PackedExperts] = {}
        self._shifts: dict[int, tuple[Shifts, Floats]] = {}
        self._plans: dict[tuple[int, int], ResponsePlan] = {}

    def view_index(self, params_global: Floats) -> int:
        """The view whose centre is nearest to the head's rotation."""
        return int(nearest_view(self.centres_rad, params_global))

    def plan(self, view: int, window: int) -> ResponsePlan:
        """Experts and Sigma of one view for a window, and memory to work in.

        Raises
        ------
        ModelError
            Where the model's similarity matrices are no sums of shifts.
        """
        key = (view, window)
        if key not in self._plans:
            if view not in self._experts:
                self._experts[view] = _pack(self._patches.experts[view])
            if window not in self._shifts:
                none = np.zeros((0, window**2, window**2), np.float32)
                shifts = Shifts.of(self._patches.sigma_components.get(window, none), window)
                self._shifts[window] = shifts, make_schedule(self._patches.experts, shifts)
            sigma = pack_sigma(self._patches.experts[view], *self._shifts[window])
            self._plans[key] = ResponsePlan(self._experts[view], sigma, make_scratch(window))
        return self._plans[key]

    def response_maps(self, image: Floats, points_px: Floats, to_img: Floats, view: int, window: int) -> Floats:
        """Response maps (n, window, window) float32 around points_px (2n,) of image (h, w) float32.

        `to_img` (2, 2) = [a -b; b a] turns and scales the reference frame into the image. Maps of landmarks without an
        expert in this view are 0. A fit calls the kernel itself, which leaves the landmarks side by side.
        """
        n, plan = points_px.size // 2, self.plan(view, window)
        places = aligned((2, padded(n)), np.float32)
        places[:, :n] = points_px.reshape(2, n)
        maps = aligned((window * window, padded(n)), np.float32)
        kernels.response_maps(image, places.reshape(-1), to_img, plan.experts, plan.sigma, plan.scratch, maps)
        return np.ascontiguousarray(maps[:, :n].T).reshape(n, window, window)


@cache
def make_scratch(window: int) -> Scratch:
    """Memory for one group of lanes; one set for all experts, as one thread works on one group at a time."""
    places, side = window * window * LANES, window + SUPPORT - 1
    mean, inverse_norm, sums, response, answer = aligned((5, places), np.float32)
    return (
        aligned(side * side * LANES, np.float32),
        mean,
        inverse_norm,
        sums,
        response,
        answer,
        aligned((window + 2 * REACH) * STRIDE, np.float32),
        aligned((3, window * LANES), np.float32),
        np.zeros((2, side), np.int32),
    )


def _pack(experts: tuple[CcnfPatchExpert | None, ...]) -> PackedExperts:
    neurons = max((e.alphas.size for e in experts if e is not None), default=0)
    groups = padded(len(experts)) // LANES
    present = np.zeros(groups * LANES, np.bool_)
    weights = aligned((groups, neurons, TAPS, LANES), np.float32)
    sums, biases, shares = aligned((3, groups, neurons, LANES), np.float32)
    for point, e in enumerate(experts):
        if e is None:
            continue
        present[point] = True
        g, lane, k = point // LANES, point % LANES, e.alphas.size
        # The kernel takes powers of 2, and Sigma's factor of 1 / (2 sum(alpha)) is in the neurons' shares.
        taps = e.weights.reshape(k, -1) * e.norm_weights[:, None] * _LOG2_E
        weights[g, :k, :, lane] = taps
        sums[g, :k, lane] = taps.astype(np.float32).sum(axis=1, dtype=np.float64)
        biases[g, :k, lane] = e.biases * _LOG2_E
        shares[g, :k, lane] = np.where(e.alphas > _ALPHA_FLOOR, e.alphas, 0) / e.alphas.sum()
    return present, weights.reshape(groups, neurons, -1), sums, biases, shares
