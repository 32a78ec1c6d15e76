"""What went wrong in a service, as it was noticed look by look. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["UP", "Noticed", "Warned"]

UP = ("streaming", "running")  # states of a stream that gives pictures
_WELL = (*UP, "ready", "finished", "ended", "stopped", "removed", "paused", "starting", "connecting", "waiting", "-")
_MOST = 100
_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Warned:
    """What went wrong, and when it was noticed last."""

    unix_s: float
    who: str
    text: str
    times: int = 1


class Noticed:
    """Warnings; those that differ in their numbers only are one."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], str] = {}  # by who, and state or warning: what was said of it
        self._restarts: dict[str, int] = {}  # by group
        self._warned: dict[tuple[str, str], Warned] = {}  # by who, and the text without its numbers; oldest first

    def newest_first(self) -> tuple[Warned, ...]:
        """All that are remembered."""
        return tuple(reversed(self._warned.values()))

    def add(self, unix_s: float, who: str, text: str) -> None:
        """Something went wrong."""
        kind = who, _NUMBER.sub("#", text)
        known = self._warned.pop(kind, None)
        self._warned[kind] = Warned(unix_s, who, text, known.times + 1 if known else 1)
        while len(self._warned) > _MOST:
            del self._warned[next(iter(self._warned))]

    def watch(self, unix_s: float, status: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> None:
        """Compare a status with the one before."""
        for stream in status.get("streams") or ():
            name, state = str(stream.get("name", "-")), str(stream.get("state", "-"))
            self._see(unix_s, name, "state", _state(state, stream.get("reason")))
            self._see(unix_s, name, "warning", str(stream.get("last_warning") or ""))
        for group in groups:
            name, state = str(group.get("name", "-")), str(group.get("state", "-"))
            self._see(unix_s, name, "state", _state(state, ""))
            restarts = int(group.get("restarts") or 0)
            if restarts > self._restarts.get(name, restarts):  # it may have fallen and be up again since
                self.add(unix_s, name, f"was started again ({restarts} in all)")
            self._restarts[name] = restarts
        malformed = status.get("dropped_messages")
        text = f"{malformed} messages between processes were malformed and dropped" if malformed else ""
        self._see(unix_s, "service", "messages", text)

    def _see(self, unix_s: float, who: str, what: str, text: str) -> None:
        if self._last.get((who, what), "") != text:
            self._last[who, what] = text
            if text:
                self.add(unix_s, who, text)


def _state(state: str, reason: object) -> str:
    """In words, where it is none of those that are well."""
    if state in _WELL:
        return ""
    words = state.replace("_", " ")
    return f"{words}: {reason}" if reason else words
