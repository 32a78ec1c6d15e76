"""How a table of the configuration is read: each field of a dataclass is a key that knows what it takes.

All mistakes are collected and none is raised on the way, so that a file is corrected in one go.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from auflow.errors import UsageError

__all__ = ["Check", "Faults", "KeySpec", "Unfit", "closest", "key", "keys_of", "read_section", "shown"]

_SHOWN_FAULTS = 50
_SHOWN_LETTERS = 60
_SHOWN_BITS = 128  # Python refuses to print whole numbers of some thousand digits

Check = Callable[[object], Any]  # the value as the service takes it; raises `Unfit`


class Unfit(ValueError):
    """A value that its key does not take; the text is what was expected."""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a key is."""

    check: Check
    meaning: str  # with the unit
    default: str  # as the documentation has it
    secret: bool  # its value is never shown
    only: tuple[str, ...]  # kinds of source and policies that it has a meaning for; empty: all


def key(
    default: Any, check: Check, meaning: str, *, shown_as: str = "", secret: bool = False, only: Iterable[str] = ()
) -> Any:
    """A field of a dataclass that is a key of the configuration.

    Parameters
    ----------
    default : what the field is without the key; None where it depends on other things
    check : makes the value that the service uses out of the one in the file
    meaning : for the documentation, with the unit
    shown_as : how the default is told, where the value itself does not tell it
    secret : keep its value out of messages and of the `repr`
    only : kinds of source and policies that it has a meaning for
    """
    spec = KeySpec(check, meaning, shown_as or shown(default), secret, tuple(only))
    return field(default=default, repr=not secret, metadata={"key": spec})


def keys_of(section: type) -> dict[str, KeySpec]:
    """The keys of a dataclass in their order."""
    return {each.name: each.metadata["key"] for each in fields(section) if "key" in each.metadata}


class Faults:
    """The mistakes found so far, each with the dotted path of its key."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, where: str, what: str) -> None:
        """One more: `where` is the path of the key, `what` says what was expected and what came."""
        self._texts.append(f"{where}: {what}" if where else what)

    def extend(self, others: Faults) -> None:
        """All of another collection."""
        self._texts += others._texts

    def __bool__(self) -> bool:
        return bool(self._texts)

    def raise_any(self, title: str) -> None:
        """
        Raises
        ------
        UsageError
            There are mistakes: all of them (at most 50), one in a line.
        """
        if not self._texts:
            return
        count = len(self._texts)
        lines = self._texts[:_SHOWN_FAULTS]
        if count > _SHOWN_FAULTS:
            lines.append(f"and {count - _SHOWN_FAULTS} more")
        raise UsageError(f"{title}: {count} mistake{'s' if count > 1 else ''}\n  " + "\n  ".join(lines))


def read_section(
    section: type, table: object, where: str, faults: Faults, *, beside: Iterable[str] = ()
) -> dict[str, Any]:
    """The checked values of the keys that a table has; what is wrong with the others is added to `faults`.

    Parameters
    ----------
    section : a dataclass with fields made by `key`
    table : as the parser of the file gave it
    where : dotted path of the table, for the messages
    beside : other names that the table may have and somebody else reads
    """
    if not isinstance(table, Mapping):
        faults.add(where, f"expected a table, got {shown(table)}")
        return {}
    specs = keys_of(section)
    values: dict[str, Any] = {}
    for name, value in table.items():
        spec = specs.get(name)
        path = f"{where}.{_short(name)}" if where else _short(name)
        if spec is None:
            faults.add(path, f"no such key{closest(name, [*specs, *beside])}")
            continue
        try:
            values[name] = spec.check(value)
        except Unfit as error:
            faults.add(path, f"expected {error}" + ("" if spec.secret else f", got {shown(value)}"))
    return values


def closest(word: str, choices: Iterable[str]) -> str:
    """`; did you mean NAME?`, or which there are."""
    choices = list(choices)
    near = difflib.get_close_matches(word[:_SHOWN_LETTERS], choices, 1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(choices)}"


def shown(value: object) -> str:
    """A value as TOML has it, cut short; of a table or a list only what it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value if len(value) <= _SHOWN_LETTERS else value[: _SHOWN_LETTERS - 1] + "…"
        return json.dumps(text, ensure_ascii=not text.isprintable())
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return "nothing" if value is None else str(value)


def _short(name: str) -> str:
    text = name if len(name) <= _SHOWN_LETTERS else name[: _SHOWN_LETTERS - 1] + "…"
    return text if text.isprintable() and text else json.dumps(text)
