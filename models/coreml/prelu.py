"""Finds PReLU again in the graphs, where it is written as `(1 - a) * relu(x) + a * x`.

That form is for ONNX Runtime on the CPU. Core ML has an operator for it, which rounds once where the four round three
times in half precision, and keeps the slopes themselves and not their complements beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.models.onnx.graph import Node, OnnxModel

__all__ = ["Prelu", "find_prelus"]


@dataclass(frozen=True, slots=True)
class Prelu:
    """One that was found."""

    x: str  # what it is of
    slopes: NDArray[np.float32]  # (channels,)
    inner: frozenset[str]  # values within it, which nobody else takes


def find_prelus(model: OnnxModel) -> dict[str, Prelu]:
    """Those of a graph, by the names of their outputs."""
    makers = {name: node for node in model.nodes for name in node.outputs}
    takers: dict[str, int] = {value.name: 1 for value in model.outputs}
    for node in model.nodes:
        for name in node.inputs:
            takers[name] = takers.get(name, 0) + 1
    found = {}
    for node in model.nodes:
        prelu = _prelu(node, makers, model) if node.operator == "Add" else None
        if prelu is not None and all(takers[name] == 1 for name in prelu.inner):
            found[node.outputs[0]] = prelu
    return found


def _prelu(add: Node, makers: dict[str, Node], model: OnnxModel) -> Prelu | None:
    products = [makers.get(name) for name in add.inputs]
    if not all(product is not None and product.operator == "Mul" for product in products):
        return None
    kept, leaked = (product for product in products if product is not None)
    rectified, complement = makers.get(kept.inputs[0]), model.constants.get(kept.inputs[1])
    slopes = model.constants.get(leaked.inputs[1])
    if rectified is None or rectified.operator != "Relu" or complement is None or slopes is None:
        return None
    if rectified.inputs[0] != leaked.inputs[0] or not np.array_equal(complement, np.float32(1) - slopes):
        return None
    inner = frozenset((*kept.outputs, *leaked.outputs, *rectified.outputs))
    return Prelu(leaked.inputs[0], np.ascontiguousarray(slopes.reshape(-1), np.float32), inner)
