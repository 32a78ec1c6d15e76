"""The frame ring: one owner per slot and generation, no copies, growth between streams, nothing left behind."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import auflow.transport.ring as ring_module
from auflow.transport.faults import TransportError
from auflow.transport.ring import MAX_SLOTS, FrameRing, Mark, Owner, Slot, Tally, create_ring

FRAME = (6, 8)


@pytest.fixture
def fd() -> Iterator[int]:
    descriptor = create_ring(3, 6 * 8 * 3)
    yield descriptor
    os.close(descriptor)


def _take(ring: FrameRing) -> Slot:
    slot = ring.acquire()
    assert slot is not None
    return slot


def test_pixels_are_shared_and_not_copied(fd: int) -> None:
    decode, clnf = FrameRing(fd, Owner.DECODE), FrameRing(fd, Owner.CLNF)
    slot = _take(decode)
    written = decode.array(slot, *FRAME)
    decode.hand_over(slot, Owner.CLNF)
    read = clnf.array(slot, *FRAME)
    written[:] = 7  # after the reader has its view: a copy would still hold zeros
    assert read.shape == (6, 8, 3)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert (read == 7).all()


def test_readers_cannot_write(fd: int) -> None:
    decode, au = FrameRing(fd, Owner.DECODE), FrameRing(fd, Owner.AU)
    slot = _take(decode)
    decode.hand_over(slot, Owner.AU)
    with pytest.raises(ValueError, match="read-only"):
        au.array(slot, *FRAME)[0, 0, 0] = 1


def test_slots_are_disjoint_and_run_out(fd: int) -> None:
    ring = FrameRing(fd, Owner.DECODE)
    slots = [_take(ring) for _ in range(3)]
    for value, slot in enumerate(slots):
        ring.array(slot, *FRAME)[:] = value
    assert [int(ring.array(slot, *FRAME).max()) for slot in slots] == [0, 1, 2]
    assert ring.acquire() is None
    assert ring.free_slots == 0
    ring.hand_over(slots[1], Owner.FREE)
    assert _take(ring) == Slot(1, 2)


@pytest.mark.parametrize(
    ("slot", "owner", "message"),
    [
        (Slot(0, 2), Owner.CLNF, "expected generation 2 owned by CLNF, got generation 1 owned by CLNF"),
        (Slot(0, 1), Owner.AU, "expected generation 1 owned by AU, got generation 1 owned by CLNF"),
        (Slot(1, 0), Owner.CLNF, "got generation 0 owned by FREE"),
        (Slot(3, 1), Owner.CLNF, "expected a slot from 0 to 2, got 3"),
        (Slot(-1, 1), Owner.CLNF, "expected a slot from 0 to 2, got -1"),
    ],
)
def test_mismatch_raises(fd: int, slot: Slot, owner: Owner, message: str) -> None:
    decode = FrameRing(fd, Owner.DECODE)
    decode.hand_over(_take(decode), Owner.CLNF)
    with pytest.raises(TransportError, match=message):
        FrameRing(fd, owner).array(slot, *FRAME)


def test_only_the_owner_hands_over(fd: int) -> None:
    decode, clnf, sink = (FrameRing(fd, owner) for owner in (Owner.DECODE, Owner.CLNF, Owner.SINK))
    slot = _take(decode)
    decode.hand_over(slot, Owner.CLNF)
    with pytest.raises(TransportError, match="owned by SINK"):
        sink.hand_over(slot, Owner.FREE)
    clnf.hand_over(slot, Owner.FREE)
    with pytest.raises(TransportError, match="owned by FREE"):
        clnf.hand_over(slot, Owner.FREE)


def test_late_reader_sees_the_new_generation(fd: int) -> None:
    decode, clnf = FrameRing(fd, Owner.DECODE), FrameRing(fd, Owner.CLNF)
    stale = _take(decode)
    decode.hand_over(stale, Owner.FREE)
    for _ in range(3):
        decode.hand_over(_take(decode), Owner.CLNF)
    with pytest.raises(TransportError, match="expected generation 1 owned by CLNF, got generation 2"):
        clnf.array(stale, *FRAME)


def test_detection_reads_what_clnf_owns(fd: int) -> None:
    decode, detect = FrameRing(fd, Owner.DECODE), FrameRing(fd, Owner.DETECT)
    slot = _take(decode)
    decode.array(slot, *FRAME)[:] = 9
    decode.hand_over(slot, Owner.CLNF)
    assert detect.array(slot, *FRAME, owner=Owner.CLNF).max() == 9
    with pytest.raises(TransportError, match="owned by DETECT"):
        detect.array(slot, *FRAME)


def test_grows_between_streams_and_readers_follow(fd: int) -> None:
    decode, clnf = FrameRing(fd, Owner.DECODE), FrameRing(fd, Owner.CLNF)
    size = decode.slot_bytes
    decode.resize(size)  # fits: nothing happens
    slot = _take(decode)
    with pytest.raises(TransportError, match="got DECODE and 2 free"):
        decode.resize(size + 1)
    with pytest.raises(TransportError, match=f"up to {size} bytes, got 400 x 300 x 3"):
        decode.array(slot, 400, 300)
    decode.hand_over(slot, Owner.FREE)
    decode.resize(400 * 300 * 3)
    slots = [_take(decode) for _ in range(3)]
    for value, each in enumerate(slots):
        decode.array(each, 400, 300)[:] = value + 1
        decode.hand_over(each, Owner.CLNF)
    assert [int(clnf.array(each, 400, 300).min()) for each in slots] == [1, 2, 3]


def test_growth_is_for_decode_only(fd: int) -> None:
    with pytest.raises(TransportError, match="got AU"):
        FrameRing(fd, Owner.AU).resize(1 << 20)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="seals are Linux's")
def test_the_file_never_shrinks(fd: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)


def test_marks_tell_who_works_on_what(fd: int) -> None:
    watcher, au = FrameRing(fd, Owner.FREE), FrameRing(fd, Owner.AU)
    assert watcher.read_mark(Owner.AU) is None
    au.mark(2, 17)
    assert watcher.read_mark(Owner.AU) == Mark(2, 17)
    assert watcher.read_mark(Owner.CLNF) is None
    au.mark(-1, -1)
    assert watcher.read_mark(Owner.AU) is None
    au.mark(2, 18)
    watcher.forget_mark(Owner.AU)
    assert watcher.read_mark(Owner.AU) is None


def test_after_a_fall_every_slot_is_free_and_nothing_old_fits(fd: int) -> None:
    decode, clnf, watcher = (FrameRing(fd, owner) for owner in (Owner.DECODE, Owner.CLNF, Owner.FREE))
    slots = [_take(decode) for _ in range(3)]
    decode.hand_over(slots[0], Owner.CLNF)
    clnf.mark(0, 1)
    watcher.reclaim()
    assert watcher.free_slots == 3
    assert watcher.read_mark(Owner.CLNF) is None
    again = FrameRing(fd, Owner.DECODE)
    assert {_take(again).generation for _ in slots} == {2}
    with pytest.raises(TransportError, match="expected generation 1 owned by CLNF, got generation 2"):
        clnf.array(slots[0], *FRAME)


def test_counts_of_a_seat_outlive_their_process(fd: int) -> None:
    decode, sink, watcher = (FrameRing(fd, owner) for owner in (Owner.DECODE, Owner.SINK, Owner.FREE))
    decode.count(2, decoded=10, superseded=1, too_old=2, paused=3, sent=4)
    sink.count(2, done=2, failed=1)
    tally = watcher.tally(2)
    assert (tally.decoded, tally.dropped, tally.done, tally.failed, tally.under_way) == (10, 6, 2, 1, 1)
    assert watcher.tally(1) == Tally()
    watcher.reclaim()
    assert watcher.tally(2) == tally
    watcher.clear_tally(2)
    assert watcher.tally(2) == Tally()


@pytest.mark.parametrize(("slots", "size"), [(0, 1), (MAX_SLOTS + 1, 1), (1, 0)])
def test_impossible_sizes_are_refused(slots: int, size: int) -> None:
    with pytest.raises(TransportError, match="expected 1 to"):
        create_ring(slots, size)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
def test_too_little_memory_is_an_error_and_no_bus_error_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(TransportError, match="0 MB of shared memory could not be had: No space left on device"):
        create_ring(1, 1)


def test_more_than_the_machine_has_is_not_even_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asking the kernel for it would have it search, and kill somebody, before it says no.
    monkeypatch.setattr(ring_module, "_available_bytes", lambda: 1e6)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("asked"), raising=False)
    with pytest.raises(TransportError, match="8 MB of shared memory could not be had: only 1 MB"):
        create_ring(2, 4_000_000)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc/meminfo")
def test_available_memory_is_known() -> None:
    assert 1e6 < ring_module._available_bytes() < 1e15


def test_another_file_is_refused(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 16)
    try:
        with pytest.raises(TransportError, match="expected a frame ring"):
            FrameRing(fd, Owner.AU)
    finally:
        os.close(fd)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_no_descriptor_is_left() -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = count()
    fd = create_ring(2, 4096)
    ring = FrameRing(fd, Owner.DECODE)
    view = ring.array(_take(ring), *FRAME)
    os.close(fd)
    del ring
    view[:] = 1  # the mapping outlives the ring for as long as a view of it is held
    del view
    assert count() == before
