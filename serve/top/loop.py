"""The loop of `auflow top`: looks come from a thread, so that keys are heard while a service is slow to answer."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from auflow.serve.client import NoServiceError
from auflow.serve.top.frame import Screen, ansi, frame, whole
from auflow.serve.top.keys import KeyReader, pressed
from auflow.serve.top.looks import Look, look
from auflow.serve.top.model import History, View
from auflow.serve.top.terminal import Terminal

__all__ = ["once", "watch"]

_TURN_S = 5.0  # at least so often the screen is looked at, even if nothing comes


def once(socket: Path | None, interval_s: float, width: int, *, colour: bool) -> str:
    """What there is to see after two looks.

    Raises
    ------
    NoServiceError
        No service answers.
    """
    history, view = History(), View()
    for number in range(2):
        if number:
            time.sleep(interval_s)
        seen = look(socket)
        if seen.status is None:
            raise NoServiceError(seen.fault)
        view = history.take(seen)
    lines = ansi(whole(view, width, plain=_is_plain()), width, colour=colour)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def watch(socket: Path | None, interval_s: float) -> None:
    """Show the service until a key or Ctrl-C ends it.

    Raises
    ------
    NoServiceError
        No service answers at the beginning; one that goes away later is waited for.
    """
    first = look(socket)
    if first.status is None:
        raise NoServiceError(first.fault)
    with Terminal() as terminal:
        looker = _Looker(socket, interval_s, first, terminal.wake)
        try:
            _show(terminal, looker)
        except KeyboardInterrupt:  # a way to end it
            return
        finally:
            looker.stop()


def _show(terminal: Terminal, looker: _Looker) -> None:
    history, keys, screen, view = History(), KeyReader(), Screen(plain=_is_plain()), View()
    while True:
        if (seen := looker.take()) is not None:
            view = history.take(seen)
        width, height = terminal.size
        lines, room = frame(view, screen, width, height)
        terminal.show(ansi(lines, width))
        for key in keys.feed(terminal.wait(_TURN_S)):
            changed = pressed(key, screen, room, len(view.streams))
            if changed is None:
                return
            screen = changed
        # A stream may have gone, or the terminal become higher.
        screen = replace(screen, scroll=max(0, min(screen.scroll, len(view.streams) - room)))
        looker.pause(screen.paused)


class _Looker:
    """Looks again and again in a thread; only the newest look is kept."""

    def __init__(self, socket: Path | None, interval_s: float, first: Look, tell: Callable[[], None]) -> None:
        self._socket, self._interval_s, self._tell = socket, interval_s, tell
        self._newest: Look | None = first
        self._lock = threading.Lock()
        self._running = threading.Event()  # not paused
        self._running.set()
        self._over = threading.Event()
        threading.Thread(target=self._run, name="looks", daemon=True).start()

    def take(self) -> Look | None:
        """A look that was not taken yet."""
        with self._lock:
            newest, self._newest = self._newest, None
        return newest

    def pause(self, paused: bool) -> None:
        """Take no more looks, or go on."""
        (self._running.clear if paused else self._running.set)()

    def stop(self) -> None:
        """The thread ends by itself, at the latest with its look; nobody waits for that."""
        self._over.set()
        self._running.set()

    def _run(self) -> None:
        next_s = time.monotonic() + self._interval_s
        while not self._over.wait(max(0.0, next_s - time.monotonic())):
            self._running.wait()
            if self._over.is_set():
                return
            next_s = time.monotonic() + self._interval_s  # a service that is slow is asked less often
            newest = look(self._socket)
            with self._lock:
                self._newest = newest
            if not self._over.is_set():
                self._tell()


def _is_plain() -> bool:
    return not (sys.stdout.encoding or "").lower().startswith("utf")
