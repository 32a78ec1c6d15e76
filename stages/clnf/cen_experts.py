"""CEN patch experts and the response maps of a shape. Stands in for `patch_experts.PatchExperts` in a fitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError, ShapeError
from auflow.models.cen import CenPatches, CenPatchExpert
from auflow.stages.clnf import cen_kernels, patch_kernels
from auflow.stages.clnf.fit_kernels import nearest_view

__all__ = ["CenPatchExperts"]

Floats = NDArray[np.float32]

_SUPPORT = patch_kernels.SUPPORT
_INPUTS = 1 + patch_kernels.TAPS
_ACTIVATE: dict[str, Callable[[Floats, Floats], Any]] = {"relu": cen_kernels.rectify, "sigmoid": cen_kernels.squash}


@dataclass(frozen=True, slots=True)
class _Network:
    """One expert as the matrix products want it, and the points of a view that it serves."""

    layers: tuple[tuple[Floats, Floats, Callable[[Floats, Floats], Any]], ...]  # weights, biases, activation
    served: tuple[tuple[int, bool], ...]  # (point, mirrored)


class CenPatchExperts:
    """The experts of one scale. Those of a view are packed when it is first asked for.

    One network sees all positions of all the points that it serves (in the frontal view mostly a pair) as one
    matrix: one product per layer. Holds scratch space, so one instance serves one thread.
    """

    def __init__(self, patches: CenPatches, *, sparse: bool = True) -> None:
        """With `sparse`, as in OpenFace, every second position is evaluated and the others are interpolated.

        Raises
        ------
        ModelError
            where an expert is not of 11 x 11 pixels
        """
        _check_support(patches)
        self.scale = float(patches.scale)
        self.centres_rad = np.deg2rad(patches.centres_deg)
        self.visible = np.ascontiguousarray(patches.visibilities, np.bool_)
        self.weights = np.ascontiguousarray(self.visible, np.float32)
        self._patches = patches
        self._sparse = sparse
        self._networks: dict[int, list[_Network]] = {}
        self._scratch: dict[tuple[int, int], Floats] = {}

    def view_index(self, params_global: Floats) -> int:
        """The view whose centre is nearest to the head's rotation."""
        return int(nearest_view(self.centres_rad, params_global))

    def response_maps(self, image: Floats, points_px: Floats, to_img: Floats, view: int, window: int) -> Floats:
        """Response maps (n, window, window) float32 around points_px (2n,) of image (h, w) float32.

        `to_img` (2, 2) = [a -b; b a] turns and scales the reference frame into the image. Maps of points that are
        not visible in the view are 0.

        Raises
        ------
        ShapeError
            where the window is even or below 3
        """
        if window < 3 or window % 2 == 0:
            raise ShapeError(f"window: expected an odd number of at least 3, got {window}")
        n = points_px.size // 2
        out = np.zeros((n, window, window), np.float32)
        cutter = _Cutter(image, to_img, window, _places(window, sparse=self._sparse))
        place = cen_kernels.place_sparse if self._sparse else cen_kernels.place_dense
        count = cutter.places.size
        for network in self._view_networks(view):
            inputs = self._buffer(count * len(network.served), _INPUTS, 0)
            for k, (point, mirrored) in enumerate(network.served):
                cutter.cut(points_px[point], points_px[n + point], mirrored, inputs[k * count : (k + 1) * count])
            values = self._run(network, inputs)
            for k, (point, mirrored) in enumerate(network.served):
                place(values[k * count : (k + 1) * count], mirrored, out[point])
        return out

    def _run(self, network: _Network, values: Floats) -> Floats:
        """Outputs (k,) of a network on inputs (k, 122)."""
        for index, (weights, biases, activate) in enumerate(network.layers, start=1):
            # a buffer of its own for each layer: a product must not overwrite what it reads
            out = self._buffer(values.shape[0], biases.size, index)
            np.matmul(values, weights, out=out)
            activate(out, biases)
            values = out
        return values.reshape(-1)

    def _buffer(self, rows: int, columns: int, layer: int) -> Floats:
        key = (layer, columns)
        held = self._scratch.get(key)
        if held is None or held.shape[0] < rows:
            held = self._scratch[key] = np.empty((rows, columns), np.float32)
        return held[:rows]

    def _view_networks(self, view: int) -> list[_Network]:
        if view not in self._networks:
            self._networks[view] = _pack(self._patches, view)
        return self._networks[view]


class _Cutter:
    """Cuts the patch around a point and makes the networks' inputs of it."""

    def __init__(self, image: Floats, to_img: Floats, window: int, places: NDArray[np.int64]) -> None:
        side = window + _SUPPORT - 1
        self.places = places
        self._image = image
        self._a, self._b = to_img[0, 0], -to_img[0, 1]
        self._steps = np.empty((2, side), np.int32)
        patch_kernels.grid_steps(self._a, self._b, self._steps)
        self._area = np.empty((side, side), np.float32)
        self._mean, self._inverse_norm = np.empty((2, side * side), np.float32)

    def cut(self, x_px: np.float32, y_px: np.float32, mirrored: bool, out: Floats) -> None:
        """Inputs out (k, 122) of the patch centred at (x, y)."""
        patch_kernels.warp_patch(self._image, self._a, self._b, x_px, y_px, self._steps, self._area)
        if mirrored:
            cen_kernels.mirror(self._area)
        patch_kernels.window_statistics(self._area, self._mean, self._inverse_norm)
        cen_kernels.columns(self._area, self._mean, self._inverse_norm, _SUPPORT, self.places, out)


def _places(window: int, *, sparse: bool) -> NDArray[np.int64]:
    """Top-left corners of the evaluated windows in the flat area, row by row."""
    row, column = np.divmod(np.arange(window * window), window)
    places = row * (window + _SUPPORT - 1) + column
    return places[(row + column) % 2 == 1] if sparse else places


def _check_support(patches: CenPatches) -> None:
    sizes = {(e.width, e.height) for view in patches.experts for e in view if e.layers}
    if sizes != {(_SUPPORT, _SUPPORT)}:
        raise ModelError(
            f"CEN experts of scale {patches.scale}: expected patches of {_SUPPORT} x {_SUPPORT} pixels, "
            f"got {sorted(sizes)}"
        )


def _pack(patches: CenPatches, view: int) -> list[_Network]:
    """The networks of one view, each once, with the points that they serve."""
    served: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for point in np.flatnonzero(patches.visibilities[view]).tolist():
        home, twin, mirrored = patches.source(view, point)
        served.setdefault((home, twin), []).append((point, mirrored))
    return [
        _Network(_packed_layers(patches.experts[home][twin]), tuple(points)) for (home, twin), points in served.items()
    ]


def _packed_layers(expert: CenPatchExpert) -> tuple[tuple[Floats, Floats, Callable[[Floats, Floats], Any]], ...]:
    """Contiguous weights; the first layer's rows reordered once, so that patches are read row by row."""
    pixels = np.arange(expert.width * expert.height).reshape(expert.width, expert.height)  # [column, row]
    order = np.concatenate([[0], 1 + pixels.T.reshape(-1)])
    return tuple(
        (
            np.ascontiguousarray(layer.weights[order] if index == 0 else layer.weights),
            np.ascontiguousarray(layer.biases),
            _ACTIVATE[layer.activation],
        )
        for index, layer in enumerate(expert.layers)
    )
