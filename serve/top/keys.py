"""Bytes of a terminal become keys, and keys change what is shown. Pure."""

from __future__ import annotations

from dataclasses import replace

from auflow.serve.top.frame import Screen
from auflow.serve.top.sections import SORTS

__all__ = ["KeyReader", "pressed"]

_SEQUENCES = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"\x1b[5~": "page up",
    b"\x1b[6~": "page down", b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[F": "end",
    b"\x1bOF": "end", b"\x1b[4~": "end",
}  # fmt: skip
_LONGEST = 16  # bytes of a sequence; what is longer is none
_MANY = 1 << 30  # lines: beyond any list


class KeyReader:
    """Puts sequences together that come in pieces, as over a slow link."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[str]:
        """The keys that are whole: one character each, or a name such as `page up`; others are left out."""
        self._left += data
        keys = []
        while self._left:
            size = _size(self._left)
            if size == 0:
                break
            word, self._left = self._left[:size], self._left[size:]
            if word in _SEQUENCES:
                keys.append(_SEQUENCES[word])
            elif size == 1 and 32 <= word[0] < 127:
                keys.append(word.decode())
        return keys


def _size(data: bytes) -> int:
    """Of the first key, in bytes; 0 where it has not come whole."""
    if data[0] != 0x1B:
        return 1
    if len(data) == 1:
        return 0
    if data[1] not in b"[O":
        return 1  # Escape by itself, and something after it
    if data[1] == ord("O"):
        return 3 if len(data) >= 3 else 0
    for place in range(2, min(len(data), _LONGEST)):
        if 0x40 <= data[place] <= 0x7E:
            return place + 1
    return 0 if len(data) < _LONGEST else _LONGEST


def pressed(key: str, screen: Screen, room: int, count: int) -> Screen | None:
    """What is chosen after a key; None: the end.

    Parameters
    ----------
    room : lines for streams
    count : of streams
    """
    if key in ("q", "Q"):
        return None
    if screen.helps:
        return replace(screen, helps=False)
    if key in ("?", "h"):
        return replace(screen, helps=True)
    if key == "p":
        return replace(screen, paused=not screen.paused)
    if key == "s":
        sorts = list(SORTS)
        return replace(screen, sort=sorts[(sorts.index(screen.sort) + 1) % len(sorts)], scroll=0)
    page = max(1, room - 1)
    lines = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, "home": -_MANY, "end": _MANY}
    if key in lines:
        return replace(screen, scroll=max(0, min(screen.scroll + lines[key], count - room)))
    return screen
