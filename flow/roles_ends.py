"""The work loops at both ends of a lane: decode, which fills the ring, and the sink, which empties it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auflow.errors import InputError, OutputError
from auflow.flow.process import BEAT_S, Order, Shell, WorkerRole, slot_of
from auflow.flow.topology import WINDOW, Role, edge_name, released_name
from auflow.stages.records import Frame, SourceInfo
from auflow.stages.statistics import StreamTally
from auflow.transport import messages as m
from auflow.transport.codec import decode, encode
from auflow.transport.edge import EdgeReceiver, EdgeSender
from auflow.transport.faults import TransportError
from auflow.transport.link import DealerLink, RouterLink
from auflow.transport.ring import Owner, Slot

__all__ = ["DecodeRole", "SinkRole"]


class DecodeRole(WorkerRole):
    """Reads inputs into the ring, as fast as slots and credit allow."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        lane = shell.config.number
        self._out = RouterLink(shell.context, shell.endpoint(edge_name(Role.DECODE, lane)))
        self._edge: EdgeSender[m.FrameReady] = EdgeSender(self._out, f"{shell.name} to clnf-{lane}")
        self._released = RouterLink(shell.context, shell.endpoint(released_name(lane)))
        self._source: Any = None
        self._assigned: m.Assign | None = None
        self._started = False
        self._sent = 0

    def connect(self) -> None:
        """The CLNF worker takes frames, the sink gives slots back. They start up for longer: an input is opened now."""
        released = False
        while not (self._edge.connected and released):
            self.shell.wait((self._out.socket, self._released.socket))
            self._edge.pump()
            released = released or self._released.receive() is not None
            self._obey_all()

    def setup(self) -> None:
        """Nothing: a source is opened per input."""

    def step(self) -> None:
        """Send one frame, or wait for an order, a slot or credit."""
        busy = self._work()
        self.shell.wait((self._out.socket, self._released.socket), 0.0 if busy else BEAT_S)
        self._edge.pump()
        while (payload := self._released.receive()) is not None:
            record = decode(payload)  # the slot's header says the same; the message only wakes this process
            if not isinstance(record, m.Released):
                raise TransportError(f"{self.shell.name}: expected Released, got {type(record).__name__}")
        self._obey_all()

    def _obey_all(self) -> None:
        while self.shell.orders:
            self._obey(self.shell.orders.popleft())

    def _obey(self, order: Order) -> None:
        if isinstance(order, m.Assign):
            self._open(order)
        elif self._assigned is None:
            return  # the order crossed the end of the stream
        elif isinstance(order, m.Skip) and self._assigned.stream == order.stream:
            self._end(error="skipped: the sink has the reason")
        elif isinstance(order, m.Drain):
            if self._started:
                self._end(interrupted=True)
            else:
                self._refuse(None)

    def _open(self, order: m.Assign) -> None:
        self._assigned, self._started, self._sent = order, False, 0
        self.shell.stream, self.shell.frames = order.stream, 0
        self.shell.note(order.stream, 0)
        try:
            self._source = self.kit.open_source(Path(order.path))
        except InputError as error:
            self._refuse(str(error))

    def _refuse(self, error: str | None) -> None:
        assert self._assigned is not None
        self.shell.tell(m.StreamRefused(self.shell.name, self._assigned.stream, error))
        self.abandon()

    def _work(self) -> bool:
        """One piece of work; False when there is none or it has to wait."""
        if self._source is None:
            return False
        if not self._started:
            return self._start()
        if self._edge.credit < 1:
            return False
        slot = self.shell.ring.acquire()
        if slot is None:
            return False
        self._read_frame(slot, self._source.info)
        return True

    def _start(self) -> bool:
        assert self._assigned is not None
        ring, info = self.shell.ring, self._source.info
        size = info.width_px * info.height_px * 3
        # A larger frame needs the ring empty: the last frames of the input before are still on their way.
        if not self._edge.can_start or (size > ring.slot_bytes and ring.free_slots < ring.slots):
            return False
        ring.resize(size)
        self._edge.start(m.StreamStart(self._assigned.stream, info, self._assigned.output))
        self.shell.tell(m.StreamOpened(self.shell.name, self._assigned.stream, info))
        self._started = True
        return True

    def _read_frame(self, slot: Slot, info: SourceInfo) -> None:
        assert self._assigned is not None
        stream, ring = self._assigned.stream, self.shell.ring
        self.shell.note(stream, self._sent + 1)
        try:
            got = self._source.read_into(ring.array(slot, info.height_px, info.width_px))
        except InputError as error:
            ring.hand_over(slot, Owner.FREE)
            self._end(error=str(error))
            return
        if got is None:
            ring.hand_over(slot, Owner.FREE)
            self._end()
            return
        (index, timestamp_s), taken_s = got, time.monotonic()
        ring.hand_over(slot, Owner.CLNF)
        size = (info.height_px, info.width_px)
        self._edge.send(m.FrameReady(stream, index, timestamp_s, slot.number, slot.generation, *size, taken_s))
        self._sent += 1
        self.shell.frames = self._sent
        self.shell.progress += 1

    def _end(self, *, interrupted: bool = False, error: str | None = None) -> None:
        assert self._assigned is not None
        end = m.StreamEnd(
            stream=self._assigned.stream,
            frames=self._sent,
            decoded=self._sent,
            dropped=0,
            failed=0,
            corrupt=self._source.corrupt_frames,
            interrupted=interrupted,
            error=error,
            table=None,
        )
        self._edge.end(end)
        self.shell.tell(m.StreamDecoded(self.shell.name, end.stream, end.frames))
        self.abandon()

    def abandon(self) -> None:
        """Close the input."""
        if self._source is not None:
            self._source.close()
        self._source = self._assigned = None

    def close(self) -> None:
        """Close both sockets."""
        self._out.close()
        self._released.close()


class SinkRole(WorkerRole):
    """Writes the results, and gives the slots back: it is the last to see a frame."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        lane = shell.config.number
        self._in = DealerLink(shell.context, shell.endpoint(edge_name(Role.AU, lane)), shell.name)
        self._receiver: EdgeReceiver[m.AuReady] = EdgeReceiver(
            self._in, f"to {shell.name}", WINDOW[Role.SINK], m.AuReady
        )
        self._released = DealerLink(shell.context, shell.endpoint(released_name(lane)), shell.name)
        self._sink: Any = None
        self._tally = StreamTally()
        self._successes = 0
        self._error: InputError | OutputError | None = None

    def connect(self) -> None:
        """Greet the AU worker and the decoder."""
        self.shell.connect((self._in.socket, self._released.socket))
        self._receiver.open()
        self._released.send(encode(m.Credit(1)))

    def setup(self) -> None:
        """Nothing: a sink is opened per stream."""

    def step(self) -> None:
        """Take one message."""
        self.shell.wait((self._in.socket,))
        record = self._receiver.receive()
        if isinstance(record, m.StreamStart):
            self._start(record)
        elif isinstance(record, m.AuReady):
            self._add(record)
        elif isinstance(record, m.StreamEnd):
            self._finish(record)

    def _start(self, start: m.StreamStart) -> None:
        config = self.shell.config
        self.shell.stream, self.shell.frames, self._successes, self._error = start.stream, 0, 0, None
        self._tally = StreamTally()
        self.shell.note(start.stream, 0)
        with self._output_may_fail():
            self._sink = self.kit.make_sink(Path(start.output), config.settings, start.info)

    def _add(self, record: m.AuReady) -> None:
        self._tally.result_came()
        ready, ring = record.frame, self.shell.ring
        slot = slot_of(ready)
        self.shell.note(ready.stream, ready.index)
        frame = Frame(ready.index, ready.timestamp_s, ring.array(slot, ready.height_px, ready.width_px))
        if self._error is None:
            with self._output_may_fail():
                self._sink.add(frame, record.fits, record.aus)
                self._tally.written(ready.taken_s, record.fits)
        ring.hand_over(slot, Owner.FREE)
        self._released.send(encode(m.Released(slot.number, slot.generation)))
        self._receiver.done()
        self._successes += any(fit.success for fit in record.fits)
        self.shell.frames += 1
        self.shell.progress += 1

    def _finish(self, end: m.StreamEnd) -> None:
        output: str | None = None
        if self._error is None and end.error is not None:
            self._error = InputError(end.error)
        if self._error is None and (end.frames > 0 or not end.interrupted):
            if end.table is None:
                raise TransportError(f"{self.shell.name}: expected the table of the offline pass, got none")
            with self._output_may_fail():
                output = str(self._sink.finish(end.table, interrupted=end.interrupted))
        self.abandon()
        self._receiver.acknowledge()  # first: the news of the last stream may end the run, and the AU worker with it
        self._tell_written(end, output)

    def _tell_written(self, end: m.StreamEnd, output: str | None) -> None:
        error = self._error
        self.shell.tell(
            m.StreamWritten(
                worker=self.shell.name,
                stream=end.stream,
                output=output,
                frames=end.frames,
                successes=self._successes,
                corrupt=end.corrupt,
                interrupted=end.interrupted,
                error=None if error is None else str(error),
                exit_code=0 if error is None else error.exit_code,
                statistics=self._tally.statistics(),
            )
        )

    @contextmanager
    def _output_may_fail(self) -> Iterator[None]:
        """A full disk ends this input and not the others; what is left of it goes by unseen."""
        try:
            yield
        except OutputError as error:
            self._error = error
            self.abandon()
            self.shell.tell(m.StreamFailed(self.shell.name, self.shell.stream))

    def abandon(self) -> None:
        """Leave no half file."""
        if self._sink is not None:
            self._sink.discard()
        self._sink = None

    def close(self) -> None:
        """Close both sockets."""
        self._in.close()
        self._released.close()
