"""Memory, the ring of frames, /dev/shm and open files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from auflow.doctor import memory
from auflow.doctor.memory import Memory, Ring, gather, gather_ring, judge, judge_ring, lanes_in
from auflow.tests.doctor.fake_machine import machine, only

GB = 10**9


def facts(**changed: int | None) -> Memory:
    given = {
        "total_bytes": 32 * GB,
        "available_bytes": 30 * GB,
        "limit_bytes": None,
        "limit_free_bytes": None,
        "shm_bytes": GB,
        "files": 1024,
        "lanes": 4,
    }
    return Memory(**given | changed)  # type: ignore[arg-type]


def test_a_machine_without_faults() -> None:
    assert {finding.state for finding in judge(facts())} == {"fine"}


@pytest.mark.parametrize(
    ("changed", "state", "mend"),
    [
        ({"total_bytes": 128 * 10**6}, "broken", "docker run --memory"),
        ({"limit_bytes": 128 * 10**6, "limit_free_bytes": 10**8}, "broken", "docker run --memory"),
        ({"limit_bytes": 300 * 10**6, "limit_free_bytes": 290 * 10**6}, "broken", "auflow run --inline"),
        ({"available_bytes": 200 * 10**6}, "note", "--inline"),
        ({"available_bytes": 500 * 10**6}, "note", "auflow run --jobs 2"),
        ({"total_bytes": None, "available_bytes": None}, "note", ""),
    ],
)
def test_too_little_memory(changed: dict[str, int | None], state: str, mend: str) -> None:
    found = only(judge(facts(**changed)), "size")
    assert found.state == state
    assert mend in found.mend


def test_lanes_in_memory() -> None:
    first, further = memory.FIRST_LANE_BYTES, memory.LANE_BYTES
    assert [lanes_in(first - 1), lanes_in(first), lanes_in(first + 2 * further)] == [0, 1, 3]


def test_a_tiny_container_is_read(tmp_path: Path) -> None:
    files = {
        "/proc/meminfo": "MemTotal:       65000000 kB\nMemAvailable:   60000000 kB\n",
        "/proc/self/cgroup": "0::/\n",
        "/sys/fs/cgroup/memory.max": "134217728\n",
        "/sys/fs/cgroup/memory.current": "1000000\n",
    }
    found = gather(machine(tmp_path, files))
    assert (found.total_bytes, found.limit_bytes, found.limit_free_bytes) == (65000000 * 1024, 2**27, 2**27 - 10**6)
    assert only(judge(found), "size").state == "broken"


def test_memory_of_macos(tmp_path: Path) -> None:
    found = gather(machine(tmp_path, platform="darwin", said_by=lambda command: "17179869184\n"))
    assert (found.total_bytes, found.available_bytes) == (2**34, None)


def test_lanes_go_by_the_quota(tmp_path: Path) -> None:
    files = {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "50000 100000\n"}
    assert gather(machine(tmp_path, files, cpus=lambda: 64)).lanes == 1


def test_few_open_files() -> None:
    found = only(judge(facts(files=64)), "open files")
    assert (found.state, found.mend) == ("note", "ulimit -n 144")
    assert only(judge(facts(files=None)), "open files").state == "fine"
    assert only(judge(facts(files=32)), "open files").state == "note"
    too_few = only(judge(facts(files=16)), "open files")
    assert (too_few.state, too_few.mend[:9]) == ("broken", "ulimit -n")


def test_no_shared_memory_folder_does_no_harm(tmp_path: Path) -> None:
    def gone(folder: Path) -> int:
        raise FileNotFoundError(folder)

    found = gather(machine(tmp_path, free_bytes=gone))
    assert only(judge(found), "/dev/shm").state == "fine"


def test_the_ring_is_really_made(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    facts = gather_ring(machine(tmp_path))
    assert facts == Ring(memfd=hasattr(os, "memfd_create"))
    assert len(os.listdir("/dev/fd")) == before
    assert only(judge_ring(facts), "ring").state == ("fine" if facts.memfd else "note")


def test_a_kernel_that_refuses_memfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    found = only(judge_ring(gather_ring(machine(tmp_path))), "ring")
    assert found.state == "broken"
    assert "memfd_create: Operation not permitted" in found.what
    assert "auflow run --inline" in found.mend


def test_memory_that_cannot_be_had_for_the_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, at: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    found = only(judge_ring(gather_ring(machine(tmp_path))), "ring")
    assert (found.state, "No space left on device" in found.what) == ("broken", True)


def test_a_system_without_memfd_is_a_note() -> None:
    assert only(judge_ring(Ring(memfd=False)), "ring").state == "note"
