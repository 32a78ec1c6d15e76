"""CEN patch experts and the response maps of a shape. Stands in for `patch_experts.PatchExperts` in a fitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError, ShapeError
from auflow.models.cen import CenPatches, CenPatchExpert
from auflow.stages.clnf import cen_kernels, patch_kernels
from auflow.stages.clnf.areas import cut_areas
from auflow.stages.clnf.fit_kernels import nearest_view
from auflow.stages.settings import CenPrecision

__all__ = ["CenPatchExperts"]

Floats = NDArray[np.float32]

_SUPPORT = patch_kernels.SUPPORT
_INPUTS = 1 + patch_kernels.TAPS
_ACTIVATE: dict[str, Callable[[Floats, Floats], Any]] = {"relu": cen_kernels.rectify, "sigmoid": cen_kernels.squash}


class _Network(Protocol):
    """One expert as the matrix products want it."""

    def run(self, inputs: Floats, out: Floats) -> None:
        """Outputs out (k,) on inputs (k, 122)."""


@dataclass(frozen=True, slots=True)
class _View:
    """The networks of a view, each once, and the points that they serve, one network's after the other's."""

    networks: tuple[tuple[_Network, int], ...]  # and how many points it serves
    served: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Window:
    """What depends on the size of the search window alone."""

    places: NDArray[np.int64]  # top-left corners of the evaluated windows in the flat patch
    steps: NDArray[np.int32]
    memory: tuple[Floats, Floats, Floats]


class CenPatchExperts:
    """The experts of one scale. Those of a view are packed when it is first asked for.

    One network sees all positions of all the points that it serves (in the frontal view mostly a pair) as one
    matrix: one product per layer. Holds scratch space, so one instance serves one thread.
    """

    def __init__(self, patches: CenPatches, *, sparse: bool = True, precision: CenPrecision = "float32") -> None:
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
        self._make = _maker(precision)
        self._networks: dict[tuple[int, int], _Network] = {}
        self._views: dict[int, _View] = {}
        self._windows: dict[int, _Window] = {}
        self._inputs, self._values = np.empty((0, _INPUTS), np.float32), np.empty(0, np.float32)

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
        of_view, of_window = self._view(view), self._window(window)
        turn = to_img[0, 0], -to_img[0, 1]
        patch_kernels.grid_steps(*turn, of_window.steps)
        inputs, values = self._room(of_view.served.size * of_window.places.size)
        cen_kernels.view_inputs(
            image, turn, points_px, of_view.served, of_view.mirrored, of_window.steps, of_window.places,
            of_window.memory, inputs,
        )  # fmt: skip
        start = 0
        for network, points in of_view.networks:
            stop = start + points * of_window.places.size
            network.run(inputs[start:stop], values[start:stop])
            start = stop
        out = np.zeros((points_px.size // 2, window, window), np.float32)
        cen_kernels.place_view(values, of_view.served, of_view.mirrored, self._sparse, out)
        return out

    def areas(self, image: Floats, points_px: Floats, to_img: Floats, view: int, window: int) -> Floats:
        """The patches (v, window + 10, window + 10) float32 of the v points that are visible in the view, in order.

        They are what the graph of `models.onnx.cen` takes, of one face; arguments as in `response_maps`.
        """
        visible = self.visible[view]
        seen: Floats = cut_areas(image, points_px, to_img, visible, window)[visible]
        return seen

    def _room(self, count: int) -> tuple[Floats, Floats]:
        """Inputs (count, 122) and values (count,) to write into."""
        if len(self._values) < count:
            self._inputs, self._values = np.empty((count, _INPUTS), np.float32), np.empty(count, np.float32)
        return self._inputs[:count], self._values[:count]

    def _window(self, window: int) -> _Window:
        if window not in self._windows:
            if window < 3 or window % 2 == 0:
                raise ShapeError(f"window: expected an odd number of at least 3, got {window}")
            side = window + _SUPPORT - 1
            row, column = np.divmod(np.arange(window * window), window)
            places = row * side + column
            places = places[(row + column) % 2 == 1] if self._sparse else places
            memory = tuple(np.empty(shape, np.float32) for shape in ((side, side), side * side, side * side))
            self._windows[window] = _Window(places, np.empty((2, side), np.int32), memory)  # type: ignore[arg-type]
        return self._windows[window]

    def _view(self, view: int) -> _View:
        if view not in self._views:
            served: dict[tuple[int, int], list[tuple[int, bool]]] = {}
            for point in np.flatnonzero(self.visible[view]).tolist():
                home, twin, mirrored = self._patches.source(view, point)
                served.setdefault((home, twin), []).append((point, mirrored))
            flat = [entry for points in served.values() for entry in points]
            self._views[view] = _View(
                tuple((self._network(*key), len(points)) for key, points in served.items()),
                np.array([point for point, _ in flat], np.int64),
                np.array([mirrored for _, mirrored in flat], np.bool_),
            )
        return self._views[view]

    def _network(self, view: int, point: int) -> _Network:
        """A stored expert, packed once: a view and its mirror image share it."""
        if (view, point) not in self._networks:
            self._networks[view, point] = self._make(self._patches.experts[view][point])
        return self._networks[view, point]


class _FloatNetwork:
    """An expert in float32, multiplied by NumPy's BLAS."""

    def __init__(
        self, expert: CenPatchExpert, order: NDArray[np.int64], scratch: dict[tuple[int, int], Floats]
    ) -> None:
        self._layers = tuple(
            (
                np.ascontiguousarray(layer.weights[order] if index == 0 else layer.weights),
                np.ascontiguousarray(layer.biases),
                _ACTIVATE[layer.activation],
            )
            for index, layer in enumerate(expert.layers)
        )
        self._scratch = scratch

    def run(self, inputs: Floats, out: Floats) -> None:
        """As `_Network.run`."""
        values, last = inputs, len(self._layers) - 1
        for index, (weights, biases, activate) in enumerate(self._layers):
            # a buffer of its own for each layer: a product must not overwrite what it reads
            goal = out[:, None] if index == last else self._buffer(len(inputs), biases.size, index)
            np.matmul(values, weights, out=goal)
            activate(goal, biases)
            values = goal

    def _buffer(self, rows: int, columns: int, layer: int) -> Floats:
        key = (layer, columns)
        held = self._scratch.get(key)
        if held is None or held.shape[0] < rows:
            held = self._scratch[key] = np.empty((rows, columns), np.float32)
        return held[:rows]


def _maker(precision: CenPrecision) -> Callable[[CenPatchExpert], _Network]:
    """Packs an expert; those that it has packed share their scratch space."""
    # The file has pixels column by column; the first layer's rows are reordered once, so patches are read row by row.
    pixels = np.arange(patch_kernels.TAPS).reshape(_SUPPORT, _SUPPORT)  # [column, row]
    order = np.concatenate([[0], 1 + pixels.T.reshape(-1)])
    if precision == "int8":
        # It has kernels of its own to compile, which float32 does without.
        from auflow.stages.clnf.cen_int8 import Int8Memory, Int8Network

        memory = Int8Memory()
        return lambda expert: Int8Network(expert, order, memory)
    scratch: dict[tuple[int, int], Floats] = {}
    return lambda expert: _FloatNetwork(expert, order, scratch)


def _check_support(patches: CenPatches) -> None:
    sizes = {(e.width, e.height) for view in patches.experts for e in view if e.layers}
    if sizes != {(_SUPPORT, _SUPPORT)}:
        raise ModelError(
            f"CEN experts of scale {patches.scale}: expected patches of {_SUPPORT} x {_SUPPORT} pixels, "
            f"got {sorted(sizes)}"
        )
