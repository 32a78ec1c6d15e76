"""Memory: how much there is and may be used, the ring that frames lie in, and how many files may be open."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass

from auflow.doctor.cgroup import limits
from auflow.doctor.finding import Finding
from auflow.doctor.places import Places
from auflow.doctor.processor import jobs_that_fit

__all__ = ["Memory", "Ring", "gather", "gather_ring", "judge", "judge_ring", "lanes_in"]

AREA = "memory"

# Peaks as README has them: one video, each one beside it, and all stages in one process.
FIRST_LANE_BYTES = 375_000_000
LANE_BYTES = 105_000_000
INLINE_BYTES = 240_000_000
# Open files of the orchestrator, measured with 1 and 8 lanes (25 and 75), and some to spare.
FILES_OF_ONE = 25
FILES = 40
FILES_OF_LANE = 8

_RING_SLOTS = 10
_VGA_BYTES = 640 * 480 * 3


@dataclass(frozen=True, slots=True)
class Ring:
    """What came of making the ring of one lane."""

    memfd: bool  # whether this system has such files
    error: str = ""  # why it could not be made, "" where it could


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of it; None where the system does not tell."""

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None  # of the container or batch job
    limit_free_bytes: int | None  # of it
    shm_bytes: int | None  # free in /dev/shm
    files: int | None  # that a process may have open; None is no limit
    lanes: int  # that there would be at most, unless the user says otherwise


def gather(places: Places) -> Memory:
    """Read what the system tells."""
    fields = dict(line.split(":", 1) for line in places.read("/proc/meminfo").splitlines() if ":" in line)
    total, available = (_bytes(fields.get(name, "")) for name in ("MemTotal", "MemAvailable"))
    if total is None and places.platform == "darwin":
        said = places.said_by(["sysctl", "-n", "hw.memsize"]).strip()
        total = int(said) if said.isdecimal() else None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = limits(places)
    return Memory(
        total_bytes=total,
        available_bytes=available,
        limit_bytes=allowed.memory_bytes,
        limit_free_bytes=allowed.memory_free_bytes,
        shm_bytes=_shm(places),
        files=None if soft == resource.RLIM_INFINITY else soft,
        lanes=jobs_that_fit(places.cpus(), allowed.cpus),
    )


def judge(facts: Memory) -> list[Finding]:
    """Findings on memory."""
    return [_size(facts), _shm_finding(facts), _files(facts)]


def gather_ring(_: Places) -> Ring:
    """Make a ring of frames as a run would, with all its bytes, and give it back."""
    from auflow.transport.faults import TransportError
    from auflow.transport.ring import create_ring

    memfd = hasattr(os, "memfd_create")
    try:
        os.close(create_ring(_RING_SLOTS, _VGA_BYTES))
    except TransportError as error:
        return Ring(memfd, str(error))
    except OSError as error:  # of memfd_create: an old kernel, a sandbox
        return Ring(memfd, f"memfd_create: {error.strerror or error}")
    return Ring(memfd)


def judge_ring(facts: Ring) -> list[Finding]:
    """The finding on it."""
    size = _RING_SLOTS * _VGA_BYTES / 1e6
    if facts.error:
        mend = "free memory, or let the sandbox (seccomp) allow memfd_create; `auflow run --inline` needs no ring"
        return [Finding(AREA, "ring", "broken", f"no ring for frames can be made: {facts.error}", mend)]
    if facts.memfd:
        what = f"a ring of {_RING_SLOTS} frames was made in a memfd, and all of its {size:.0f} MB were there"
        return [Finding(AREA, "ring", "fine", what)]
    what = f"this system has no memfd: frames lie in a deleted file of the temporary folder ({size:.0f} MB were made)"
    return [Finding(AREA, "ring", "note", what)]


def lanes_in(free_bytes: int) -> int:
    """Inputs at the same time that so much memory is enough for; 0 where it is not for one."""
    return 0 if free_bytes < FIRST_LANE_BYTES else 1 + (free_bytes - FIRST_LANE_BYTES) // LANE_BYTES


def _size(facts: Memory) -> Finding:
    sizes = [size for size in (facts.total_bytes, facts.limit_bytes) if size is not None]
    if not sizes:
        return Finding(AREA, "size", "note", "the system does not tell how much memory there is")
    most = min(sizes)
    limit = "" if most == facts.total_bytes else f" (the limit of a container or job, of {_gb(facts.total_bytes)})"
    frees = [size for size in (facts.available_bytes, facts.limit_free_bytes) if size is not None]
    free = min(frees, default=most)
    what = f"{_gb(most)}{limit}, {_gb(free)} free"
    need = f"a run takes about {_gb(FIRST_LANE_BYTES)}, and {_gb(LANE_BYTES)} for each further input at the same time"
    if most < INLINE_BYTES:
        mend = "give it at least 0.5 GB: `docker run --memory 512m`, say"
        return Finding(AREA, "size", "broken", f"{what}: {need}, in one process {_gb(INLINE_BYTES)}", mend)
    if most < FIRST_LANE_BYTES:
        return Finding(AREA, "size", "broken", f"{what}: {need}", "auflow run --inline")
    if not lanes_in(free):
        return Finding(AREA, "size", "note", f"{what}: {need}", "end other programs, or take `auflow run --inline`")
    if lanes_in(free) < facts.lanes:
        return Finding(AREA, "size", "note", f"{what}: {need}", f"auflow run --jobs {lanes_in(free)}")
    return Finding(AREA, "size", "fine", what)


def _shm_finding(facts: Memory) -> Finding:
    unused = "auflow does not need it: frames lie in a memfd, which counts as memory"
    if facts.shm_bytes is None:
        return Finding(AREA, "/dev/shm", "fine", f"not here; {unused}")
    return Finding(AREA, "/dev/shm", "fine", f"{_gb(facts.shm_bytes)} free; {unused}")


def _files(facts: Memory) -> Finding:
    if facts.files is None:
        return Finding(AREA, "open files", "fine", "no limit")
    lanes = max(0, (facts.files - FILES) // FILES_OF_LANE)
    enough = f"{lanes} input{'' if lanes == 1 else 's'} at the same time" if lanes else "one input, barely"
    what = f"{facts.files} at most in a process: enough for {enough}"
    need = FILES + FILES_OF_LANE * facts.lanes
    if facts.files < FILES_OF_ONE:
        what = f"{facts.files} at most in a process, and one input takes {FILES_OF_ONE}"
        return Finding(AREA, "open files", "broken", what, f"ulimit -n {2 * need}")
    if facts.files < need:
        return Finding(AREA, "open files", "note", f"{what}, and there may be {facts.lanes}", f"ulimit -n {2 * need}")
    return Finding(AREA, "open files", "fine", what)


def _shm(places: Places) -> int | None:
    try:
        return places.free_bytes(places.at("/dev/shm"))
    except OSError:
        return None


def _bytes(text: str) -> int | None:
    """Of a line of /proc/meminfo: "123 kB"."""
    words = text.split()
    return 1024 * int(words[0]) if words and words[0].isdecimal() else None


def _gb(size: int | None) -> str:
    if size is None:
        return "an unknown size"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
