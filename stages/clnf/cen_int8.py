"""A CEN expert in 8 bits: packed when its view is first asked for, run by `int8_kernels`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.models.cen import CenPatchExpert
from auflow.stages.clnf import int8_kernels as kernels
from auflow.stages.clnf.int8_product import COLUMNS, ROWS
from auflow.stages.clnf.lanes import aligned

__all__ = ["Int8Memory", "Int8Network"]

Floats = NDArray[np.float32]


class Int8Memory:
    """What networks work in, one after the other; grows with what is asked for."""

    def __init__(self) -> None:
        self._sizes = (0, 0)
        self._held: tuple[NDArray[Any], ...] = ()

    def for_rows(self, rows: int, width: int) -> tuple[NDArray[Any], ...]:
        """(activations, sums, values, scales) of networks no layer of which is wider, for so many positions."""
        wanted = _padded(rows, ROWS), _padded(width, COLUMNS)
        if wanted[0] > self._sizes[0] or wanted[1] > self._sizes[1]:
            self._sizes = max(wanted[0], self._sizes[0]), max(wanted[1], self._sizes[1])
            size = self._sizes[0] * self._sizes[1]
            self._held = (
                np.zeros(size, np.int16 if kernels.INSTRUCTIONS.pairs else np.uint8), np.zeros(size, np.int32),
                np.zeros(size, np.float32), np.zeros(self._sizes[0], np.float32),
            )  # fmt: skip
        return self._held


class Int8Network:
    """One expert. Every layer but the last one, of a single output, is in 8 bits.

    `order` (122,) is that of the inputs in the first layer's rows. Of a network of one layer nothing is in 8 bits.
    """

    def __init__(self, expert: CenPatchExpert, order: NDArray[np.int64], memory: Int8Memory) -> None:
        layers = expert.layers
        self._memory = memory
        self._widths = np.array([len(layers[0].weights), *(layer.biases.size for layer in layers)], np.int64)
        self._logistic = np.array([layer.activation == "sigmoid" for layer in layers])
        first = np.array(layers[0].weights[order], np.float32, order="C")
        if len(layers) == 1:
            weights = [first]
            biases = [layers[0].biases]
        else:
            weights = [first[1:], *(np.array(layer.weights, np.float32, order="C") for layer in layers[1:])]
            biases = [layers[0].biases + first[0], *(layer.biases for layer in layers[1:])]
        self._width = int(self._widths.max())
        self._last = np.ascontiguousarray(weights[-1][:, 0]), np.float32(biases[-1][0])
        self._numbers = _quantised(weights[:-1], biases[:-1])

    def run(self, inputs: Floats, out: Floats) -> None:
        """Outputs out (k,) on inputs (k, 122)."""
        memory = self._memory.for_rows(len(inputs), self._width)
        kernels.run(inputs, self._widths, self._logistic, self._numbers, self._last, memory, out)


def _quantised(weights: list[Floats], biases: list[Floats]) -> tuple[NDArray[Any], ...]:
    """Weights (int8), factors, shifts and biases of all these layers, one after the other."""
    sizes = [_padded(w.shape[0], kernels.GROUP) * _padded(w.shape[1], COLUMNS) for w in weights]
    outputs = sum(each.shape[1] for each in weights)
    packed = aligned(sum(sizes), np.int8)
    factors, shifts = np.empty(outputs, np.float32), np.empty(outputs, np.int32)
    place, column = 0, 0
    for index, (each, size) in enumerate(zip(weights, sizes, strict=True)):
        reach = slice(column, column + each.shape[1])
        kernels.quantise_weights(each, index == 0, packed[place : place + size], factors[reach], shifts[reach])
        place, column = place + size, reach.stop
    return packed, factors, shifts, np.concatenate([*biases, np.empty(0, np.float32)]).astype(np.float32)


def _padded(count: int, unit: int) -> int:
    return -(-count // unit) * unit
