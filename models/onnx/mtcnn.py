"""MTCNN's three networks as ONNX graphs, built from the weights of `auflow.models.mtcnn`.

PReLU is written as `(1 - a) * relu(x) + a * x`: the same function, and two to three times faster in ONNX Runtime
on the CPU than its PRelu operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.mtcnn import Convolution, Dense, Layer, MaxPool, PRelu
from auflow.models.onnx.graph import Graph, OnnxModel

__all__ = ["INPUT", "OUTPUT", "SIDES_PX", "build_batch_graph", "build_graph", "build_map_graph"]

INPUT = "images"
OUTPUT = "outputs"
SIDES_PX = {"RNet": 24, "ONet": 48}  # of the patches that these judge; PNet slides over whole images


class _Chain:
    """A graph in which each layer takes what the one before gave."""

    def __init__(self, name: str, images: Sequence[int | str]) -> None:
        self.graph = Graph(name)
        self.tip = self.graph.input(INPUT, images, span=(-1.0, 1.0))

    def node(self, operator: str, *constants: NDArray[np.float32], **attributes: int | Sequence[int]) -> None:
        inputs = [self.tip, *(self.graph.constant(array) for array in constants)]
        self.tip = self.graph.node(operator, inputs, **attributes)

    def convolution(self, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self.node("Conv", weights, bias, kernel_shape=weights.shape[2:])

    def max_pool(self, layer: MaxPool) -> None:
        self.node("MaxPool", ceil_mode=1, kernel_shape=[layer.size] * 2, strides=[layer.stride] * 2)

    def prelu(self, slopes: NDArray[np.float32]) -> None:
        graph, x = self.graph, self.tip
        kept = graph.node("Mul", [graph.node("Relu", [x]), graph.constant(np.float32(1) - slopes)])
        self.tip = graph.node("Add", [kept, graph.node("Mul", [x, graph.constant(slopes)])])

    def build(self, outputs: Sequence[int | str]) -> OnnxModel:
        self.graph.output(OUTPUT, self.tip, outputs)
        return self.graph.build()


def build_graph(layers: Sequence[Layer], name: str) -> OnnxModel:
    """The network of this name, "PNet", "RNet" or "ONet".

    Raises
    ------
    ModelError
        The layers do not end in a dense layer.
    """
    return build_batch_graph(layers, name, SIDES_PX[name]) if name in SIDES_PX else build_map_graph(layers, name)


def build_map_graph(layers: Sequence[Layer], name: str) -> OnnxModel:
    """A network that slides over images of any size (PNet): its dense layers are 1 x 1 convolutions.

    Returns
    -------
    OnnxModel
        `images` (n, 3, h, w) float32 -> `outputs` (n, k, rows, columns) float32, raw values of the last layer.

    Raises
    ------
    ModelError
        The layers do not end in a dense layer.
    """
    chain = _Chain(name, ["n", 3, "h", "w"])
    for layer in layers:
        match layer:
            case Convolution():
                chain.convolution(layer.weights, layer.bias)
            case Dense():
                chain.convolution(layer.weights[:, :, None, None], layer.bias)
            case MaxPool():
                chain.max_pool(layer)
            case PRelu():
                chain.prelu(layer.slopes[:, None, None])
    return chain.build(["n", _outputs(layers, name), "rows", "columns"])


def build_batch_graph(layers: Sequence[Layer], name: str, side_px: int) -> OnnxModel:
    """A network that judges whole patches (RNet, ONet).

    Returns
    -------
    OnnxModel
        `images` (n, 3, side, side) float32 -> `outputs` (n, k) float32, raw values of the last layer.

    Raises
    ------
    ModelError
        The layers do not end in a dense layer.
    """
    chain = _Chain(name, ["n", 3, side_px, side_px])
    flat = False
    for layer in layers:
        match layer:
            case Convolution():
                chain.convolution(layer.weights, layer.bias)
            case MaxPool():
                chain.max_pool(layer)
            case Dense():
                if not flat:
                    chain.node("Transpose", perm=[0, 1, 3, 2])  # the weights go down the columns
                    chain.node("Flatten", axis=1)
                    flat = True
                chain.node("Gemm", layer.weights, layer.bias, transB=1)
            case PRelu():
                chain.prelu(layer.slopes if flat else layer.slopes[:, None, None])
    return chain.build(["n", _outputs(layers, name)])


def _outputs(layers: Sequence[Layer], name: str) -> int:
    last = layers[-1] if layers else None
    if not isinstance(last, Dense):
        raise ModelError(f"{name}: expected a dense last layer, got {type(last).__name__}")
    return len(last.bias)
