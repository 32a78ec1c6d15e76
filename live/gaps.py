"""Which messages a subscriber has missed, from the number that each carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Gaps"]

_MAX_STREAMS = 10_000  # whose last number is kept; a bus that names more is none of ours


class Gaps:
    """Follows `seq` of every stream."""

    def __init__(self) -> None:
        self.missed = 0
        self._last: dict[str, int] = {}

    def take(self, message: Mapping[str, Any]) -> str | None:
        """A sentence when messages of this one's stream were missed or the stream began anew, else None."""
        stream, seq = message["stream"], message["seq"]
        last = self._last.get(stream)
        if last is None and len(self._last) >= _MAX_STREAMS:
            self._last.clear()
        self._last[stream] = seq
        if last is None or seq == last + 1:
            return None
        if seq <= last:
            return f"{stream}: began anew at {seq} after {last}"
        self.missed += seq - last - 1
        return f"{stream}: missed {seq - last - 1} messages, {last + 1} to {seq - 1}"
