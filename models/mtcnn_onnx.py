"""MTCNN's three networks as ONNX graphs, built from the weights of `auflow.models.mtcnn` in a few milliseconds.

PReLU is written as `(1 - a) * relu(x) + a * x`: the same function, and two to three times faster in ONNX Runtime
on the CPU than its PRelu operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models import onnx_writer
from auflow.models.mtcnn import Convolution, Dense, Layer, MaxPool, PRelu

__all__ = ["INPUT", "IR_VERSION", "OPSET", "OUTPUT", "build_batch_graph", "build_map_graph"]

OPSET = 17
IR_VERSION = 10  # newer ones are refused by current ONNX Runtime releases
INPUT = "images"
OUTPUT = "outputs"


class _Graph:
    """Nodes and initialisers in the making; each method appends to the chain that ends in `self.tip`."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, Sequence[str], str, dict[str, int | Sequence[int]]]] = []
        self.constants: list[bytes] = []
        self.tip = INPUT

    def constant(self, array: NDArray[np.float32]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx_writer.tensor(name, array))
        return name

    def node(self, operator: str, inputs: Sequence[str], **attributes: int | Sequence[int]) -> str:
        self.tip = f"t{len(self.nodes)}"
        self.nodes.append((operator, inputs, self.tip, attributes))
        return self.tip

    def convolution(self, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self.node("Conv", [self.tip, self.constant(weights), self.constant(bias)], kernel_shape=weights.shape[2:])

    def max_pool(self, layer: MaxPool) -> None:
        sides = {"kernel_shape": [layer.size] * 2, "strides": [layer.stride] * 2}
        self.node("MaxPool", [self.tip], ceil_mode=1, **sides)

    def dense(self, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self.node("Gemm", [self.tip, self.constant(weights), self.constant(bias)], transB=1)

    def prelu(self, slopes: NDArray[np.float32]) -> None:
        x = self.tip
        kept = self.node("Mul", [self.node("Relu", [x]), self.constant(np.float32(1) - slopes)])
        self.node("Add", [kept, self.node("Mul", [x, self.constant(slopes)])])

    def serialise(self, name: str, images: Sequence[int | str], outputs: Sequence[int | str]) -> bytes:
        *before, (operator, inputs, _, attributes) = self.nodes
        nodes = [onnx_writer.node(*fields) for fields in (*before, (operator, inputs, OUTPUT, attributes))]
        values = onnx_writer.value_info(INPUT, images), onnx_writer.value_info(OUTPUT, outputs)
        return onnx_writer.model(name, nodes, self.constants, values, ir_version=IR_VERSION, opset=OPSET)


def build_map_graph(layers: Sequence[Layer], name: str) -> bytes:
    """A network that slides over an image of any size (PNet): its dense layers are 1 x 1 convolutions.

    Returns
    -------
    bytes
        Serialised ONNX model, `images` (1, 3, h, w) float32 -> `outputs` (1, k, rows, columns) float32, raw values
        of the last layer.

    Raises
    ------
    ModelError
        The layers do not end in a dense layer.
    """
    graph = _Graph()
    for layer in layers:
        match layer:
            case Convolution():
                graph.convolution(layer.weights, layer.bias)
            case Dense():
                graph.convolution(layer.weights[:, :, None, None], layer.bias)
            case MaxPool():
                graph.max_pool(layer)
            case PRelu():
                graph.prelu(layer.slopes[:, None, None])
    return graph.serialise(name, [1, 3, "h", "w"], [1, _outputs(layers, name), "rows", "columns"])


def build_batch_graph(layers: Sequence[Layer], name: str, side_px: int) -> bytes:
    """A network that judges whole patches (RNet, ONet).

    Returns
    -------
    bytes
        Serialised ONNX model, `images` (n, 3, side, side) float32 -> `outputs` (n, k) float32, raw values of the
        last layer.

    Raises
    ------
    ModelError
        The layers do not end in a dense layer.
    """
    graph = _Graph()
    flat = False
    for layer in layers:
        match layer:
            case Convolution():
                graph.convolution(layer.weights, layer.bias)
            case MaxPool():
                graph.max_pool(layer)
            case Dense():
                if not flat:
                    graph.node("Transpose", [graph.tip], perm=[0, 1, 3, 2])  # the weights go down the columns
                    graph.node("Flatten", [graph.tip], axis=1)
                    flat = True
                graph.dense(layer.weights, layer.bias)
            case PRelu():
                graph.prelu(layer.slopes if flat else layer.slopes[:, None, None])
    return graph.serialise(name, ["n", 3, side_px, side_px], ["n", _outputs(layers, name)])


def _outputs(layers: Sequence[Layer], name: str) -> int:
    last = layers[-1] if layers else None
    if not isinstance(last, Dense):
        raise ModelError(f"{name}: expected a dense last layer, got {type(last).__name__}")
    return len(last.bias)
