"""CE-CLM's response maps of a view and scale as one graph: all experts in one product for each layer.

As `stages.clnf.cen_experts`, from the warped patches on: contrast of each position, dense layers, the checkerboard and
its interpolation. Only operators with constants for shapes, places and weights, and no control flow, so that TensorRT
and Core ML take it too. In 8 bits it is for ONNX Runtime on the CPU, which without VNNI lets sums of two products
overflow; `stages.clnf.cen_int8` is exact everywhere, and faster.

Source: Zadeh, Baltrusaitis, Morency, "Convolutional experts constrained local model for 3D facial landmark detection",
ICCVW 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError, ShapeError
from auflow.models.cen import CenPatches, CenPatchExpert
from auflow.models.onnx.graph import Graph, OnnxModel
from auflow.models.onnx.writer import DTYPES

__all__ = ["INPUT", "OUTPUT", "build_cen_graph"]

INPUT = "areas"
OUTPUT = "maps"

Floats = NDArray[np.float32]
CenPrecision: TypeAlias = Literal["float32", "int8"]

_SUPPORT = 11
_TAPS = _SUPPORT * _SUPPORT
_LEAST_VARIANCE = 1e-9 * _TAPS  # of a window's sum of squares; below it there is no contrast
_OPERATORS = {"relu": "Relu", "sigmoid": "Sigmoid"}


def build_cen_graph(
    patches: CenPatches, view: int, window: int, *, sparse: bool = True, precision: CenPrecision = "float32"
) -> OnnxModel:
    """The response maps of the v points that a view sees, for a batch of faces.

    Returns
    -------
    OnnxModel
        `areas` (b, v, s, s) float32, s = window + 10: the warped patches of the visible points in their order, none
        flipped -> `maps` (b, v, window, window) float32. "int8": all layers but those of one output, weights with a
        scale for each output, activations with one for each position.

    Raises
    ------
    ShapeError
        The window is even or below 3.
    ModelError
        The view sees nothing, or an expert is not of 11 x 11 pixels.
    """
    if window < 3 or window % 2 == 0:
        raise ShapeError(f"window: expected an odd number of at least 3, got {window}")
    groups, order = _groups(patches, view)
    side, points = window + _SUPPORT - 1, len(order)
    name = f"CEN {patches.scale:.2f} view {view} window {window}" + (" int8" if precision == "int8" else "")
    graph = Graph(name)
    areas = graph.input(INPUT, ["b", points, side, side], span=(0.0, 255.0))
    flips = np.array([mirrored for group in groups for served in group.served for _, mirrored in served])
    areas = _flipped(graph, _centred(graph, _taken(graph, areas, order)), flips, side)
    values, start = [], 0
    for group in groups:
        held = areas if len(groups) == 1 else _taken(graph, areas, np.arange(start, start + group.points))
        values.append(_values(graph, group, held, window, sparse=sparse, precision=precision))
        start += group.points
    joined = values[0] if len(values) == 1 else graph.node("Concat", values, axis=1)
    maps = _flipped(graph, _interpolated(graph, joined, points, window, sparse=sparse), flips, window)
    graph.output(OUTPUT, _taken(graph, maps, np.argsort(order)), ["b", points, window, window])
    return graph.build()


@dataclass(frozen=True, slots=True)
class _Group:
    """Experts of one form that serve as many points each: one product takes them all."""

    experts: tuple[CenPatchExpert, ...]
    served: tuple[tuple[tuple[int, bool], ...], ...]  # of each expert: (point, mirrored)

    @property
    def points(self) -> int:
        return len(self.experts) * len(self.served[0])


def _groups(patches: CenPatches, view: int) -> tuple[list[_Group], NDArray[np.int64]]:
    """The experts of a view, and for each point in their order its place among the visible ones."""
    served: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    visible = np.flatnonzero(patches.visibilities[view]).tolist()
    for point in visible:
        home, twin, mirrored = patches.source(view, point)
        served.setdefault((home, twin), []).append((point, mirrored))
    if not served:
        raise ModelError(f"CEN experts of scale {patches.scale}: view {view} sees no points, so there is nothing to do")
    alike: dict[tuple[object, ...], list[tuple[CenPatchExpert, tuple[tuple[int, bool], ...]]]] = {}
    for (home, twin), points in served.items():
        expert = patches.experts[home][twin]
        if (expert.width, expert.height) != (_SUPPORT, _SUPPORT):
            raise ModelError(
                f"CEN experts of scale {patches.scale}: expected patches of {_SUPPORT} x {_SUPPORT} pixels, "
                f"got {expert.width} x {expert.height}"
            )
        form = (len(points), *((*layer.weights.shape, layer.activation) for layer in expert.layers))
        alike.setdefault(form, []).append((expert, tuple(points)))
    groups = [
        _Group(tuple(expert for expert, _ in members), tuple(points for _, points in members))
        for members in alike.values()
    ]
    flat = [point for group in groups for points in group.served for point, _ in points]
    return groups, np.searchsorted(visible, flat)


def _taken(graph: Graph, values: str, places: NDArray[np.int64]) -> str:
    """These places of the axis of points; the same where they are all there is, in order."""
    return graph.node("Gather", [values, graph.constant(places.astype(np.int64))], axis=1)


def _flipped(graph: Graph, squares: str, flips: NDArray[np.bool_], side: int) -> str:
    """Squares (b, v, side, side), those of mirrored experts flipped left to right."""
    if not flips.any():
        return squares
    turned = graph.node("Gather", [squares, graph.constant(np.arange(side)[::-1].astype(np.int64))], axis=3)
    if flips.all():
        return turned
    return graph.node("Where", [graph.constant(flips[:, None, None]), turned, squares])


def _centred(graph: Graph, areas: str) -> str:
    """Areas less their mean in whole grey values: sums of squares keep their digits, values theirs."""
    mean = graph.node("ReduceMean", [areas], axes=[2, 3], keepdims=1)
    return graph.node("Sub", [areas, graph.node("Round", [mean])])


def _values(graph: Graph, group: _Group, areas: str, window: int, *, sparse: bool, precision: CenPrecision) -> str:
    """The experts' answers (b, points, positions) on areas (b, points, s, s)."""
    side, experts, shared = window + _SUPPORT - 1, len(group.experts), len(group.served[0])
    places = _positions(window, sparse=sparse)
    split = graph.node("Reshape", [areas, _shape(graph, -1, experts, shared * side * side)])
    split = graph.node("Transpose", [split], perm=[1, 0, 2])
    rows = graph.node("Reshape", [split, _shape(graph, experts, -1, side * side)])  # an expert's points of all faces
    windows = graph.node("Gather", [rows, graph.constant(_taps(places, window))], axis=2)
    values = _normalised(graph, graph.node("Reshape", [windows, _shape(graph, experts, -1, _TAPS)]))
    for index in range(len(group.experts[0].layers)):
        values = _layer(graph, group.experts, index, values, precision)
    answers = graph.node("Reshape", [values, _shape(graph, experts, -1, shared * places.size)])
    answers = graph.node("Transpose", [answers], perm=[1, 0, 2])
    return graph.node("Reshape", [answers, _shape(graph, -1, group.points, places.size)])


def _normalised(graph: Graph, windows: str) -> str:
    """Windows (..., 121) less their mean, by their norm; 0 where there is no contrast."""
    centred = graph.node("Sub", [windows, graph.node("ReduceMean", [windows], axes=[2], keepdims=1)])
    squares = graph.node("Mul", [centred, centred])
    total = graph.node("ReduceSum", [squares, graph.constant(np.array([2], np.int64))], keepdims=1)
    least = graph.constant(np.float32(_LEAST_VARIANCE).reshape(1))
    divided = graph.node("Div", [centred, graph.node("Sqrt", [graph.node("Max", [total, least])])])
    seen = graph.node("Cast", [graph.node("Greater", [total, least])], to=DTYPES["float32"])
    return graph.node("Mul", [divided, seen])


def _layer(graph: Graph, experts: Sequence[CenPatchExpert], index: int, values: str, precision: CenPrecision) -> str:
    """A dense layer of all experts: values (experts, rows, inputs) -> (experts, rows, outputs)."""
    layers = [expert.layers[index] for expert in experts]
    weights = np.stack([layer.weights for layer in layers]).astype(np.float32)
    biases = np.stack([layer.biases for layer in layers]).astype(np.float32)
    if index == 0:  # the first input is always 1
        weights, biases = weights[:, 1:], biases + weights[:, 0]
    if precision == "int8" and weights.shape[2] > 1:
        product = _product_in_8_bits(graph, weights, values, signed=index == 0)
    else:
        product = graph.node("MatMul", [values, graph.constant(np.ascontiguousarray(weights))])
    total = graph.node("Add", [product, graph.constant(biases[:, None, :])])
    if weights.shape[2] == 1 and layers[0].activation == "sigmoid":
        return graph.sigmoid(total)  # the response: a map of small values has to keep its shape
    return graph.node(_OPERATORS[layers[0].activation], [total])


def _product_in_8_bits(graph: Graph, weights: Floats, values: str, *, signed: bool) -> str:
    """values @ weights, both rounded; the first layer's values have a sign, the others none."""
    factors = np.abs(weights).max(axis=1, keepdims=True) / np.float32(127)
    held = np.rint(weights / np.where(factors > 0, factors, np.float32(1))).astype(np.int8)
    magnitudes = graph.node("Abs", [values]) if signed else values
    largest = graph.node("ReduceMax", [magnitudes], axes=[2], keepdims=1)
    levels, tiny = (np.float32(each).reshape(1) for each in (127 if signed else 255, 1e-30))
    scale = graph.node("Max", [graph.node("Div", [largest, graph.constant(levels)]), graph.constant(tiny)])
    rounded = graph.node("Round", [graph.node("Div", [values, scale])])
    zero = 0
    if signed:
        zero = 128
        rounded = graph.node("Add", [rounded, graph.constant(np.float32(zero).reshape(1))])
    whole = graph.node("Cast", [rounded], to=DTYPES["uint8"])
    inputs = [whole, graph.constant(held), graph.constant(np.array(zero, np.uint8))]
    sums = graph.node("Cast", [graph.node("MatMulInteger", inputs)], to=DTYPES["float32"])
    return graph.node("Mul", [graph.node("Mul", [sums, scale]), graph.constant(factors.astype(np.float32))])


def _interpolated(graph: Graph, values: str, points: int, window: int, *, sparse: bool) -> str:
    """Maps (b, points, window, window) of values (b, points, positions)."""
    full = graph.node("MatMul", [values, graph.constant(_interpolation(window))]) if sparse else values
    return graph.node("Reshape", [full, _shape(graph, -1, points, window, window)])


def _interpolation(window: int) -> Floats:
    """(positions, window^2): an evaluated position is itself, any other the mean of its direct neighbours."""
    positions = _positions(window, sparse=True)
    number = {int(place): k for k, place in enumerate(positions)}
    out = np.zeros((positions.size, window * window), np.float32)
    for place in range(window * window):
        row, column = divmod(place, window)
        near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [r * window + c for r, c in near if 0 <= r < window and 0 <= c < window]
        sources = [place] if place in number else inside
        for source in sources:
            out[number[source], place] = 1 / len(sources)
    return out


def _positions(window: int, *, sparse: bool) -> NDArray[np.int64]:
    """The evaluated positions in the flat map: of odd row + column, or all."""
    row, column = np.divmod(np.arange(window * window), window)
    return np.flatnonzero((row + column) % 2 == 1) if sparse else np.arange(window * window)


def _taps(positions: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Places (positions * 121,) in the flat area: of each position's window, column by column as the weights are."""
    side = window + _SUPPORT - 1
    row, column = np.divmod(positions, window)
    corners = row * side + column
    within = (np.arange(_SUPPORT)[None, :] * side + np.arange(_SUPPORT)[:, None]).reshape(-1)
    return np.asarray(corners[:, None] + within[None, :], np.int64).reshape(-1)


def _shape(graph: Graph, *sides: int) -> str:
    return graph.constant(np.array(sides, np.int64))
