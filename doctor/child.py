"""Looks that may crash or hang (graphics drivers, libraries of another CPU) are done in a process of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from auflow.child_program import run_child

__all__ = ["PATIENCE_S", "Answer", "Ask", "ask"]

PATIENCE_S = 10.0  # longer than a driver needs that is loaded for the first time

# {"value": ...} is what was found, {"error": text} why it could not be found.
Answer: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[str, Sequence[str]], dict[str, Answer]]


def ask(
    look: str,
    items: Sequence[str],
    *,
    module: str = "auflow.doctor.looks",
    patience_s: float = PATIENCE_S,
) -> dict[str, Answer]:
    """What a look finds of each item, in a child process. An item that ends the child costs only its own answer.

    Parameters
    ----------
    look : of `auflow.doctor.looks.LOOKS`
    items : what to look at, in order
    module : is run with look and items as arguments, prints [item, answer] as one line of JSON for each, in order
    patience_s : for all that one child has to look at; those behind one that hangs get another child
    """
    found: dict[str, Answer] = {}
    while left := [item for item in items if item not in found]:
        command = [sys.executable, "-P", "-m", module, look, *left]
        output, end = run_child(command, patience_s)
        found |= {item: answer for item, answer in _answers(output) if item in left}
        # The first without an answer is the one that it ended at.
        if silent := [item for item in left if item not in found]:
            found[silent[0]] = {"error": end}
    return {item: found[item] for item in items}


def _answers(output: str) -> list[tuple[str, Answer]]:
    """Libraries print what they like between the answers."""
    lines = []
    for line in output.splitlines():
        try:
            match json.loads(line):
                case [str(item), dict(answer)]:
                    lines.append((item, answer))
        except ValueError:
            continue
    return lines
