"""`BinaryReader` with bulk reads: packed records, runs of float32, and matrices of one known dtype."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from auflow.models.reader import BinaryReader

__all__ = ["ArrayReader", "frozen"]

ScalarT = TypeVar("ScalarT", bound=np.generic)


def frozen(values: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """The array, C-contiguous, aligned and read-only (copied only where it is not)."""
    packed = np.require(values, requirements=["C", "A"])
    packed.flags.writeable = False
    return packed


class ArrayReader(BinaryReader):
    """Reads many values at once, as strictly as `BinaryReader` reads one."""

    def f32s(self, count: int, what: str) -> NDArray[np.float32]:
        """`count` finite float32, read-only."""
        values = np.frombuffer(self._take(4 * count, what), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise self.fail(f"{what}: expected finite numbers")
        values.flags.writeable = False
        return values

    def records(self, dtype: np.dtype[np.void], count: int, what: str) -> NDArray[np.void]:
        """`count` packed records as a view of the file; their fields are not checked."""
        return np.frombuffer(self._take(count * dtype.itemsize, what), dtype)

    def alike(self, dtype: np.dtype[np.void], most: int, field: str) -> int:
        """How many of the next records, at least 1 and up to `most`, are all there and like the first in `field`."""
        there = min(most, (len(self._data) - self.offset) // dtype.itemsize)
        if there == 0:
            return 1  # cut short, as whoever reads it will find
        fields = np.frombuffer(self._data, dtype, there, self.offset)[field]
        differ = (fields != fields[0]).reshape(there, -1).any(axis=1)
        return int(differ.argmax()) if differ.any() else there

    def mat_f32(self, what: str, *, shape: tuple[int | None, int | None] = (None, None)) -> NDArray[np.float32]:
        """One MatBin that must be of type float32."""
        return self._typed(what, shape, np.dtype(np.float32))

    def mat_f64(self, what: str, *, shape: tuple[int | None, int | None] = (None, None)) -> NDArray[np.float64]:
        """One MatBin that must be of type float64."""
        return self._typed(what, shape, np.dtype(np.float64))

    def mat_i32(self, what: str, *, shape: tuple[int | None, int | None] = (None, None)) -> NDArray[np.int32]:
        """One MatBin that must be of type int32."""
        return self._typed(what, shape, np.dtype(np.int32))

    def _typed(self, what: str, shape: tuple[int | None, int | None], dtype: np.dtype[ScalarT]) -> NDArray[ScalarT]:
        values = self.mat(what, shape=shape)
        if values.dtype != dtype:
            raise self.fail(f"{what}: expected a matrix of {dtype}, got {values.dtype}")
        return frozen(values.astype(dtype, copy=False))
