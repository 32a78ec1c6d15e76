"""The work loops between the ends of a lane, CLNF and AU, and that of the detection service beside them."""

from __future__ import annotations

import dataclasses
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from auflow.flow.process import BEAT_S, Shell, WorkerRole, slot_of
from auflow.flow.topology import WINDOW, Role, edge_name
from auflow.stages.records import Frame, SourceInfo
from auflow.transport import messages as m
from auflow.transport.edge import EdgeReceiver, EdgeSender, FrameT
from auflow.transport.faults import TransportError
from auflow.transport.link import DealerLink, RouterLink
from auflow.transport.ring import Owner
from auflow.transport.service import DetectClient, DetectServer

__all__ = ["AuRole", "ClnfRole", "DetectRole", "PassingRole"]

ANSWER_S = 60.0  # of the detection service, which may be starting still

OutT = TypeVar("OutT", bound=m.FitReady | m.AuReady)


class PassingRole(WorkerRole, Generic[FrameT, OutT]):
    """Takes frames from one edge, works on each, and passes it on over the next."""

    has_kernels = True
    upstream: ClassVar[Role]
    kind: ClassVar[type]

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        lane, role = shell.config.number, Role(shell.config.role)
        self._out = RouterLink(shell.context, shell.endpoint(edge_name(role, lane)))
        self._sender: EdgeSender[OutT] = EdgeSender(self._out, f"from {shell.name}")
        self._in = DealerLink(shell.context, shell.endpoint(edge_name(self.upstream, lane)), shell.name)
        self._receiver: EdgeReceiver[FrameT] = EdgeReceiver(self._in, f"to {shell.name}", WINDOW[role], self.kind)
        self._streaming = False

    def connect(self) -> None:
        """Greet upstream, await the greeting of downstream."""
        self.shell.connect((self._in.socket,))
        self._receiver.open()
        while not self._sender.connected:
            self.shell.wait((self._out.socket,))
            self._sender.pump()

    def step(self) -> None:
        """Take one message from upstream if its result can go downstream."""
        can_take = self._sender.credit > 0 and (self._streaming or self._sender.can_start)
        self.shell.wait((self._in.socket, self._out.socket) if can_take else (self._out.socket,))
        self._sender.pump()
        record = self._receiver.receive() if can_take else None
        if record is None:
            return
        if isinstance(record, m.StreamStart):
            self.shell.stream, self.shell.frames, self._streaming = record.stream, 0, True
            self.shell.note(record.stream, 0)
            self.reset(record.info)
            self._sender.start(record)
        elif isinstance(record, m.StreamEnd):
            self._streaming = False
            self._sender.end(self.finish(record))
            self._receiver.acknowledge()
        else:
            self._pass_on(record)

    def _pass_on(self, record: FrameT) -> None:
        ready: m.FrameReady = record if isinstance(record, m.FrameReady) else record.frame
        slot, ring = slot_of(ready), self.shell.ring
        self.shell.note(ready.stream, ready.index)
        pixels = ring.array(slot, ready.height_px, ready.width_px)
        out = self.work(Frame(ready.index, ready.timestamp_s, pixels), record)
        ring.hand_over(slot, Owner.AU if self.shell.config.role == Role.CLNF else Owner.SINK)
        self._sender.send(out)
        self._receiver.done()
        self.shell.frames += 1
        self.shell.progress += 1

    @abstractmethod
    def reset(self, info: SourceInfo) -> None:
        """Forget the stream before; `info` is of the next."""

    @abstractmethod
    def work(self, frame: Frame, record: FrameT) -> OutT:
        """The stage's work on one frame."""

    def finish(self, end: m.StreamEnd) -> m.StreamEnd:
        """The end to pass on."""
        return end

    def close(self) -> None:
        """Close both sockets."""
        self._in.close()
        self._out.close()


class ClnfRole(PassingRole[m.FrameReady, m.FitReady]):
    """Fits faces; asks the detection service when its state machine says so."""

    upstream = Role.DECODE
    kind = m.FrameReady

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        detectors = [shell.endpoint(edge_name(Role.DETECT, number)) for number in range(shell.config.detectors)]
        self._detection = DetectClient(shell.context, detectors, shell.name)
        self._stage: Any = None

    def connect(self) -> None:
        """Greet the detection workers too."""
        self.shell.connect(self._detection.sockets)
        self._detection.open()
        super().connect()

    def setup(self) -> None:
        """Load the models."""
        self._stage = self.kit.make_clnf(self.shell.config.models, self.shell.config.settings)

    def reset(self, info: SourceInfo) -> None:
        """Forget the faces."""
        self._stage.reset(info)

    def work(self, frame: Frame, record: m.FrameReady) -> m.FitReady:
        """Fit the frame's faces."""
        return m.FitReady(record, self._stage.process(frame, self._detector(record)))

    def _detector(self, frame: m.FrameReady) -> Callable[[], NDArray[np.float32]]:
        request = m.DetectRequest(self.shell.config.number, frame)

        def detect() -> NDArray[np.float32]:
            self._detection.ask(request)
            deadline_s = time.monotonic() + ANSWER_S
            while (answer := self._detection.receive(request)) is None:
                if time.monotonic() > deadline_s:
                    raise TransportError(f"detection: expected an answer within {ANSWER_S:.0f} s, got none")
                self.shell.wait(self._detection.sockets)
            return answer.boxes

        return detect

    def close(self) -> None:
        """Close all sockets."""
        self._detection.close()
        super().close()


class AuRole(PassingRole[m.FitReady, m.AuReady]):
    """Predicts AUs, and at the end of a stream runs the offline pass."""

    upstream = Role.CLNF
    kind = m.FitReady

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._stage: Any = None

    def setup(self) -> None:
        """Load the models."""
        self._stage = self.kit.make_au(self.shell.config.models, self.shell.config.settings)

    def reset(self, info: SourceInfo) -> None:
        """Forget the running medians."""
        self._stage.reset()

    def work(self, frame: Frame, record: m.FitReady) -> m.AuReady:
        """The online values of the frame."""
        return m.AuReady(record.frame, record.fits, tuple(self._stage.process(frame, fit) for fit in record.fits))

    def finish(self, end: m.StreamEnd) -> m.StreamEnd:
        """Add the table of the offline pass."""
        if end.error is not None or (end.interrupted and end.frames == 0):
            return end
        return dataclasses.replace(end, table=self._stage.finish())


class DetectRole(WorkerRole):
    """Answers the CLNF workers of all lanes; keeps nothing between two requests."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._server = DetectServer(shell.context, shell.endpoint(edge_name(Role.DETECT, shell.config.number)))
        self._early: deque[tuple[bytes, m.DetectRequest]] = deque()  # of a lane that is faster than another's start
        self._detector: Any = None

    def connect(self) -> None:
        """Wait for the greeting of every lane."""
        while len(self._server.clients) < self.shell.config.lanes:
            self.shell.wait((self._server.socket,))
            if (request := self._server.receive()) is not None:
                self._early.append(request)

    def setup(self) -> None:
        """Load the networks."""
        self._detector = self.kit.make_detector(self.shell.config.models)

    def step(self) -> None:
        """Answer one request."""
        self.shell.wait((self._server.socket,), 0.0 if self._early else BEAT_S)
        request = self._early.popleft() if self._early else self._server.receive()
        if request is not None:
            self._answer(*request)

    def _answer(self, client: bytes, request: m.DetectRequest) -> None:
        frame, ring = request.frame, self.shell.ring_of(request.lane)
        slot = slot_of(frame)
        self.shell.note(frame.stream, frame.index, ring)
        boxes = self._detector.detect(ring.array(slot, frame.height_px, frame.width_px, owner=Owner.CLNF))
        ring.check(slot, Owner.CLNF)  # nobody may have taken the pixels away meanwhile
        self._server.answer(client, m.Boxes(frame.stream, frame.index, boxes))
        self.shell.note(-1, -1, ring)
        self.shell.progress += 1

    def close(self) -> None:
        """Close the socket."""
        self._server.close()
