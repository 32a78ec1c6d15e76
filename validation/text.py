"""The comparison as text: aligned columns for files and pipes, tables with lines on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np

from auflow.stages.records import AU_PRESENCES
from auflow.validation.comparison import GROUPS, Comparison

__all__ = ["Sheet", "au_sheet", "group_sheet", "headline", "print_report", "print_sheet"]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table of text: the first column names the row, the others hold figures."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def headline(result: Comparison) -> str:
    """What was compared, in a sentence."""
    return (
        f"{round(result.row_coverage * result.rows_reference)} of {result.rows_reference} rows found, "
        f"success agrees on {result.success_agreement:.2%} of them all; "
        f"values compared on the {result.rows_compared} rows where the reference has success 1"
    )


def group_sheet(result: Comparison) -> Sheet:
    """The column groups: coverage and spread of the absolute error."""
    rows = []
    for group in GROUPS:
        if group.key in result.groups:
            spread = result.groups[group.key]
            figures = (spread.mean, spread.p50, spread.p90, spread.p99, spread.max)
            rows.append((group.label, f"{spread.coverage:.1%}", *(_error(value) for value in figures)))
    return Sheet("absolute error", ("", "coverage", "mean", "p50", "p90", "p99", "max"), tuple(rows))


def au_sheet(result: Comparison) -> Sheet:
    """The AUs: agreement of intensity and presence."""
    rows = []
    for au in AU_PRESENCES:
        intensity, presence = result.intensities.get(f"{au}_r"), result.presences.get(f"{au}_c")
        if intensity is None and presence is None:
            continue
        cells = ["-"] * 6
        if intensity is not None:
            figures = (intensity.r, intensity.ccc, intensity.icc)
            cells = [f"{intensity.coverage:.1%}", *(_share(value) for value in figures)]
            cells += [_error(intensity.mae), _error(intensity.max)]
        cells += [_share(presence.agreement), _share(presence.f1)] if presence is not None else ["-", "-"]
        rows.append((au, *cells))
    head = ("", "coverage", "r", "CCC", "ICC(3,1)", "MAE", "max", "presence", "F1")
    return Sheet("AU", head, tuple(rows))


def _error(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if value >= 100 else np.format_float_positional(value, 3, fractional=False, trim="-")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_report(result: Comparison, verdict: Sequence[str], stream: TextIO) -> None:
    """Write headline, tables and `verdict` (a line each) to `stream`."""
    sheets = [sheet for sheet in (group_sheet(result), au_sheet(result)) if sheet.rows]
    stream.write(f"{headline(result)}\n")
    for sheet in sheets:
        print_sheet(sheet, stream)
    if verdict:
        stream.write("\n" + "".join(f"{line}\n" for line in verdict))


def print_sheet(sheet: Sheet, stream: TextIO) -> None:
    """Write one table to `stream`, an empty line before it."""
    if stream.isatty():
        _print_rich(sheet, stream)
    else:
        stream.write(f"\n{_aligned(sheet)}\n")


def _aligned(sheet: Sheet) -> str:
    lines, widths = _lines(sheet), _widths(sheet)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _lines(sheet: Sheet) -> tuple[tuple[str, ...], ...]:
    return (sheet.title, *sheet.head[1:]), *sheet.rows


def _widths(sheet: Sheet) -> list[int]:
    return [max(len(line[place]) for line in _lines(sheet)) for place in range(len(sheet.head))]


def _print_rich(sheet: Sheet, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=0, show_edge=False)
    table.add_column(sheet.title, no_wrap=True)
    for name in sheet.head[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for name, *cells in sheet.rows:
        table.add_row(Text(name), *(Text(cell, style="dim" if cell == "-" else "") for cell in cells))
    console = Console(file=stream)
    # Rich cuts cells to make a table fit, and reports the width after that: the sum tells beforehand.
    if sum(_widths(sheet)) + len(sheet.head) - 1 > console.width:
        stream.write(f"\n{_aligned(sheet)}\n")  # lines that wrap are read more easily than figures that are cut
    else:
        console.print()
        console.print(table)
