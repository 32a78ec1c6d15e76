"""Memory that both the GPU and NumPy can read, and copies between the two that run beside the computing.

Copies from ordinary memory are done in two steps, and wait; from page-locked memory the GPU fetches them itself.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.errors import BackendError

__all__ = ["Stream", "Twin"]


class Stream:
    """A queue of the GPU's: what is put into it is done in order."""

    def __init__(self) -> None:
        self.handle: int = int(_call("cudaStreamCreate"))

    def wait(self) -> None:
        """Until all that was put into it is done."""
        _call("cudaStreamSynchronize", self.handle)


class Twin:
    """A page-locked array here and its twin on the GPU, which grow with what is put into them."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._room = 0  # bytes
        self._here = 0  # addresses
        self.there = 0

    def array(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The array here, of a shape; what an earlier one held is lost where it has to grow."""
        wanted = max(1, int(np.prod(shape)) * self._dtype.itemsize)
        if wanted > self._room:
            self.free()
            self._here = int(_call("cudaHostAlloc", wanted, 0))
            self.there = int(_call("cudaMalloc", wanted))
            self._room = wanted
        memory: Any = (ctypes.c_uint8 * wanted).from_address(self._here)
        flat: NDArray[Any] = np.frombuffer(memory, self._dtype, int(np.prod(shape)))
        return flat.reshape(shape)

    def upload(self, values: NDArray[Any], stream: Stream) -> None:
        """Copy the array here, and from there to the GPU."""
        self.array(values.shape)[...] = values
        self._copy(self.there, self._here, values.nbytes, "cudaMemcpyHostToDevice", stream)

    def download(self, shape: tuple[int, ...], stream: Stream) -> NDArray[Any]:
        """The array of this shape, which is valid when the stream has been waited for."""
        out = self.array(shape)
        self._copy(self._here, self.there, out.nbytes, "cudaMemcpyDeviceToHost", stream)
        return out

    def _copy(self, to: int, of: int, size: int, way: str, stream: Stream) -> None:
        if size:
            kind = getattr(_runtime().cudaMemcpyKind, way)
            _call("cudaMemcpyAsync", to, of, size, kind, stream.handle)

    def free(self) -> None:
        """Give both back."""
        if self._room:
            _call("cudaFreeHost", self._here)
            _call("cudaFree", self.there)
        self._room = self._here = self.there = 0


def _runtime() -> Any:
    from cuda.bindings import runtime

    return runtime


def _call(name: str, *arguments: Any) -> Any:
    """A function of the CUDA runtime; its result.

    Raises
    ------
    BackendError
        It gave an error.
    """
    error, *results = getattr(_runtime(), name)(*arguments)
    if int(error) != 0:
        raise BackendError(
            f"CUDA: {name} gave {getattr(error, 'name', error)}; `auflow doctor` tells of the GPU, and whether memory "
            "or driver are short"
        )
    return results[0] if results else None
