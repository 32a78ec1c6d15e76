"""Where the doctor looks. Everything comes through here that a test replaces to make a machine of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Places", "usable_cpus"]

_PATIENCE_S = 5.0


def usable_cpus() -> int:
    """CPUs that this process may run on, which is what `--jobs` goes by."""
    from auflow.benchmarks.machine import usable_cores

    return len(usable_cores())


def _said_by(command: Sequence[str]) -> str:
    """What a program of the system prints; "" where it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _may_open(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


@dataclass(frozen=True, slots=True)
class Places:
    """One machine, as the doctor sees it."""

    root: Path = Path("/")  # of /proc, /sys and /dev
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))  # as the user has set it
    platform: str = sys.platform
    output_dir: Path = Path()  # where results would go
    models_dir: Path | None = None  # None: where auflow looks by itself
    cpus: Callable[[], int] = usable_cpus
    said_by: Callable[[Sequence[str]], str] = _said_by
    free_bytes: Callable[[Path], int] = _free_bytes  # raises OSError
    may_open: Callable[[Path], bool] = _may_open

    def read(self, path: str) -> str:
        """The text of a file of the system, named as from the root; "" where it cannot be read."""
        try:
            return self.at(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def at(self, path: str) -> Path:
        """Where a path of the system lies."""
        return self.root / path.lstrip("/")
