"""What a decode worker's feeds share: the edge to CLNF, the ring, and which slots are under way for whom."""

from __future__ import annotations

import time

from auflow.flow.process import Shell
from auflow.transport import messages as m
from auflow.transport.edge import EdgeSender
from auflow.transport.ring import FrameRing, Owner, Slot

__all__ = ["Outlet"]


class Outlet:
    """Room for pictures, and the way to the stages."""

    def __init__(self, shell: Shell, edge: EdgeSender[m.FrameReady]) -> None:
        self.shell = shell
        self.edge = edge
        self._uses: dict[int, tuple[int, int]] = {}  # slot number -> its generation, the stream
        self._wanted_bytes = 0  # of the largest picture so far; one that does not fit waits until every slot is free

    @property
    def ring(self) -> FrameRing:
        """The ring of the lane."""
        return self.shell.ring

    def under_way(self, stream: int) -> int:
        """How many pictures of a stream are with the stages."""
        return sum(user == stream for _, user in self._uses.values())

    def has_room(self, size_bytes: int) -> bool:
        """Whether a picture of this size can be taken in now; the ring grows for it as soon as it is empty."""
        ring = self.ring
        self._wanted_bytes = max(self._wanted_bytes, size_bytes)
        if self._wanted_bytes > ring.slot_bytes:
            # Nobody gets a slot until the ring is empty: smaller pictures would always be first.
            if ring.free_slots < ring.slots:
                return False
            ring.resize(self._wanted_bytes)
        return self.edge.credit > 0 and ring.free_slots > 0

    def frame(self, stream: int, slot: Slot, index: int, timestamp_s: float, size: tuple[int, int]) -> m.FrameReady:
        """The message of a picture that lies in `slot`; `size` is (height, width). One in many is traced from here."""
        where = (slot.number, slot.generation, *size)
        trace = self.shell.probe.traceparent()
        return m.FrameReady(stream, index, timestamp_s, *where, time.monotonic(), trace=trace)

    def send(self, slot: Slot, frame: m.FrameReady) -> None:
        """Hand a filled slot to CLNF."""
        self.ring.hand_over(slot, Owner.CLNF)
        self._uses[slot.number] = (slot.generation, frame.stream)
        self.edge.send(frame)
        self.shell.progress += 1

    def give_back(self, slot: Slot) -> None:
        """A slot that was not filled."""
        self.ring.hand_over(slot, Owner.FREE)

    def released(self, slot: Slot) -> None:
        """The sink has done with a slot, which may have been taken again since: its header says so before."""
        if self._uses.get(slot.number, (0, 0))[0] == slot.generation:
            del self._uses[slot.number]
