"""Columns of text in a given width: what does not fit is left out whole, the least important first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.text import Text

__all__ = ["Column", "cut", "grid"]

_WIDE = 100  # columns of a terminal from which on gaps are wider


@dataclass(slots=True)
class Column:
    """A title and its cells."""

    title: str
    rank: int = 0  # those with the highest are left out first; 0 stays
    right: bool = False  # aligned
    least: int = 0  # width: what comes and goes in its cells must not move the others
    cells: list[Text] = field(default_factory=list)

    @property
    def width(self) -> int:
        """In terminal columns."""
        return max(self.least, cell_len(self.title), *(cell.cell_len for cell in self.cells))


def grid(columns: Iterable[Column], width: int) -> list[Text]:
    """The line of titles and those of the cells, none longer than `width`. Columns that are empty are left out."""
    gap = 2 if width >= _WIDE else 1
    shown = _fitting(list(columns), width, gap)
    titles = [_aligned(Text(column.title, "bold"), column) for column in shown]
    count = max((len(column.cells) for column in shown), default=0)
    rows = [titles, *([_aligned(column.cells[row], column) for column in shown] for row in range(count))]
    return [cut(Text(" " * gap).join(cells), width) for cells in rows]


def _fitting(columns: list[Column], width: int, gap: int) -> list[Column]:
    kept = [column for column in columns if column.rank == 0 or any(cell.plain for cell in column.cells)]
    while len(kept) > 1 and sum(column.width + gap for column in kept) - gap > width:
        worst = max(kept, key=lambda column: (column.rank, kept.index(column)))
        if worst.rank == 0:
            break
        kept.remove(worst)
    return kept


def _aligned(cell: Text, column: Column) -> Text:
    blank = " " * (column.width - cell.cell_len)
    return Text.assemble(blank, cell) if column.right else Text.assemble(cell, blank)


def cut(line: Text, width: int) -> Text:
    """The line, with an ellipsis where it is longer."""
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line
