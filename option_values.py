"""What the options of the command line take: each function reads one word, or tells what it expected."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from auflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from auflow.backends.choice import Asked
    from auflow.backends.names import StageName

__all__ = ["address", "backend_for", "backends", "frames", "percent", "pixels", "positive", "tolerance"]

_MOST_FRAMES = 1_000_000


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number


def frames(text: str) -> int:
    """A whole number from 1 to a million, as a configuration takes it."""
    number = positive(text)
    if number > _MOST_FRAMES:
        raise argparse.ArgumentTypeError(f"expected {_MOST_FRAMES} frames at most, got {text!r}")
    return number


def pixels(text: str) -> float:
    """Pixels above 0."""
    number = _number(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected pixels above 0, got {text!r}")
    return number


def tolerance(text: str) -> float:
    """Pixels, 0 or more."""
    number = _number(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"expected pixels, 0 or more, got {text!r}")
    return number


def percent(text: str) -> float:
    """A number from 0 to 100."""
    number = _number(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"expected a percentage from 0 to 100, got {text!r}")
    return number


def backends(text: str) -> Asked:
    """[STAGE=]NAME[,STAGE=NAME...]: what computes the stages."""
    from auflow.backends.choice import read_asked

    try:
        return read_asked(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def backend_for(stage: StageName) -> Callable[[str], Asked]:
    """NAME: what computes this one stage."""

    def read(text: str) -> Asked:
        if not text.replace("-", "").isalpha():
            raise argparse.ArgumentTypeError(f"expected the name of a backend for {stage}, got {text!r}")
        return backends(f"{stage}={text}")

    return read


def address(text: str) -> tuple[str, int]:
    """HOST:PORT of this machine."""
    from auflow.transport.address import read_address

    port = text.rpartition(":")[2]
    try:
        where = read_address(f"tcp://{text}")
    except UsageError:
        where = None
    if where is None or not where.loopback or port == "*":
        raise argparse.ArgumentTypeError(f"expected an address of this machine, such as 127.0.0.1:8717, got {text!r}")
    return where.host, int(port)


def _number(text: str) -> float:
    """The finite number, or NaN."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
