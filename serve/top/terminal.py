"""A terminal that shows one frame after the other, and is left as it was found, whatever happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Terminal"]

# Another screen than the shell's, no cursor, and a line that is too long is cut instead of going on in the next.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_FALLBACK = (80, 24)
_PATIENCE_S = 1.0
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """Standard input and output between `with` and its end; in the main thread.

    Keys come one by one and unseen where standard input is a terminal. Ctrl-C, SIGTERM and SIGHUP end the `with` by
    their exceptions; Ctrl-Z gives the terminal back until the process goes on.
    """

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._encoding = sys.stdout.encoding or "ascii"
        self._reads = os.isatty(self._in)
        self._was: list[Any] | None = None
        self._shown: list[str] = []
        self._handlers: dict[int, Any] = {}
        self._wake, self._waker = -1, -1
        self.interrupted = False  # its size has changed, or it was given back for a while

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            return _FALLBACK
        return (size.columns or _FALLBACK[0], size.lines or _FALLBACK[1])

    def __enter__(self) -> Terminal:
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        for number, handler in (
            *((number, self._on_end) for number in _ENDING),
            (signal.SIGWINCH, self._on_change),
            (signal.SIGTSTP, self._on_stop),
        ):
            self._handlers[number] = signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._give_back()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            descriptors, self._wake, self._waker = (self._wake, self._waker), -1, -1
            for descriptor in descriptors:
                os.close(descriptor)

    def show(self, lines: Sequence[str]) -> None:
        """Write those lines that are not there already."""
        if self.interrupted or len(lines) != len(self._shown):
            self.interrupted = False
            self._shown = [""] * len(lines)
            self._write("\x1b[2J")
        changed = [(row, line) for row, line in enumerate(lines, 1) if line != self._shown[row - 1]]
        # Cleared before it is written: behind its last column some terminals would clear that.
        self._write("".join(f"\x1b[{row};1H\x1b[2K{line}" for row, line in changed))
        self._shown = list(lines)

    def wait(self, timeout_s: float) -> bytes:
        """What was typed; nothing after the time, a change of size, or `wake`."""
        watched = [self._wake, self._in] if self._reads else [self._wake]
        ready = select.select(watched, [], [], timeout_s)[0]
        if self._wake in ready:
            os.read(self._wake, 4096)
        if self._in not in ready:
            return b""
        data = os.read(self._in, 1024)
        if not data:
            self._reads = False  # nobody types there any more
        return data

    def wake(self) -> None:
        """Have `wait` return; from any thread."""
        with suppress(OSError):  # full: it will return anyhow; or closed
            os.write(self._waker, b"\0")

    def _take(self) -> None:
        if self._reads:
            self._was = termios.tcgetattr(self._in)
            tty.setcbreak(self._in, termios.TCSANOW)
        self.interrupted = True
        self._write(_ENTER)

    def _give_back(self) -> None:
        with suppress(OSError):  # it has gone
            self._write(_LEAVE)
        if self._was is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._in, termios.TCSANOW, self._was)

    def _write(self, text: str) -> None:
        data = memoryview(text.encode(self._encoding, "replace"))
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except BlockingIOError:  # another program that has this terminal set it so; it is only slow
                select.select([], [self._out], [], _PATIENCE_S)

    def _on_change(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        self.wake()

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stands still here until it is told to go on
        signal.signal(signal.SIGTSTP, self._on_stop)
        self._take()
        self.wake()
