"""A program that may crash or hang, run with a time limit: what it has printed, and how it ended."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

__all__ = ["run_child"]


def run_child(command: Sequence[str], patience_s: float) -> tuple[str, str]:
    """What the program has printed, and how it ended: "its process ended with signal 11", "no answer within 5 s"."""
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=patience_s
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""  # bytes, whatever was asked for
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return text, f"no answer within {patience_s:g} s"
    how = f"signal {-ended.returncode}" if ended.returncode < 0 else f"exit code {ended.returncode}"
    last = (ended.stderr.strip().splitlines() or [""])[-1]
    return ended.stdout, f"its process ended with {how}" + (f" ({last})" if last else "")
