"""What the keys of the configuration take: one function per kind of value, each of which tells what it expected."""

from __future__ import annotations

import re
from collections.abc import Sequence

from auflow.errors import UsageError
from auflow.serve.keys import Check, Unfit

__all__ = [
    "NAME_PATTERN",
    "addresses",
    "backend",
    "each_of",
    "flag",
    "four_numbers",
    "host_and_port",
    "number",
    "one_of",
    "optional",
    "output_pattern",
    "text",
    "variable_name",
    "whole",
]

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|[{}]")
_LONGEST_TEXT = 4096  # the longest path that systems take


def flag(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Unfit("true or false")
    return value


def backend(value: object) -> str:
    """What computes the stages, as `auflow run --backend` takes it."""
    from auflow.backends.choice import read_asked

    try:
        read_asked(value if isinstance(value, str) else "")
    except UsageError as error:
        raise Unfit(str(error).removeprefix("expected ").partition(", got")[0]) from error
    return str(value)


def whole(least: int, most: int) -> Check:
    """A whole number within limits."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Unfit(f"a whole number from {least} to {most}")
        return value

    return check


def number(unit: str, least: float, most: float, *, above: bool = False) -> Check:
    """A number within limits; with `above` the lower limit itself is too little."""

    def check(value: object) -> float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        # Compared before it becomes a float, which a huge whole number cannot.
        if not fits or not least <= value <= most or (above and value == least):  # type: ignore[operator]
            raise Unfit(f"{unit} {'above' if above else 'from'} {least:g} to {most:g}")
        return float(value)  # type: ignore[arg-type]

    return check


def text(value: object) -> str:
    """One line of text that a path or an address can be made of."""
    if not isinstance(value, str):
        raise Unfit("text in quotes")
    if len(value) > _LONGEST_TEXT:
        raise Unfit(f"text of up to {_LONGEST_TEXT} characters")
    # JSON can carry half of a surrogate pair, which no file name and no terminal takes.
    if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        raise Unfit("text without control characters")
    return value


def one_of(choices: Sequence[str]) -> Check:
    """One of a few words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise Unfit(f"one of {', '.join(choices)}")
        return value

    return check


def each_of(choices: Sequence[str]) -> Check:
    """A list of some of a few words, at least one; they come back in the order of the choices."""

    def check(value: object) -> tuple[str, ...]:
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(word, str) and word in choices for word in value)
        ):
            raise Unfit(f"a list of some of {', '.join(choices)}")
        return tuple(choice for choice in choices if choice in value)

    return check


def addresses(value: object) -> tuple[str, ...]:
    """A list of ZeroMQ addresses; what they are is looked at where the keys are known."""
    if not isinstance(value, list):
        raise Unfit("a list of addresses such as tcp://10.0.0.9:8719")
    return tuple(text(each) for each in value)


def optional(check: Check) -> Check:
    """The text "" for nothing, or what `check` takes."""
    return lambda value: "" if value == "" else check(value)


def four_numbers(value: object) -> tuple[float, ...]:
    """[fx, fy, cx, cy] of a camera."""
    pixel = number("pixels", 0.0, 1e6, above=True)
    if not isinstance(value, list) or len(value) != 4:
        raise Unfit("[fx, fy, cx, cy] in pixels")
    try:
        return tuple(pixel(each) for each in value)
    except Unfit:
        raise Unfit("[fx, fy, cx, cy], four numbers above 0, in pixels") from None


def variable_name(value: object) -> str:
    """The name of an environment variable."""
    if not isinstance(value, str) or len(value) > 255 or not _VARIABLE.fullmatch(value):
        raise Unfit("the name of an environment variable that holds the password (never the password itself)")
    return value


def output_pattern(value: object) -> str:
    """A file's path in which {name} and {start} may stand."""
    pattern = text(value)
    for found in _PLACEHOLDER.findall(pattern):
        if found not in ("{name}", "{start}"):
            raise Unfit("a path in which only {name} and {start} stand in braces")
    if pattern.endswith(("/", "\\")):
        raise Unfit("the path of a file, not of a folder")
    return pattern


def host_and_port(value: object) -> tuple[str, int]:
    """HOST:PORT, an IPv6 address in brackets; port 0 is any free one.

    Raises
    ------
    Unfit
    """
    host, colon, port = text(value).rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    well_formed = colon and bare and (bare != host or ":" not in host) and not set(bare) & set(" /@[]")
    if not well_formed or not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise Unfit("HOST:PORT, for example 127.0.0.1:8717 or [::1]:8717")
    return bare, int(port)
