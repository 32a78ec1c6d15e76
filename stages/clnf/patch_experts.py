"""CCNF patch experts packed for the kernels, and the response maps of a shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.models.types import CcnfPatches, CcnfPatchExpert
from auflow.stages.clnf import response_kernels as kernels

__all__ = ["PackedExperts", "PatchExperts"]

Floats = NDArray[np.float32]
PackedExperts = tuple[NDArray[np.int32], tuple[Floats, Floats, Floats, Floats]]

_ALPHA_FLOOR = 1e-4  # neurons below it are left out, as in OpenFace


class PatchExperts:
    """The experts of one scale. Arrays of a view, and Sigma of a view and window, are packed when first asked for."""

    def __init__(self, patches: CcnfPatches) -> None:
        self.scale = float(patches.scale)
        self.centres_rad = np.deg2rad(patches.centres_deg)
        self.visible = np.ascontiguousarray(patches.visibilities, np.bool_)
        self.weights = np.ascontiguousarray(self.visible, np.float32)
        self._patches = patches
        self._experts: dict[int, PackedExperts] = {}
        self._sigmas: dict[tuple[int, int], Floats] = {}

    def view_index(self, params_global: Floats) -> int:
        """The view whose centre is nearest to the head's rotation."""
        away = self.centres_rad - params_global[1:4].astype(np.float64)
        return int(np.argmin((away * away).sum(axis=1)))

    def experts(self, view: int) -> PackedExperts:
        """The experts of one view as the kernels want them: points of each group of lanes, and their numbers."""
        if view not in self._experts:
            self._experts[view] = _pack(self._patches.experts[view])
        return self._experts[view]

    def sigmas(self, view: int, window: int) -> Floats:
        """Sigma = inv(2 (sum(alpha) I + sum(beta S))) of every point: (n, window^2, window^2)."""
        key = (view, window)
        if key not in self._sigmas:
            self._sigmas[key] = _sigmas(self._patches.experts[view], self._patches.sigma_components.get(window), window)
        return self._sigmas[key]

    def response_maps(self, image: Floats, points_px: Floats, to_img: Floats, view: int, window: int) -> Floats:
        """Response maps (n, window, window) float32 around points_px (2n,) of image (h, w) float32."""
        n = points_px.size // 2
        out = np.zeros((n, window, window), np.float32)
        order, numbers = self.experts(view)
        kernels.response_maps(image, points_px, to_img, order, numbers, self.sigmas(view, window), out)
        return out


def _pack(experts: tuple[CcnfPatchExpert | None, ...]) -> PackedExperts:
    neurons = max((e.alphas.size for e in experts if e is not None), default=0)
    present = [i for i, e in enumerate(experts) if e is not None]
    groups, lanes = -(-len(present) // kernels.LANES), kernels.LANES
    order = np.full((groups, lanes), -1, np.int32)
    order.reshape(-1)[: len(present)] = present
    weights = np.zeros((groups, neurons, kernels.TAPS, lanes), np.float32)
    sums, biases, two_alphas = np.zeros((3, groups, neurons, lanes), np.float32)
    for place, i in enumerate(present):
        e = experts[i]
        assert e is not None
        g, lane, k = place // lanes, place % lanes, e.alphas.size
        taps = e.weights.reshape(k, -1) * e.norm_weights[:, None]
        weights[g, :k, :, lane] = taps
        sums[g, :k, lane] = taps.astype(np.float32).sum(axis=1, dtype=np.float64)
        biases[g, :k, lane] = e.biases
        two_alphas[g, :k, lane] = np.where(e.alphas > _ALPHA_FLOOR, 2 * e.alphas, 0)
    return order, (weights.reshape(groups, neurons, -1), sums, biases, two_alphas)


def _sigmas(experts: tuple[CcnfPatchExpert | None, ...], components: Floats | None, window: int) -> Floats:
    count = window * window
    out = np.zeros((len(experts), count, count), np.float32)
    present = [(i, e) for i, e in enumerate(experts) if e is not None]
    if not present:
        return out
    precision = np.eye(count) * np.array([e.alphas.sum() for _, e in present])[:, None, None]
    if components is not None and len(components):
        betas = np.stack([e.betas for _, e in present])
        precision += (betas @ components.reshape(len(components), -1)).reshape(-1, count, count)
    out[[i for i, _ in present]] = np.linalg.inv(2 * precision)
    return out
