"""A document as JSON, in a file or on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from auflow.errors import OutputError

__all__ = ["write_json"]


def write_json(place: str, document: Any) -> None:
    """Write to the file `place`; "-" is standard output. Numbers that JSON does not know are an error of the program.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if place == "-":
        sys.stdout.write(text)
        return
    try:
        Path(place).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror}; choose another place") from error
