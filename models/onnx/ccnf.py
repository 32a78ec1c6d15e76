"""The CCNF response maps of one scale as an ONNX graph: all landmarks of any number of faces at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.onnx.graph import Graph, OnnxModel
from auflow.models.types import CcnfPatches, CcnfPatchExpert

__all__ = ["AREAS", "MAPS", "VIEWS", "build_ccnf_graph", "unfolding"]

AREAS, VIEWS, MAPS = "areas", "views", "maps"
_ALPHA_FLOOR = 1e-4  # neurons below it are left out, as in OpenFace
_LEAST_VARIANCE = 1e-9  # of a pixel; below it a window has no contrast

Floats = NDArray[np.float32]


def build_ccnf_graph(patches: CcnfPatches, window: int, name: str) -> OnnxModel:
    """The response maps of one scale, as `auflow.stages.clnf.response_kernels.response_maps` computes them.

    Parameters
    ----------
    patches : the scale's experts, v views of n points
    window : side of the maps, w
    name : of the graph

    Returns
    -------
    OnnxModel
        `areas` (b, n, s, s) float32, s = w + 10: the patches around the landmarks, turned and scaled to the reference
        frame; `views` (b,) int64: the view of each face -> `maps` (b, n, w, w) float32, none below 0; 0 for a landmark
        without an expert in the view.

    Raises
    ------
    ModelError
        There is no expert at all, or they are not of one size.

    References
    ----------
    Baltrusaitis, Robinson, Morency, "Constrained local neural fields for robust facial landmark detection in the
    wild", ICCV Workshops 2013.
    """
    support = _support(patches)
    points, side = len(patches.experts[0]), window + support - 1
    weights, biases, shares = _neurons(patches, support)
    graph = Graph(name)
    areas = graph.input(AREAS, ["b", points, side, side], span=(0.0, 255.0))
    views = graph.input(VIEWS, ["b"], "int64", span=(0, len(patches.experts) - 1))

    def of_view(array: Floats) -> str:
        return graph.node("Gather", [graph.constant(array), views], axis=0)

    windows = _windows(graph, areas, points, window, support)
    products = graph.node("MatMul", [_without_contrast(graph, windows), of_view(weights)])
    active = graph.sigmoid(graph.node("Add", [products, of_view(biases)]))
    responses = graph.node("MatMul", [active, of_view(shares)])
    smoothed = graph.node("MatMul", [of_view(_sigmas(patches, window)), responses])
    lowest = graph.node("ReduceMin", [smoothed], axes=[2], keepdims=1)
    raised = graph.node("Sub", [smoothed, graph.node("Min", [lowest, graph.constant(np.float32(0))])])
    shape = graph.constant(np.array([0, points, window, window], np.int64))
    graph.output(MAPS, graph.node("Reshape", [raised, shape]), ["b", points, window, window])
    return graph.build()


def unfolding(window: int, support: int) -> NDArray[np.int64]:
    """Places (w * w, support^2) of every window's pixels in a flat area, window by window and row by row."""
    side = window + support - 1
    rows, columns = np.divmod(np.arange(window * window), window)
    down, right = np.divmod(np.arange(support * support), support)
    return (rows[:, None] + down) * side + columns[:, None] + right


def _windows(graph: Graph, areas: str, points: int, window: int, support: int) -> str:
    """Every window of every area: (b, n, w * w, support^2)."""
    side = window + support - 1
    flat = graph.node("Reshape", [areas, graph.constant(np.array([0, points, side * side], np.int64))])
    return graph.node("Gather", [flat, graph.constant(unfolding(window, support))], axis=2)


def _without_contrast(graph: Graph, windows: str) -> str:
    """The windows less their mean, divided by the norm of what is left; zero where there is no contrast."""
    centred = graph.node("Sub", [windows, graph.node("ReduceMean", [windows], axes=[3], keepdims=1)])
    square = graph.node("ReduceSum", [graph.node("Mul", [centred, centred]), graph.constant(np.array([3]))], keepdims=1)
    # One that has no contrast is divided by infinity, nearly.
    norm = graph.node("Sqrt", [graph.node("Max", [square, graph.constant(np.float32(_LEAST_VARIANCE))])])
    return graph.node("Div", [centred, norm])


def _support(patches: CcnfPatches) -> int:
    sides: set[int] = {side for view in patches.experts for e in view if e is not None for side in e.weights.shape[1:]}
    if len(sides) != 1:
        raise ModelError(f"patch experts of scale {patches.scale}: expected square ones of one size, got {sides}")
    return sides.pop()


def _neurons(patches: CcnfPatches, support: int) -> tuple[Floats, Floats, Floats]:
    """Weights (v, n, support^2, k), biases (v, n, 1, k) and shares (v, n, k, 1); a share of 0 switches one off."""
    views, points = len(patches.experts), len(patches.experts[0])
    most = max(e.alphas.size for view in patches.experts for e in view if e is not None)
    weights = np.zeros((views, points, support * support, most), np.float32)
    biases, shares = np.zeros((2, views, points, most), np.float32)
    for v, p, e in _present(patches):
        k = e.alphas.size
        weights[v, p, :, :k] = (e.weights.reshape(k, -1) * e.norm_weights[:, None]).T
        biases[v, p, :k] = e.biases
        shares[v, p, :k] = np.where(e.alphas > _ALPHA_FLOOR, e.alphas, 0) / e.alphas.sum()
    return weights, biases[:, :, None, :], shares[..., None]


def _sigmas(patches: CcnfPatches, window: int) -> Floats:
    """inv(I + sum_k (beta_k / A) S_k) with A the sum of the alphas: (v, n, w * w, w * w); 0 without an expert.

    The 2 A of the paper's Sigma is in the shares of the neurons.
    """
    places = window * window
    components = patches.sigma_components.get(window)
    out = np.zeros((len(patches.experts), len(patches.experts[0]), places, places), np.float32)
    for v, p, e in _present(patches):
        precision = np.eye(places)
        if components is not None and len(components):
            precision += np.tensordot(e.betas / e.alphas.sum(), components.astype(np.float64), axes=1)
        out[v, p] = np.linalg.inv(precision)
    return out


def _present(patches: CcnfPatches) -> list[tuple[int, int, CcnfPatchExpert]]:
    return [(v, p, e) for v, view in enumerate(patches.experts) for p, e in enumerate(view) if e is not None]
