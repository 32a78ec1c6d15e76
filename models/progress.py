"""How a fetch tells how far it is: the interface, and a line on the terminal or in a log."""

from __future__ import annotations

import math
import time
from typing import Protocol, TextIO

__all__ = ["ConsoleProgress", "Progress"]

_TERMINAL_S = 0.1  # between two redraws
_LOG_S = 5.0  # between two lines where the output is no terminal
_MEGA = 1e6


class Progress(Protocol):
    """Where a fetch tells how far it is."""

    def note(self, text: str) -> None:
        """Say something that stays."""

    def advanced(self, what: str, done: int, total: int | None) -> None:
        """Say that `done` of `total` bytes have come, at present of `what` (None: the total is not known)."""


class ConsoleProgress:
    """One line that is redrawn on a terminal, or a line now and then in a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._started_s = time.monotonic()
        self._last_s = -math.inf
        self._width = 0

    def note(self, text: str) -> None:
        """Print `text` on lines of its own."""
        self._clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def advanced(self, what: str, done: int, total: int | None) -> None:
        """Redraw the line, unless it was drawn a moment ago."""
        now = time.monotonic()
        if now - self._last_s < (_TERMINAL_S if self._terminal else _LOG_S):
            return
        self._last_s = now
        share = f"{done / _MEGA:.1f} MB" if total is None else f"{done / _MEGA:.1f} of {total / _MEGA:.1f} MB"
        line = f"{share}, {now - self._started_s:.0f} s: {what.rpartition('/')[2]}"
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    def close(self) -> None:
        """Take the redrawn line away."""
        self._clear()
        self._stream.flush()
