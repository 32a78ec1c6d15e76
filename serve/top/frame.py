"""One frame of the screen: which parts get how many lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.text import Text

from auflow.serve.top.grid import cut
from auflow.serve.top.model import View
from auflow.serve.top.sections import (
    HELP,
    groups_of,
    head_of,
    ordered,
    stages_of,
    streams_of,
    warnings_of,
)

__all__ = ["Screen", "ansi", "frame", "whole"]

_KEYS = "q quit  p pause  s sort  ? help"


@dataclass(frozen=True, slots=True)
class Screen:
    """What the keys have chosen."""

    sort: str = "as configured"
    scroll: int = 0  # the first stream that is shown
    paused: bool = False
    helps: bool = False
    plain: bool = False  # ASCII only


def whole(view: View, width: int, *, plain: bool = False) -> list[Text]:
    """Everything, in as many lines as it takes."""
    parts = [
        head_of(view, width),
        *_parts(view, Screen(plain=plain), width),
    ]
    lines = [line for part in parts if part for line in (*part, Text())]
    return lines[:-1]


def frame(view: View, screen: Screen, width: int, height: int) -> tuple[list[Text], int]:
    """Exactly `height` lines of at most `width` columns; and how many streams there is room for."""
    head = head_of(view, width, "PAUSED: p goes on" if screen.paused else "")
    if screen.helps:
        body, room = [Text(), *(Text(line) for line in HELP.splitlines())], 0
        foot = "any key: back"
    elif view.gone:
        body, room = [Text(), *warnings_of(view.warnings, width)], 0
        foot = "q quit"
    else:
        body, room, foot = _body(view, screen, width, height - len(head) - 1)
    lines = [*head, *body][: max(0, height - 1)]
    lines += [Text()] * (height - 1 - len(lines))
    footer = cut(Text(f" {foot}"), width)
    footer.pad_right(width - footer.cell_len)
    footer.stylize("reverse")
    return [*(cut(line, width) for line in lines), footer][-height:], room


def ansi(lines: Sequence[Text], width: int, *, colour: bool = True) -> list[str]:
    """Each line as a terminal takes it; no line depends on the one before."""
    console = Console(
        file=StringIO(), width=width, force_terminal=colour, no_color=None if colour else True, highlight=False
    )
    rendered = []
    for line in lines:
        with console.capture() as capture:
            console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
        rendered.append(capture.get())
    return rendered


def _parts(view: View, screen: Screen, width: int) -> list[list[Text]]:
    """Streams, stages, processes, warnings."""
    streams = ordered(view.streams, screen.sort)
    return [
        streams_of(streams, width, plain=screen.plain),
        stages_of(view.stages, view.stages_fault, width, plain=screen.plain),
        groups_of(view.groups, width),
        warnings_of(view.warnings, width),
    ]


def _body(view: View, screen: Screen, width: int, height: int) -> tuple[list[Text], int, str]:
    """The parts in `height` lines, how many streams are shown, and what the last line says."""
    parts = _parts(view, screen, width)
    sizes, gaps = shares([len(part) for part in parts], height)
    room, count = max(0, sizes[0] - 1), len(view.streams)
    first = max(0, min(screen.scroll, count - room))
    titles, *rows = parts[0]
    parts[0] = [titles, *rows[first : first + room]]
    parts = [part[:size] for part, size in zip(parts, sizes, strict=True)]
    lines: list[Text] = []
    for part, gap in zip(parts, gaps, strict=True):
        lines += [*([Text()] * gap), *part]
    foot = f"{_KEYS}   sorted: {screen.sort}"
    if room < count:
        foot += f"   streams {first + 1}-{first + room} of {count}: arrows scroll"
    return lines, room, foot


def shares(wanted: Sequence[int], height: int) -> tuple[list[int], list[int]]:
    """How many lines each of streams, stages, processes and warnings gets, and how many blank ones are before each.

    Parameters
    ----------
    wanted : lines of each with its title
    height : lines in all
    """
    sizes = list(wanted)
    # Given up in this order until it fits: part, and what it keeps.
    for part, least in ((3, 3), (2, 4), (0, 4), (3, 2), (2, 0), (3, 0), (1, 0), (0, 2), (0, 1), (0, 0)):
        over = sum(sizes) - height
        if over <= 0:
            break
        sizes[part] = max(min(least, sizes[part]), sizes[part] - over)
        if sizes[part] == 1 and wanted[part] > 1:
            sizes[part] = 0  # a title alone says nothing
    gaps, spare = [0, 0, 0, 0], max(0, height - sum(sizes))
    for part in (1, 2, 3, 0):
        if sizes[part] and spare:
            gaps[part], spare = 1, spare - 1
    return sizes, gaps
