"""What was refused: counted always, told now and then, so that a flood of rubbish does not become a flood of lines."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Refusals"]


class Refusals:
    """A counter with a rate-limited voice.

    Parameters
    ----------
    where : begins each sentence
    warn : called with a sentence, None for silence
    every_s : the shortest time between two sentences
    now : the clock, monotonic seconds
    """

    def __init__(
        self,
        where: str,
        warn: Callable[[str], None] | None = None,
        every_s: float = 10.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.count = 0
        self._where = where
        self._warn = warn
        self._every_s = every_s
        self._now = now
        self._told = 0
        self._told_s: float | None = None

    def add(self, what: str) -> None:
        """Count a refusal of `what`, and tell of it when the last word was long enough ago."""
        self.count += 1
        if self._may_speak():
            since = self.count - self._told
            self._told = self.count
            self._speak(f"{self._where}: refused {what}" + (f" ({since} since the last word)" if since > 1 else ""))

    def say(self, text: str) -> None:
        """Tell something that is no refusal, in the same measure."""
        if self._may_speak():
            self._speak(f"{self._where}: {text}")

    def _may_speak(self) -> bool:
        return self._warn is not None and (self._told_s is None or self._now() - self._told_s >= self._every_s)

    def _speak(self, sentence: str) -> None:
        self._told_s = self._now()
        if self._warn is not None:
            self._warn(sentence)
