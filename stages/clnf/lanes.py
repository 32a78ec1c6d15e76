"""Landmarks side by side: how many the kernels work on at once, and memory that suits vectors of them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["LANES", "aligned", "padded"]

LANES = 16  # float32 numbers in 64 bytes: one vector or two on every machine of today, and one cache line
_LINE_BYTES = 64

ScalarT = TypeVar("ScalarT", np.float32, np.float64, np.int8, np.int32)


def padded(count: int) -> int:
    """`count` landmarks in whole groups of lanes."""
    return -(-count // LANES) * LANES


def aligned(shape: int | tuple[int, ...], dtype: type[ScalarT]) -> NDArray[ScalarT]:
    """Zeros that begin at a cache line. A vector that crosses one is loaded in two pieces."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % _LINE_BYTES
    return memory[start : start + size].view(dtype).reshape(shape)
