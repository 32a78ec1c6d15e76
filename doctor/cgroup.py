"""What a container or batch job may use of the machine: control groups of Linux, of both versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from auflow.doctor.places import Places

__all__ = ["Limits", "limits"]

_ROOT = "/sys/fs/cgroup"
_UNLIMITED_BYTES = 1 << 60  # version 1 writes a number beyond this for "no limit"


@dataclass(frozen=True, slots=True)
class Limits:
    """The tightest limits of the groups that this process is in; None where there is none."""

    cpus: float | None = None  # cores' worth of time
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None  # of it


def limits(places: Places) -> Limits:
    """Read them, from the process's own group up to the topmost one that can be seen."""
    quotas = [quota for folder in _folders(places, "cpu") if (quota := _quota(places, folder)) is not None]
    memory = [found for folder in _folders(places, "memory") if (found := _memory(places, folder)) is not None]
    tightest = min(memory, default=None)
    return Limits(min(quotas, default=None), *(tightest or (None, None)))


def _folders(places: Places, controller: str) -> Iterator[str]:
    """The folders of the groups, from the own one upwards. A container may see another path than what is mounted."""
    for line in places.read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounts = [_ROOT] if not controllers else [f"{_ROOT}/{controller}", f"{_ROOT}/{controllers}"]
        own = PurePosixPath(path if path.startswith("/") and ".." not in path else "/")
        for group in (own, *own.parents):
            yield from (f"{mount}{group}".rstrip("/") for mount in mounts)


def _quota(places: Places, folder: str) -> float | None:
    words = places.read(f"{folder}/cpu.max").split() or [
        places.read(f"{folder}/cpu.cfs_quota_us").strip(),
        places.read(f"{folder}/cpu.cfs_period_us").strip(),
    ]
    limit, period = (_number(word) for word in (*words, "", "")[:2])
    return limit / period if limit and period else None


def _memory(places: Places, folder: str) -> tuple[int, int] | None:
    limit = _number(places.read(f"{folder}/memory.max") or places.read(f"{folder}/memory.limit_in_bytes"))
    if limit is None or limit >= _UNLIMITED_BYTES:
        return None
    used = _number(places.read(f"{folder}/memory.current") or places.read(f"{folder}/memory.usage_in_bytes")) or 0
    # What was read of files counts as used, and is given up when memory is needed.
    kept = dict(line.split(" ", 1) for line in places.read(f"{folder}/memory.stat").splitlines() if " " in line)
    cached = _number(kept.get("total_inactive_file") or kept.get("inactive_file", "")) or 0
    return limit, max(0, limit - max(0, used - cached))


def _number(text: str) -> int | None:
    """None where it is no positive number: "max", "-1", "" are no limit."""
    return int(text) if text.strip().isdecimal() else None
