"""The frame ring: the pixels of one lane in shared memory that has no name, so nothing can be left behind.

The orchestrator makes the descriptor (`create_ring`) and every process of the lane gets it at its spawn. Page one
holds the header: the layout, per slot an owner and a generation number, per role the frame that it works on, per seat
what became of the pictures of a live stream, so that no count is lost with a process. The pixels follow. A slot has
one owner at a time, who hands it on: decode -> clnf -> au -> sink -> free. Only the owner may touch a slot, and every
access names the generation that it expects: a late or double use raises.

Frame sizes differ from input to input. Between two inputs the ring is empty, so decode then enlarges the file
(`FrameRing.resize`) and raises the epoch; a reader that sees another epoch maps the file again. The file never
shrinks (on Linux it is sealed against it): a page that was mapped stays backed, so no access can end in a bus error.

Slot words are written by one process at a time, and the message that tells the next owner passes through the kernel,
which orders the stores before it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.transport.faults import TransportError

__all__ = ["MAX_SEATS", "MAX_SLOTS", "SOURCE_STATES", "FrameRing", "Mark", "Owner", "Slot", "Tally", "create_ring"]

MAX_SLOTS = 64
MAX_SEATS = 16  # live streams of a lane
SOURCE_STATES = ("connecting", "streaming", "stalled", "backing_off", "paused", "stopped")
_MAGIC = 0x31474E4952554120  # " AURING1"
_HEADER_BYTES = mmap.ALLOCATIONGRANULARITY  # the pixels start where a mapping may start

_LAYOUT = np.dtype([("magic", "<u8"), ("epoch", "<u8"), ("slots", "<u8"), ("slot_bytes", "<u8")])
_SLOT = np.dtype([("generation", "<u8"), ("owner", "<u8")])
_MARK = np.dtype([("stream", "<i8"), ("frame", "<i8")])


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the pictures of a live stream; `decoded` is the sum of the drops, `failed`, `done` and those on
    their way."""

    decoded: int = 0
    superseded: int = 0  # dropped: a newer one came before there was room
    too_old: int = 0  # dropped
    paused: int = 0  # dropped
    sent: int = 0  # to the stages, by the decoder that runs now
    done: int = 0
    failed: int = 0  # under way in a lane that died
    corrupt: int = 0  # repaired by the decoder
    lost: int = 0  # never arrived
    reconnects: int = 0
    published: int = 0  # messages on the live bus
    state: int = 0  # of the source: its place in `SOURCE_STATES`
    origin_us: int = 0  # monotonic time at which the stream's own time was zero

    @property
    def dropped(self) -> int:
        """For whatever reason."""
        return self.superseded + self.too_old + self.paused

    @property
    def under_way(self) -> int:
        """Neither done nor dropped nor failed yet."""
        return self.decoded - self.dropped - self.done - self.failed


_TALLY = np.dtype([(count.name, "<u8") for count in fields(Tally)])
_SLOTS_AT = 64
_MARKS_AT = _SLOTS_AT + MAX_SLOTS * _SLOT.itemsize
_TALLIES_AT = _MARKS_AT + 16 * _MARK.itemsize


class Owner(IntEnum):
    """Who may touch a slot."""

    FREE = 0
    DECODE = 1
    CLNF = 2
    AU = 3
    SINK = 4
    DETECT = 5  # marks only: detection reads a slot that the CLNF worker owns and waits for


@dataclass(frozen=True, slots=True)
class Slot:
    """One use of one slot."""

    number: int
    generation: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The frame that a process works on; `frame` is 0 before the first of a stream."""

    stream: int
    frame: int


def create_ring(slots: int, slot_bytes: int) -> int:
    """Make an empty ring and return its descriptor, which the caller closes.

    Parameters
    ----------
    slots : 1 to `MAX_SLOTS`
    slot_bytes : of the largest frame expected at first, at least 1; rounded up to whole pages
    Raises
    ------
    TransportError
        The sizes are out of range, or there is not enough memory.
    """
    if not 1 <= slots <= MAX_SLOTS or slot_bytes < 1:
        raise TransportError(f"ring: expected 1 to {MAX_SLOTS} slots of 1 byte or more, got {slots} of {slot_bytes}")
    fd = _anonymous_file()
    try:
        slot_bytes = _whole_pages(slot_bytes)
        _allocate(fd, _HEADER_BYTES + slots * slot_bytes)
        with mmap.mmap(fd, _HEADER_BYTES) as header:
            np.frombuffer(header, _LAYOUT, 1)[0] = (_MAGIC, 1, slots, slot_bytes)
            marks = np.frombuffer(header, _MARK, len(Owner), _MARKS_AT)
            marks["stream"] = -1
            del marks
    except BaseException:
        os.close(fd)
        raise
    return fd


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("auflow-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fd, path = tempfile.mkstemp(prefix="auflow-ring-")
    os.unlink(path)
    return fd


def _allocate(fd: int, size: int) -> None:
    """Give the file `size` bytes that really exist, and forbid that it shrinks."""
    more, available = size - os.fstat(fd).st_size, _available_bytes()
    try:
        if more > available:  # the kernel would look for them until it kills somebody
            raise OSError(errno.ENOMEM, f"only {available / 1e6:.0f} MB are available")
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:
            _fill(fd, size)
    except OSError as error:
        raise TransportError(
            f"ring: {more / 1e6:.0f} MB of shared memory could not be had: {error.strerror}; use fewer --jobs"
        ) from error
    if hasattr(fcntl, "F_ADD_SEALS"):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)


def _available_bytes() -> float:
    """Memory that can be had without harm to others; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), "inf")
    return 1024 * float(kilobytes)


def _fill(fd: int, size: int) -> None:
    """Write zeros from the end of the file up to `size`, for systems without posix_fallocate."""
    zeros = bytes(1 << 20)
    at = os.fstat(fd).st_size
    while at < size:
        at += os.pwrite(fd, zeros[: size - at], at)


def _whole_pages(size: int) -> int:
    page = mmap.PAGESIZE
    return (size + page - 1) // page * page


class FrameRing:
    """One process's view of the ring behind `fd`.

    Parameters
    ----------
    fd : from `create_ring`; stays the caller's
    owner : the role of this process. DECODE writes pixels, the others get read-only views.
    """

    def __init__(self, fd: int, owner: Owner) -> None:
        self._fd = fd
        self._owner = owner
        self._header = mmap.mmap(fd, _HEADER_BYTES)
        self._layout = np.frombuffer(self._header, _LAYOUT, 1)
        if int(self._layout["magic"][0]) != _MAGIC:
            raise TransportError(f"descriptor {fd}: expected a frame ring, got another file")
        self._slots = int(self._layout["slots"][0])
        table = np.frombuffer(self._header, _SLOT, self._slots, _SLOTS_AT)
        self._generations, self._owners = table["generation"], table["owner"]
        self._marks = np.frombuffer(self._header, _MARK, len(Owner), _MARKS_AT)
        self._tallies = np.frombuffer(self._header, _TALLY, MAX_SEATS, _TALLIES_AT)
        self._next = 0
        self._map()

    def _map(self) -> None:
        self._epoch = int(self._layout["epoch"][0])
        self._slot_bytes = int(self._layout["slot_bytes"][0])
        access = mmap.ACCESS_WRITE if self._owner is Owner.DECODE else mmap.ACCESS_READ
        # The former mapping lives on until the last view of it is gone.
        pixels = mmap.mmap(self._fd, self._slots * self._slot_bytes, access=access, offset=_HEADER_BYTES)
        self._pixels: NDArray[np.uint8] = np.frombuffer(pixels, np.uint8)

    @property
    def slots(self) -> int:
        """How many frames the ring holds."""
        return self._slots

    @property
    def slot_bytes(self) -> int:
        """The room of one slot."""
        return int(self._layout["slot_bytes"][0])

    @property
    def free_slots(self) -> int:
        """How many slots nobody owns."""
        return self.owned_by(Owner.FREE)

    def owned_by(self, owner: Owner) -> int:
        """How many slots are in the hands of a role."""
        return int(np.count_nonzero(self._owners == owner))

    def resize(self, slot_bytes: int) -> None:
        """Make room for frames of `slot_bytes`; does nothing when they fit. DECODE only, while every slot is free.

        Raises
        ------
        TransportError
            A slot is in use, or there is not enough memory.
        """
        if slot_bytes <= self.slot_bytes:
            return
        if self._owner is not Owner.DECODE or self.free_slots != self._slots:
            raise TransportError(
                f"ring: expected DECODE and {self._slots} free slots to resize, got {self._owner.name} "
                f"and {self.free_slots} free"
            )
        slot_bytes = _whole_pages(slot_bytes)
        _allocate(self._fd, _HEADER_BYTES + self._slots * slot_bytes)
        self._layout["slot_bytes"] = slot_bytes
        self._layout["epoch"] += 1
        self._map()

    def acquire(self) -> Slot | None:
        """Take a free slot under a new generation number, or None when all are in use. DECODE only."""
        for step in range(self._slots):
            number = (self._next + step) % self._slots
            if self._owners[number] == Owner.FREE:
                self._next = (number + 1) % self._slots
                self._generations[number] += 1
                self._owners[number] = self._owner
                return Slot(number, int(self._generations[number]))
        return None

    def check(self, slot: Slot, owner: Owner) -> None:
        """Raise `TransportError` unless `owner` holds `slot` in this generation."""
        if not 0 <= slot.number < self._slots:
            raise TransportError(f"ring: expected a slot from 0 to {self._slots - 1}, got {slot.number}")
        generation, found = int(self._generations[slot.number]), int(self._owners[slot.number])
        if generation != slot.generation or found != owner:
            held_by = Owner(found).name if found in Owner._value2member_map_ else str(found)
            raise TransportError(
                f"ring: slot {slot.number}: expected generation {slot.generation} owned by {owner.name}, "
                f"got generation {generation} owned by {held_by}"
            )

    def array(self, slot: Slot, height_px: int, width_px: int, *, owner: Owner | None = None) -> NDArray[np.uint8]:
        """The pixels of `slot` where they lie: (height, width, 3) uint8, C-contiguous; read-only except for DECODE.

        Parameters
        ----------
        owner : who must hold the slot, if not this process
        Raises
        ------
        TransportError
            Another owner or generation, or a frame that is larger than a slot.
        """
        self.check(slot, self._owner if owner is None else owner)
        if self._epoch != int(self._layout["epoch"][0]):
            self._map()
        size = height_px * width_px * 3
        if height_px < 1 or width_px < 1 or size > self._slot_bytes:
            raise TransportError(
                f"ring: expected a frame of up to {self._slot_bytes} bytes, got {height_px} x {width_px} x 3"
            )
        at = slot.number * self._slot_bytes
        return self._pixels[at : at + size].reshape(height_px, width_px, 3)

    def hand_over(self, slot: Slot, to: Owner) -> None:
        """Make `to` the owner of a slot that this process owns; `Owner.FREE` gives it back."""
        self.check(slot, self._owner)
        self._owners[slot.number] = to

    def reclaim(self) -> None:
        """Free every slot and forget all marks: only while no process of the lane is alive."""
        self._owners[:] = Owner.FREE
        self._marks["stream"] = -1

    def tally(self, seat: int) -> Tally:
        """The counts of a seat; each count has one writer, so what is read is at most a moment old."""
        counts = Tally(*(int(count) for count in self._tallies[seat].item()))
        # Whoever counts what became of frames has counted the frames before: read last, there are never too few.
        return replace(counts, decoded=int(self._tallies["decoded"][seat]))

    def count(self, seat: int, **counts: int) -> None:
        """Set counts of a seat, by their names in `Tally`."""
        for name, value in counts.items():
            self._tallies[name][seat] = value

    def clear_tally(self, seat: int) -> None:
        """Begin anew, for another stream."""
        self._tallies[seat] = 0

    def mark(self, stream: int, frame: int) -> None:
        """Note for the orchestrator what this process works on, so that a death can be told with its frame."""
        self._marks[self._owner] = (stream, frame)

    def forget_mark(self, owner: Owner) -> None:
        """The process of that role is gone, and what it worked on is known."""
        self._marks["stream"][owner] = -1

    def read_mark(self, owner: Owner) -> Mark | None:
        """What the process of that role noted last, None before its first stream."""
        stream, frame = self._marks[owner].item()
        return None if stream < 0 else Mark(stream, frame)
