"""Results as plain aligned text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table", "amount"]


@dataclass(frozen=True, slots=True)
class Table:
    """The first column names the row, the others hold figures."""

    head: tuple[str, ...]  # the first is the table's title
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()  # lines below it

    def text(self) -> str:
        """Columns side by side, the first flush left and the others flush right."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.head))]
        aligned = [
            "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
            for line in lines
            for cells in [list(zip(line, widths, strict=True))]
        ]
        return "\n".join([*(line.rstrip() for line in aligned), *self.notes])


def amount(value: float | None, decimals: int = 2) -> str:
    """A figure of a table; a dash where there is none."""
    return "-" if value is None else f"{value:,.{decimals}f}"
