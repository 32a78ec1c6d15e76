"""What a result was measured on: processor, memory, system, versions, commit, and how busy the machine was."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import auflow
from auflow.profiles.machine import cpu_model, usable_cores

__all__ = ["CHECKOUT", "OthersWatch", "busy_warning", "commit", "describe", "machine_key", "usable_cores"]

LIBRARIES = ("numpy", "numba", "opencv-python-headless", "onnxruntime", "av", "pyzmq")
CHECKOUT = Path(auflow.__file__).resolve().parent  # the folder of the package is the root of a checkout
LOOK_S = 0.5
BUSY_SHARE = 0.15  # of all cores


def describe() -> dict[str, Any]:
    """The machine as it is now, in words and numbers that fit into JSON. Takes half a second to look at its load."""
    others = OthersWatch()
    time.sleep(LOOK_S)
    return {
        "cpu": cpu_model(),
        "cores_usable": len(usable_cores()),
        "cores_quota": _quota(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "load_average": round(os.getloadavg()[0], 2),
        "others_before": others.share(),
    }


def machine_key(machine: Mapping[str, Any]) -> str:
    """What the results of one machine have in common, fit for a file name: `amd-epyc-2-cores-25-gb`."""
    words = f"{machine['cpu']} {machine['cores_usable']} cores {machine['memory_gb']:.0f} GB"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def busy_warning(share: float | None, when: str) -> str | None:
    """A warning when other work takes so much of the cores' time that it would be measured too, else None."""
    if share is None or share < BUSY_SHARE:
        return None
    return f"{when} other work took {share:.0%} of the cores' time; wall times and rates are worse than they could be"


class OthersWatch:
    """How much of all cores' time goes to others than this process and its children, from now on."""

    def __init__(self) -> None:
        self._before = _cpu_ticks(), _own_cpu_s()

    def share(self) -> float | None:
        """Between 0 and 1; None where the system does not tell."""
        (ticks, own_s), now = self._before, _cpu_ticks()
        if ticks is None or now is None or now[0] == ticks[0]:
            return None
        total, idle = (end - start for start, end in zip(ticks, now, strict=True))
        own = (_own_cpu_s() - own_s) * os.sysconf("SC_CLK_TCK")
        return round(min(max((total - idle - own) / total, 0.0), 1.0), 3)


def _own_cpu_s() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def commit() -> dict[str, Any] | None:
    """Hash of the checkout's commit and whether files differ from it; None outside of a checkout."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        found = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None  # no git here, or a folder that it does not trust
    return {"hash": found, "dirty": bool(changed)}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _quota() -> float | None:
    """Cores' worth of time that a container may use, None where it is not limited."""
    for line in _lines("/sys/fs/cgroup/cpu.max"):
        limit, _, period = line.partition(" ")
        return None if limit == "max" else int(limit) / int(period)
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_ticks() -> tuple[int, int] | None:
    """(all, idle) ticks of all cores."""
    for line in _lines("/proc/stat"):
        ticks = [int(word) for word in line.split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]
    return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
