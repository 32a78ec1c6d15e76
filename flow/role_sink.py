"""The work loop at the end of a lane: the sink, which empties the ring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from auflow.flow.file_output import FileOutput
from auflow.flow.job import StreamJob
from auflow.flow.process import Shell, WorkerRole, slot_of
from auflow.flow.topology import WINDOW, Role, edge_name, released_name
from auflow.stages.records import Frame
from auflow.transport import messages as m
from auflow.transport.codec import encode
from auflow.transport.edge import EdgeReceiver
from auflow.transport.link import DealerLink
from auflow.transport.ring import Owner

if TYPE_CHECKING:
    from auflow.flow.live_output import LiveOutput

__all__ = ["SinkRole"]


class SinkRole(WorkerRole):
    """Writes the results, and gives the slots back: it is the last to see a frame."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        lane = shell.config.number
        self._in = DealerLink(shell.context, shell.endpoint(edge_name(Role.AU, lane)), shell.name)
        self._receiver: EdgeReceiver[m.AuReady] = EdgeReceiver(
            self._in, f"to {shell.name}", WINDOW[Role.SINK], m.AuReady, shell.complain
        )
        self._released = DealerLink(shell.context, shell.endpoint(released_name(lane)), shell.name)
        self._outputs: dict[int, FileOutput | LiveOutput] = {}
        self._closing: list[LiveOutput] = []  # segments whose CSV is being written
        self._publisher: Any = None  # made when the first live stream comes
        self._page: Any = None

    def connect(self) -> None:
        """Greet the AU worker and the decoder."""
        self.shell.connect((self._in.socket, self._released.socket))
        self._receiver.open()
        self._released.send(encode(m.Credit(1)))

    def setup(self) -> None:
        """A sink is opened per stream."""
        self.shell.probe.expect(Role.SINK)
        self.shell.watch_queue(Role.SINK)

    def step(self) -> None:
        """Take one message."""
        self.shell.wait((self._in.socket,))
        for output in self._outputs.values():
            output.tell_progress()
        self._tell_closed()
        record = self._receiver.receive()
        if isinstance(record, m.StreamStart):
            self._start(record)
        elif isinstance(record, m.AuReady):
            self._add(record)
        elif isinstance(record, m.Snapshot):
            # While a segment is being written its own checkpoint is the one to go on from.
            if all(output.stream != record.stream for output in self._closing):
                with self.shell.probe.noting("checkpoint", record.stream):
                    self._outputs[record.stream].snapshot(record)
        elif isinstance(record, m.StreamEnd):
            self._finish(record)

    def _start(self, start: m.StreamStart) -> None:
        self.shell.stream, self.shell.frames = start.stream, start.resume.frames if start.resume else 0
        self.shell.note(start.stream, 0)
        job = StreamJob.from_json(start.job)
        if job.live is None:
            self._outputs[start.stream] = FileOutput(self.shell, self.kit, start, job)
            return
        from auflow.flow.live_output import LiveOutput, make_page, make_publisher

        self._publisher = self._publisher or make_publisher(self.shell)
        self._page = self._page or make_page(self.shell)
        self._outputs[start.stream] = LiveOutput(self.shell, self.kit, start, job, self._publisher, self._page)

    def _add(self, record: m.AuReady) -> None:
        ready, ring = record.frame, self.shell.ring
        slot = slot_of(ready)
        self.shell.stream = ready.stream
        self.shell.note(ready.stream, ready.index)
        frame = Frame(ready.index, ready.timestamp_s, ring.array(slot, ready.height_px, ready.width_px))
        output = self._outputs[ready.stream]
        began_s = time.monotonic()
        output.add(record, frame)
        self._measure(output.label, record, began_s)
        ring.hand_over(slot, Owner.FREE)
        self._released.send(encode(m.Released(slot.number, slot.generation)))
        self._receiver.done()
        self.shell.frames = self.shell.frames + 1 if isinstance(output, FileOutput) else 0
        self.shell.progress += 1

    def _measure(self, label: str, record: m.AuReady, began_s: float) -> None:
        ready, probe, ended_s = record.frame, self.shell.probe, time.monotonic()
        probe.worked(
            Role.SINK, began_s, ended_s, since_s=record.sent_s, trace=ready.trace, stream=ready.stream,
            frame=ready.index,
        )  # fmt: skip
        probe.result(label, ready.taken_s, ended_s, record.fits, record.aus, record.detections)
        probe.traced(label, ready.index, ready.trace, ready.taken_s, ended_s)

    def _finish(self, end: m.StreamEnd) -> None:
        self.shell.stream = end.stream
        self.shell.note(end.stream, 0)  # what follows is about no frame
        if end.last:
            self._tell_closed(end.stream)
        output = self._outputs.pop(end.stream)
        if end.last:
            self.shell.probe.ended(output.label)
        with self.shell.probe.noting("end", end.stream):
            written = output.finish(end)
        self._receiver.acknowledge()  # first: the news of the last stream may end the run, and the AU worker with it
        if written is not None:
            self.shell.tell(written)
        elif not isinstance(output, FileOutput):
            self._closing.append(output)

    def _tell_closed(self, wait_for: int = -1) -> None:
        """Tell of segments whose CSV is there, after waiting for those of the stream `wait_for`."""
        for output in list(self._closing):
            written = output.written(wait=output.stream == wait_for)
            if written is None:
                continue
            self._closing.remove(output)
            self.shell.tell(written)

    def abandon(self) -> None:
        """What is unfinished can be gone on with from its checkpoint."""
        for output in self._outputs.values():
            output.suspend()
        self._outputs.clear()

    def close(self) -> None:
        """Close the sockets."""
        self._in.close()
        self._released.close()
        for end in (self._publisher, self._page):
            if end is not None:
                end.close()
