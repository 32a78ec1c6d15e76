"""What travels over the control socket: one JSON object in a line, however the bytes are cut up on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_LINE", "BadLine", "LineReader", "LongLine", "decode_line", "encode_line"]

MAX_LINE = 1 << 16  # bytes of a request; a stream's whole table takes a few thousand


class BadLine(ValueError):
    """A line that is no JSON object, or too long."""


class LongLine(BadLine):
    """A line that is too long."""


class LineReader:
    """Puts lines together; holds no more than one line and what came with its end.

    Parameters
    ----------
    limit : most bytes of a line
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = b""

    @property
    def unfinished(self) -> bool:
        """Whether the begin of a line has come, and not its end."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`, without their ends; empty ones are left out.

        Raises
        ------
        LongLine
            A line is longer than the limit; nothing can be read on.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > self._limit for line in (*lines, self._rest)):
            raise LongLine(f"expected lines of up to {self._limit} bytes")
        return [line for line in lines if line.strip()]


def decode_line(line: bytes) -> dict[str, Any]:
    """
    Raises
    ------
    BadLine
        It is no JSON object.
    """
    try:
        value = json.loads(line)
    except RecursionError:
        raise BadLine("expected a JSON object, got one that is nested too deeply") from None
    except ValueError:  # of the syntax, of UTF-8, or of a number that Python will not read
        raise BadLine("expected a JSON object in each line, got something else") from None
    if not isinstance(value, dict):
        raise BadLine(f"expected a JSON object, got {type(value).__name__}")
    return value


def encode_line(value: Mapping[str, Any]) -> bytes:
    """One line of strict JSON; numbers that JSON has no word for (NaN, infinite) become null."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
