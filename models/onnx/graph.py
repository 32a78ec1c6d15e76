"""ONNX graphs in the making, and finished ones: what any backend that computes graphs can load."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.models.onnx import writer
from auflow.models.onnx.writer import Attribute, Dtype

__all__ = ["IR_VERSION", "OPSET", "Graph", "Node", "OnnxModel", "Value"]

OPSET = 17
_LARGEST_EXPONENT = 64 * math.log(2)
IR_VERSION = 10  # newer ones are refused by current ONNX Runtime releases


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output of a graph."""

    name: str
    shape: tuple[int | str, ...]  # a side that may vary has a name; the same name is the same size
    dtype: Dtype = "float32"
    span: tuple[float, float] = (0.0, 1.0)  # of what an input takes in production, for checks and examples


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a graph."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True, eq=False)  # arrays are not compared; two are the same if their `sha256` is
class OnnxModel:
    """A graph with its weights."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...] = field(repr=False)  # each after those whose outputs it takes
    constants: Mapping[str, NDArray[Any]] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The serialised ModelProto: the content of an .onnx file."""
        values = tuple(
            [writer.value_info(v.name, v.shape, v.dtype) for v in side] for side in (self.inputs, self.outputs)
        )
        nodes = [writer.node(node.operator, node.inputs, node.outputs, node.attributes) for node in self.nodes]
        constants = [writer.tensor(name, array) for name, array in self.constants.items()]
        return writer.model(
            self.name, nodes, constants, (values[0], values[1]),
            ir_version=IR_VERSION, opset=OPSET, metadata=self.metadata,
        )  # fmt: skip

    @property
    def sha256(self) -> str:
        """Of the graph and its weights, whatever the metadata say."""
        return hashlib.sha256(replace(self, metadata={}).data).hexdigest()

    def told(self, **metadata: str) -> OnnxModel:
        """The same with more metadata."""
        return replace(self, metadata={**self.metadata, **metadata})


class Graph:
    """A graph in the making: each method adds to it and returns the name of what it added."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._nodes: list[tuple[str, tuple[str, ...], list[str], Mapping[str, Attribute]]] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def input(
        self, name: str, shape: Sequence[int | str], dtype: Dtype = "float32", *, span: tuple[float, float]
    ) -> str:
        """An input of the graph; `span` is what its values lie between in production."""
        self._inputs.append(Value(name, tuple(shape), dtype, span))
        return name

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """Weights, or numbers that an operator takes."""
        name = f"c{len(self._constants)}"
        self._constants[name] = np.asarray(array)
        return name

    def node(self, operator: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """An operator of one output."""
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Attribute) -> list[str]:
        """An operator of several outputs."""
        names = [f"t{len(self._nodes)}_{k}" for k in range(outputs)]
        self._nodes.append((operator, tuple(inputs), names, attributes))
        return list(names)

    def sigmoid(self, values: str) -> str:
        """The logistic function, exact relative to its value down to 2^-64, which is the least that it gives.

        ONNX Runtime's own operator is exact to 1e-9 only and gives 0 below that: a response map of small values would
        become one of zeros.
        """
        largest, one = self.constant(np.float32(_LARGEST_EXPONENT)), self.constant(np.float32(1))
        turned = self.node("Mul", [values, self.constant(np.float32(-1))])
        bounded = self.node("Max", [self.node("Min", [turned, largest]), self.constant(np.float32(-_LARGEST_EXPONENT))])
        return self.node("Reciprocal", [self.node("Add", [self.node("Exp", [bounded]), one])])

    def output(self, name: str, of: str, shape: Sequence[int | str], dtype: Dtype = "float32") -> None:
        """Make `of`, which a node has given, an output of the graph; nothing else may be done with it afterwards."""
        for operator, inputs, outputs, _ in self._nodes:
            assert of not in inputs, f"{operator} takes {of}, which is to be an output"
            outputs[:] = [name if each == of else each for each in outputs]
        self._outputs.append(Value(name, tuple(shape), dtype))

    def build(self, **metadata: str) -> OnnxModel:
        """The finished graph."""
        nodes = tuple(Node(operator, inputs, tuple(outputs), more) for operator, inputs, outputs, more in self._nodes)
        inputs, outputs = tuple(self._inputs), tuple(self._outputs)
        return OnnxModel(self.name, inputs, outputs, nodes, dict(self._constants), metadata)
