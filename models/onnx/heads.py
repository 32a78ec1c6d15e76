"""All AU heads as one ONNX graph: descriptors in, intensities and presences out."""

from __future__ import annotations

import numpy as np

from auflow.models.au_heads import FEATURES, AuHeads, HeadSet
from auflow.models.onnx.graph import Graph, OnnxModel

__all__ = ["DECISIONS", "DESCRIPTORS", "INTENSITIES", "MEDIANS", "PRESENCES", "build_heads_graph"]

DESCRIPTORS, MEDIANS = "descriptors", "medians"
INTENSITIES, DECISIONS, PRESENCES = "intensities", "decisions", "presences"


def build_heads_graph(heads: AuHeads, name: str) -> OnnxModel:
    """The raw predictions of n faces, before any correction by a person's other frames.

    Parameters
    ----------
    heads : of one list file of OpenFace's
    name : of the graph

    Returns
    -------
    OnnxModel
        `descriptors` (n, 4702) float32: FHOG, then geometry; `medians` (n, 4702) float32: of the person, zeros where
        there is none yet -> `intensities` (n, i) float32; `decisions` (n, p) float32: values of the presences before
        they are cut at 0; `presences` (n, p) float32, 0 or 1. Heads in the order of their names, which are in the
        metadata.

    References
    ----------
    Baltrusaitis, Mahmoud, Robinson, FERA at IEEE FG 2015.
    """
    graph = Graph(name)
    descriptors = graph.input(DESCRIPTORS, ["n", FEATURES], span=(0.0, 0.4))
    medians = graph.input(MEDIANS, ["n", FEATURES], span=(0.0, 0.4))
    intensities = _head_set(graph, heads.intensities, descriptors, medians)
    decisions = _head_set(graph, heads.presences, descriptors, medians)
    positive = graph.node("Greater", [decisions, graph.constant(np.float32(0))])
    labels = [graph.constant(of.astype(np.float32)) for of in (heads.presences.positive, heads.presences.negative)]
    presences = graph.node("Where", [positive, *labels])
    for output, of, count in (
        (INTENSITIES, intensities, len(heads.intensities.names)),
        (PRESENCES, presences, len(heads.presences.names)),
        # An output may not be read again inside the graph.
        (DECISIONS, graph.node("Identity", [decisions]), len(heads.presences.names)),
    ):
        graph.output(output, of, ["n", count])
    return graph.build(intensities=",".join(heads.intensities.names), presences=",".join(heads.presences.names))


def _head_set(graph: Graph, heads: HeadSet, descriptors: str, medians: str) -> str:
    """weights @ (x - median) + offsets; heads that know no median have none of it taken off."""
    weights = graph.constant(np.ascontiguousarray(heads.weights.T, np.float32))
    offsets = graph.constant(heads.offsets.astype(np.float32))
    of_median = graph.constant(np.ascontiguousarray(heads.weights.T * heads.dynamic, np.float32))
    products = graph.node("Add", [graph.node("MatMul", [descriptors, weights]), offsets])
    return graph.node("Sub", [products, graph.node("MatMul", [medians, of_median])])
