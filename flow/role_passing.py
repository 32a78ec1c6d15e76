"""What the work loops of CLNF and AU have in common: frames from one edge, worked on, and passed on over the next."""

from __future__ import annotations

import dataclasses
import time
from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar, cast

from auflow import metrics
from auflow.flow.job import StreamJob
from auflow.flow.process import Shell, WorkerRole, slot_of
from auflow.flow.topology import WINDOW, Role, edge_name
from auflow.stages.records import Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.transport import messages as m
from auflow.transport.edge import EdgeReceiver, EdgeSender, FrameT
from auflow.transport.link import DealerLink, RouterLink
from auflow.transport.ring import Owner

__all__ = ["PassingRole"]

OutT = TypeVar("OutT", bound=m.FitReady | m.AuReady)


class PassingRole(WorkerRole, Generic[FrameT, OutT]):
    """Takes frames from one edge, works on each, and passes it on over the next. Each stream has a stage of its own."""

    has_kernels = True
    upstream: ClassVar[Role]
    kind: ClassVar[type]
    next_owner: ClassVar[Owner]

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        lane, role = shell.config.number, Role(shell.config.role)
        self._out = RouterLink(shell.context, shell.endpoint(edge_name(role, lane)))
        self._sender: EdgeSender[OutT] = EdgeSender(self._out, f"from {shell.name}", shell.complain)
        self._in = DealerLink(shell.context, shell.endpoint(edge_name(self.upstream, lane)), shell.name)
        self._receiver: EdgeReceiver[FrameT] = EdgeReceiver(
            self._in, f"to {shell.name}", WINDOW[role], self.kind, shell.complain
        )
        self._stages: dict[int, Any] = {}  # of the streams that are open
        self._jobs: dict[int, StreamJob] = {}
        self._idle: dict[StageSettings, Any] = {}  # stages of streams that have ended

    def connect(self) -> None:
        """Greet upstream, await the greeting of downstream."""
        self.shell.connect((self._in.socket,))
        self._receiver.open()
        while not self._sender.connected:
            self.shell.wait((self._out.socket,))
            self._sender.pump()

    def setup(self) -> None:
        """Load the models, by making the first stage."""
        settings = self.shell.config.settings
        self._idle[settings] = self.make_stage(settings)
        self.shell.probe.expect(self.shell.config.role)
        self.shell.watch_queue(self.shell.config.role)
        self.shell.probe.gauge(metrics.CREDITS, lambda: self._sender.credit, stage=self.shell.config.role)

    def step(self) -> None:
        """Take one message from upstream if its result can go downstream."""
        can_take = self._sender.credit > 0 and (bool(self._stages) or self._sender.can_start)
        self.shell.wait((self._in.socket, self._out.socket) if can_take else (self._out.socket,))
        self._sender.pump()
        record = self.receive() if can_take else None
        if record is not None:
            self.handle(record)

    @property
    def credit(self) -> int:
        """Frames that may go downstream."""
        return self._sender.credit

    def receive(self) -> m.StreamStart | FrameT | m.Snapshot | m.StreamEnd | None:
        """The next message from upstream, if it has come."""
        return self._receiver.receive()

    def job_of(self, stream: int) -> StreamJob:
        """Of a stream that is open."""
        return self._jobs[stream]

    def stage_of(self, stream: int) -> Any:
        """Of a stream that is open."""
        return self._stages[stream]

    def handle(self, record: m.StreamStart | FrameT | m.Snapshot | m.StreamEnd) -> None:
        """Do what a message asks for."""
        if isinstance(record, m.StreamStart):
            self._start(record)
        elif isinstance(record, m.Snapshot):
            with self.shell.probe.noting("checkpoint", record.stream):
                marked = self.add_to(record, self._stages[record.stream].snapshot())
            self._sender.snapshot(marked)
        elif isinstance(record, m.StreamEnd):
            self._end(record)
        else:
            self.pass_on(record)

    def _start(self, start: m.StreamStart) -> None:
        stream, job = start.stream, StreamJob.from_json(start.job)
        self.shell.stream, self.shell.frames = stream, start.resume.frames if start.resume else 0
        self.shell.note(stream, 0)
        if stream not in self._stages:
            self._jobs[stream] = job
            self._stages[stream] = self._idle.pop(job.settings, None) or self.make_stage(job.settings)
            self.reset(self._stages[stream], start.info)
            if start.resume is not None:
                self._stages[stream].restore(self.state_of(start.resume))
        while not self._sender.can_start:  # a live stream may come while two others end
            self.shell.wait((self._out.socket,))
            self._sender.pump()
        self._sender.start(start)

    def _end(self, end: m.StreamEnd) -> None:
        self.shell.stream = end.stream
        self.shell.note(end.stream, 0)  # what follows is about no frame
        stage = self._stages[end.stream]
        with self.shell.probe.noting("end", end.stream):
            ended = self.finish(stage, self._jobs[end.stream], end)
        self._sender.end(ended)
        self._receiver.acknowledge()
        if end.last:
            job = self._jobs.pop(end.stream)
            self._idle = {job.settings: self._stages.pop(end.stream)}  # one is enough: memory

    def pass_on(self, record: FrameT, *, before_s: float = 0.0, batch: int = 1) -> None:
        """Work on a frame, on which `before_s` have been spent already, as a share of a batch's, and hand it over."""
        ready = _frame_of(record)
        self.shell.stream = ready.stream
        self.shell.note(ready.stream, ready.index)
        frame = self.frame(ready)
        began_s = time.monotonic()
        out = self.work(self._stages[ready.stream], frame, record)
        self.sent(record, out, began_s - before_s, time.monotonic(), batch)

    def frame(self, ready: m.FrameReady) -> Frame:
        """The frame with its pixels, where they lie."""
        pixels = self.shell.ring.array(slot_of(ready), ready.height_px, ready.width_px)
        return Frame(ready.index, ready.timestamp_s, pixels)

    def waiting_with(self, record: FrameT, most: int) -> tuple[list[FrameT], Any]:
        """Frames to be worked on together, up to `most`, and the message behind them, if it is none of these.

        Of live streams, each of another one, that have come already. A file's frames go alone: their bits must not
        depend on what else waits.
        """
        records = [record]
        while len(records) < min(most, self.credit) and self._is_live(records[-1]):
            message = self.receive()
            if not isinstance(message, self.kind):
                return records, message
            other, streams = cast(FrameT, message), {_frame_of(known).stream for known in records}
            if not self._is_live(other) or _frame_of(other).stream in streams:
                return records, other
            records.append(other)
        return records, None

    def _is_live(self, record: FrameT) -> bool:
        return self._jobs[_frame_of(record).stream].live is not None

    def sent(self, record: FrameT, out: OutT, began_s: float, ended_s: float, batch: int = 1) -> None:
        """Hand a frame over that was worked on between two monotonic times, which are a share of a batch's."""
        ready = _frame_of(record)
        self.shell.ring.hand_over(slot_of(ready), self.next_owner)
        self._sender.send(dataclasses.replace(out, sent_s=ended_s))
        since_s = record.taken_s if isinstance(record, m.FrameReady) else record.sent_s
        self.shell.probe.worked(
            self.shell.config.role, began_s, ended_s, since_s=since_s, trace=ready.trace, stream=ready.stream,
            frame=ready.index, batch=batch,
        )  # fmt: skip
        self.told(out, ended_s - began_s)
        self._receiver.done()
        # A file's end takes longer the longer it is; a live stream has none that does.
        self.shell.frames = ready.index if self._jobs[ready.stream].live is None else 0
        self.shell.progress += 1

    @abstractmethod
    def make_stage(self, settings: StageSettings) -> Any:
        """A stage for one stream."""

    @abstractmethod
    def reset(self, stage: Any, info: SourceInfo) -> None:
        """Forget the stream before; `info` is of the next."""

    @abstractmethod
    def work(self, stage: Any, frame: Frame, record: FrameT) -> OutT:
        """The stage's work on one frame."""

    @abstractmethod
    def add_to(self, snapshot: m.Snapshot, state: bytes) -> m.Snapshot:
        """The marker to pass on, with the state of this stage."""

    @abstractmethod
    def state_of(self, state: m.StreamState) -> bytes:
        """This stage's part of a checkpoint."""

    def told(self, out: OutT, took_s: float) -> None:
        """Tell the metrics what came of a frame, besides how long it took."""

    def finish(self, _stage: Any, _job: StreamJob, end: m.StreamEnd) -> m.StreamEnd:
        """The end to pass on."""
        return end

    def close(self) -> None:
        """Close both sockets."""
        self._in.close()
        self._out.close()


def _frame_of(record: Any) -> m.FrameReady:
    """Of a frame on any edge."""
    frame: m.FrameReady = record if isinstance(record, m.FrameReady) else record.frame
    return frame
