"""Reads a parsed JSON document strictly: each value is of the kind and range that it should be, or it is an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["Reader"]


class Reader:
    """One object of the document.

    Parameters
    ----------
    found : what stands there
    place : where, as in messages: "choices.backends"; "" for the whole

    Raises
    ------
    ValueError
        It is no object. So do all methods where a value is not there, or not what is asked for; the message is half a
        sentence.
    """

    def __init__(self, found: object, place: str) -> None:
        if not isinstance(found, Mapping):
            raise ValueError(f"{place or 'the file'}: expected an object, got {_shown(found)}")
        self._found: Mapping[Any, Any] = found
        self._place = place

    def value(self, name: str) -> Any:
        """Whatever stands there."""
        if name not in self._found:
            raise ValueError(f"{self._where(name)}: is missing")
        return self._found[name]

    def part(self, name: str) -> Reader:
        """An object."""
        return Reader(self.value(name), self._where(name))

    def parts(self, name: str) -> list[Reader]:
        """A list of objects."""
        return [Reader(one, f"{self._where(name)}[{place}]") for place, one in enumerate(self._list(name))]

    def text(self, name: str) -> str:
        """A text."""
        return str(self._of(str, name, "a text"))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found = self._list(name)
        if not all(isinstance(one, str) for one in found):
            self._refuse(name, "a list of texts")
        return tuple(found)

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._of(bool, name, "true or false"))

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number of this range."""
        found = self.value(name)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            self._refuse(name, f"a whole number from {least} to {most}")
        return int(found)

    def number(self, name: str, least: float, most: float) -> float:
        """A finite number of this range."""
        found = self.value(name)
        if not _is_number(found) or not least <= found <= most:
            self._refuse(name, f"a number from {least:g} to {most:g}")
        return float(found)

    def figure(self, name: str) -> float | None:
        """A finite number, or null."""
        found = self.value(name)
        if found is not None and not _is_number(found):
            self._refuse(name, "a number or null")
        return None if found is None else float(found)

    def one_of(self, name: str, choices: tuple[Any, ...]) -> Any:
        """One of these texts."""
        if (found := self.value(name)) not in choices:
            self._refuse(name, f"one of {', '.join(choices)}")
        return found

    def _of(self, kind: type, name: str, expected: str) -> Any:
        if not isinstance(found := self.value(name), kind):
            self._refuse(name, expected)
        return found

    def _list(self, name: str) -> list[Any]:
        found: list[Any] = self._of(list, name, "a list")
        return found

    def _refuse(self, name: str, expected: str) -> None:
        raise ValueError(f"{self._where(name)}: expected {expected}, got {_shown(self.value(name))}")

    def _where(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _shown(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."
