"""Rows of numbers as lines of text: the very bytes of `format % row`, at a fourth of its cost.

Each number is looked up: what stands before the point, with separator and sign, in a table of 8 bytes an entry, and
its decimals, three at a time, in tables of 4 bytes. The entries are padded with zero bytes, which go at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from auflow.stages.settings import Precision
from auflow.stages.sink.columns import Layout

__all__ = ["RowText"]

_WHOLE_BELOW = 10_000  # numbers of more digits have no place in the tables
_DECIMALS = (1, 2, 3, 6)  # numbers with others have none either
_FIRST_OF = {1: 0, 2: 10, 3: 110, 6: 110}  # where the first up to three decimals begin in their table
# So near to half a last digit it takes more than a rounded product with a power of ten to tell the side. That of a
# single-precision number is exact, and so is its half: it goes to the even digit, as it does in Python.
_TIE = 1e-5
_CELL = np.dtype([("whole", np.uint64), ("first", np.uint32), ("last", np.uint32)])


class RowText:
    """The text of the rows of one layout.

    Columns up to the last that stands alone or is an integer are formatted in Python, the arrays behind them by table.
    So are rows with a number that is too large for the tables, not finite, or half-way between two texts.

    Parameters
    ----------
    layout : the columns
    precision : "openface" for its decimals, "full" for six everywhere
    """

    def __init__(self, layout: Layout, precision: Precision) -> None:
        self._format = layout.row_format(precision)
        groups = list(zip(layout.groups, layout.formats(precision), strict=True))
        tabled = [len(group.names) > 1 and decimals in _DECIMALS for group, (_, decimals) in groups]
        start = max((number + 1 for number, one in enumerate(tabled) if not one), default=0)
        self._plain = sum(len(group.names) for group, _ in groups[:start])
        self._plain_format = "".join(text for _, (text, _) in groups[:start])
        columns = [(group, decimals or 0) for group, (_, decimals) in groups[start:] for _ in group.names]
        separators = sorted({group.separator for group, _ in columns})
        self._wholes = _whole_table(separators)
        self._firsts, self._lasts = _decimal_tables()
        self._whole_base = np.array([separators.index(group.separator) * 2.0 * _WHOLE_BELOW for group, _ in columns])
        self._scale = np.array([10.0**decimals for _, decimals in columns])
        self._first_base = np.array([float(_FIRST_OF[decimals]) for _, decimals in columns])
        self._last_base = np.array([float(decimals == 6) for _, decimals in columns])  # entry 0 is empty
        self._last_scale = np.where(self._last_base, 1000.0, 1.0)
        self._inexact = np.flatnonzero([group.dtype != np.float32 for group, _ in columns])

    def lines(self, numbers: NDArray[np.float64]) -> Iterator[bytes]:
        """The line of each row of numbers (n, columns), with its line end."""
        cells, doubtful = self._cells(numbers[:, self._plain :])
        for row, cell, slow in zip(numbers, cells, doubtful, strict=True):
            if slow:
                yield (self._format % tuple(row.tolist())).encode()
            else:
                head = (self._plain_format % tuple(row[: self._plain].tolist())).encode()
                yield head + cell.tobytes().translate(None, b"\0") + b"\n"

    def _cells(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
        """The padded texts of numbers (n, k), and for which rows (n,) they do not hold."""
        with np.errstate(invalid="ignore", over="ignore"):  # such rows are found below
            scaled = np.abs(numbers) * self._scale
            rounded = np.rint(scaled)
            whole = np.floor(rounded / self._scale)
            away = np.abs(scaled - rounded)[:, self._inexact]
        doubtful: NDArray[np.bool_] = ~(whole < _WHOLE_BELOW).all(axis=1) | (np.abs(away - 0.5) < _TIE).any(axis=1)
        whole[doubtful], rounded[doubtful] = 0.0, 0.0
        rest = rounded - whole * self._scale
        first = np.floor(rest / self._last_scale)
        cells = np.empty(numbers.shape, _CELL)
        cells["whole"] = self._wholes[(whole + self._whole_base + np.signbit(numbers) * _WHOLE_BELOW).astype(np.intp)]
        cells["first"] = self._firsts[(first + self._first_base).astype(np.intp)]
        last = np.where(self._last_base > 0.0, rest - first * self._last_scale + 1.0, 0.0)
        cells["last"] = self._lasts[last.astype(np.intp)]
        return cells, doubtful


def _digits(count: int, places: int) -> NDArray[np.uint8]:
    """The digits of 0 to count - 1 as (count, places) characters."""
    numbers = np.arange(count)[:, None]
    return (numbers // 10 ** np.arange(places - 1, -1, -1) % 10 + ord("0")).astype(np.uint8)


def _whole_table(separators: list[str]) -> NDArray[np.uint64]:
    """Per separator the whole numbers as they are, then with a minus: separator (3 bytes), sign, four digits."""
    table = np.zeros((len(separators), 2, _WHOLE_BELOW, 8), np.uint8)
    for number, separator in enumerate(separators):
        table[number, ..., : len(separator)] = np.frombuffer(separator.encode(), np.uint8)
    table[:, 1, :, 3] = ord("-")
    table[..., 4:] = _digits(_WHOLE_BELOW, 4)
    for place in range(3):
        table[:, :, : 10 ** (3 - place), 4 + place] = 0  # no leading zeros
    return table.reshape(-1).view(np.uint64)


def _decimal_tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """A point with one, two and three decimals; nothing, and three decimals more."""
    first = np.zeros((1110, 4), np.uint8)
    first[:, 0] = ord(".")
    for places in (1, 2, 3):
        begin = _FIRST_OF[places]
        first[begin : begin + 10**places, 1 : 1 + places] = _digits(10**places, places)
    last = np.zeros((1001, 4), np.uint8)
    last[1:, :3] = _digits(1000, 3)
    return first.reshape(-1).view(np.uint32), last.reshape(-1).view(np.uint32)
