"""A strict cursor over OpenFace's text model files: whitespace-separated values, `#` lines are comments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError

__all__ = ["TextReader", "damaged", "read_text"]

_INT32 = 4
_FLOATS = (5, 6)
_MAX_SIDE = 1 << 20


def damaged(path: Path, what: str) -> ModelError:
    """The error for a model file that is not what it should be, with what to do; the caller raises it."""
    return ModelError(f"{path}: {what}; type `auflow models verify` to see which files are damaged")


def read_text(path: Path) -> str:
    """A model file's text; `ModelError` where it can't be read or is no text."""
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise damaged(path, f"expected a text file, got a byte that is not ASCII at {error.start}") from error


class TextReader:
    """Integers and MatText matrices from one text file, read whole.

    Raises `ModelError` that names the file, what was expected and what came.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = read_text(path).splitlines()
        self._tokens = " ".join(line for line in lines if not line.lstrip().startswith("#")).split()
        self._next = 0

    def fail(self, what: str) -> ModelError:
        """The error for this file at this value; the caller raises it."""
        return damaged(self.path, f"at value {self._next + 1} of {len(self._tokens)}: {what}")

    def _take(self, count: int, what: str) -> list[str]:
        end = self._next + count
        if end > len(self._tokens):
            raise self.fail(f"expected {count} values of {what}, got {len(self._tokens) - self._next}")
        chunk = self._tokens[self._next : end]
        self._next = end
        return chunk

    def peek(self, count: int) -> list[str]:
        """The next `count` values as text (fewer near the end), left in place."""
        return self._tokens[self._next : self._next + count]

    def integer(self, what: str, *, low: int, high: int) -> int:
        """One integer from `low` to `high`."""
        token = self._take(1, what)[0]
        try:
            value = int(token)
        except ValueError as error:
            raise self.fail(f"{what}: expected an integer, got {token!r}") from error
        if not low <= value <= high:
            raise self.fail(f"{what}: expected {low} to {high}, got {value}")
        return value

    def _header(self, what: str, kinds: tuple[int, ...]) -> tuple[int, int]:
        rows = self.integer(f"rows of {what}", low=1, high=_MAX_SIDE)
        columns = self.integer(f"columns of {what}", low=1, high=_MAX_SIDE)
        kind = self.integer(f"type of {what}", low=0, high=6)
        if kind not in kinds:
            raise self.fail(f"{what}: expected a matrix type of {kinds}, got {kind}")
        return rows, columns

    def floats(self, what: str) -> NDArray[np.float64]:
        """One MatText of floats or doubles as (rows, columns) float64, finite, read-only."""
        rows, columns = self._header(what, _FLOATS)
        try:
            values = np.array(list(map(float, self._take(rows * columns, what))), np.float64)
        except ValueError as error:
            raise self.fail(f"{what}: expected numbers: {error}") from error
        if not np.isfinite(values).all():
            raise self.fail(f"{what}: expected finite numbers")
        values.flags.writeable = False
        return values.reshape(rows, columns)

    def integers(self, what: str) -> NDArray[np.int32]:
        """One MatText of integers as (rows, columns) int32, read-only."""
        rows, columns = self._header(what, (_INT32,))
        try:
            values = np.array(list(map(int, self._take(rows * columns, what))), np.int32)
        except (ValueError, OverflowError) as error:
            raise self.fail(f"{what}: expected integers: {error}") from error
        values.flags.writeable = False
        return values.reshape(rows, columns)

    def end(self) -> None:
        """Every value must have been read."""
        if self._next != len(self._tokens):
            raise self.fail(f"expected the end of the file, got {len(self._tokens) - self._next} more values")
