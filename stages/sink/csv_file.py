"""OpenFace's CSV, written from blocks of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from auflow.stages.settings import Precision
from auflow.stages.sink.columns import Layout
from auflow.stages.sink.rows import RowText
from auflow.stages.sink.spool import Block

__all__ = ["write_csv"]

_ROWS = 32  # of 700 numbers: what is worked on stays in the processor's cache


def write_csv(file: IO[bytes], layout: Layout, precision: Precision, blocks: Callable[[int], Iterator[Block]]) -> None:
    """Write header and rows.

    Parameters
    ----------
    file : the text goes there
    layout : the columns
    precision : "openface" for its decimals, "full" for six everywhere
    blocks : all rows, in blocks of so many
    """
    file.write((layout.header() + "\n").encode())
    text = RowText(layout, precision)
    for block in blocks(_ROWS):
        numbers = np.concatenate([block[group.key].astype(np.float64) for group in layout.groups], axis=1)
        file.write(b"".join(text.lines(numbers)))
