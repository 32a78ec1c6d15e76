"""The workers of a run or a service: has them made, listens to them, carries out what was decided about them.

A thin shell around a state machine (`Brain`): it turns processes, messages and signals into events and carries the
actions out. Workers are forks of the nursery (`auflow.flow.nursery`), stay in this process's group, and leave by
themselves when it dies: they hold the reading end of a pipe whose writing end only this process has.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import zmq

from auflow.flow import events as e
from auflow.flow.nursery import Ended, Nursery
from auflow.flow.topology import (
    CONTROL,
    FIRST_SLOT_BYTES,
    RING_SLOTS,
    BusAddress,
    Role,
    Topology,
    WebAddress,
    Worker,
    WorkerConfig,
)
from auflow.report import Reporter
from auflow.stages.settings import StageSettings
from auflow.telemetry.probe import Telemetry
from auflow.transport import messages as m
from auflow.transport.codec import encode
from auflow.transport.edge import decode_or_drop
from auflow.transport.link import new_context, open_socket
from auflow.transport.ring import FrameRing, Mark, Owner, Tally, create_ring
from auflow.transport.rundir import RunDir, endpoint, sweep

__all__ = ["Brain", "Crew", "Plan"]

TICK_S = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Brain(Protocol):
    """What decides: pure, see `auflow.flow.supervision`."""

    @property
    def done(self) -> bool:
        """Whether every worker is gone after the end."""

    def begin(self, at_s: float) -> list[e.Action]:
        """What to start with."""

    def handle(self, event: e.Event, at_s: float) -> list[e.Action]:
        """Take in one event; what is to be done about it, in order."""

    def incarnation(self, worker: str) -> int:
        """Which start of a worker counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the workers are told at their birth."""

    topology: Topology
    models_root: Path
    settings: StageSettings  # of the first streams, as far as is known
    kit: str  # module that makes the stages
    bus: BusAddress | None = None
    web: WebAddress | None = None
    detectors_at: tuple[str, ...] = ()  # detection processes on other hosts
    detection_keys: str = ""
    telemetry: Telemetry = field(default_factory=Telemetry)
    first_slot_bytes: int = FIRST_SLOT_BYTES  # a ring grows when a larger picture comes


class Crew:
    """The processes and descriptors of one run; everything is given back when `stack` closes.

    Parameters
    ----------
    plan : who there is
    brain : decides
    reporter : told of progress from this thread
    nursery : one that has been started already, and is ended here
    """

    def __init__(self, plan: Plan, brain: Brain, reporter: Reporter, nursery: Nursery, stack: ExitStack) -> None:
        sweep()
        self._plan = plan
        self._brain = brain
        self._reporter = reporter
        self._nursery = nursery
        stack.callback(lambda: self._nursery.close())  # not the first one, should there be a second
        self._interrupts, self._wake = stack.enter_context(_signals())
        self._ring_fds: list[int] = []
        for _ in range(plan.topology.lanes):
            self._ring_fds.append(create_ring(RING_SLOTS, plan.first_slot_bytes))
            stack.callback(os.close, self._ring_fds[-1])
        self._rings = [FrameRing(fd, Owner.FREE) for fd in self._ring_fds]
        self._run_dir = RunDir()
        stack.callback(self._run_dir.remove)
        self.context = new_context()
        stack.callback(self.context.term)
        self._control = open_socket(self.context, zmq.ROUTER)
        stack.callback(self._control.close, 0)
        self._control.bind(endpoint(self._run_dir.path, CONTROL))
        stack.callback(lambda: self._nursery.close())
        self.refused = 0  # messages that were none
        self.pids: dict[str, int] = {}
        self.metrics_ports: dict[str, int] = {}  # of the workers that tell metrics

    def until_done(self, more: Sequence[Any] = (), each_turn: Callable[[], Sequence[e.Event]] = lambda: ()) -> None:
        """Have the workers made and see them through.

        Parameters
        ----------
        more : sockets or descriptors whose readability ends a wait
        each_turn : called after each wait; the events that it brings
        """
        self.carry_out(self._brain.begin(time.monotonic()))
        while not self._brain.done:
            watched: list[Any] = [self._control, self._wake, *more, *([self._nursery] if self._nursery.open else [])]
            zmq.zmq_poll([(source, zmq.POLLIN) for source in watched], int(TICK_S * 1000))
            self._take_messages()
            _empty(self._wake)
            while self._interrupts:
                self._interrupts.pop()
                self.handle(e.Interrupted())
            for event in each_turn():
                self.handle(event)
            self._take_exits()
            self.handle(e.Tick())

    def tally(self, lane: int, seat: int) -> Tally:
        """The counts of a live stream."""
        return self._rings[lane].tally(seat)

    def clear_tally(self, lane: int, seat: int) -> None:
        """A seat is to be another stream's."""
        self._rings[lane].clear_tally(seat)

    # Events

    def handle(self, event: e.Event) -> None:
        """Let the brain decide, and do it."""
        self.carry_out(self._brain.handle(event, time.monotonic()))

    def carry_out(self, actions: Sequence[e.Action]) -> None:
        """Do what was decided."""
        for action in actions:
            self._carry_out(action)

    def _take_messages(self) -> None:
        while True:
            try:
                identity, *parts = self._control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = decode_or_drop(parts[-1] if parts else b"", self._complain)
            if event is None:
                continue
            if not isinstance(event, e.WorkerMessage):
                self._complain(f"expected a worker's message, got {type(event).__name__}")
            elif identity == _identity(event.worker, self._brain.incarnation(event.worker)):
                if isinstance(event, m.Ready) and event.metrics_port:
                    self.metrics_ports[event.worker] = event.metrics_port
                self.handle(event)  # else it comes from one that is dead and has been replaced

    def _complain(self, text: str) -> None:
        self.refused += 1
        if self.refused in (1, 10, 100) or self.refused % 1000 == 0:
            self._reporter.warning(f"dropped a message ({self.refused} so far): {text}")

    def _take_exits(self) -> None:
        for answer in self._nursery.answers():
            if isinstance(answer, Ended):
                self.metrics_ports.clear()
                self.handle(e.NurseryEnded(answer.code))
                continue
            name, code = answer.worker, answer.code
            self.pids.pop(name, None)
            self.metrics_ports.pop(name, None)
            mark = self._mark_of(name)
            self.handle(e.Exited(name, code, mark.stream, mark.frame) if mark else e.Exited(name, code))
        self.pids |= self._nursery.born

    def _mark_of(self, name: str) -> Mark | None:
        """What a worker that is gone worked on; told once, for the next one of its name has not begun with it."""
        role, _, number = name.rpartition("-")
        if role in (Role.BUS, Role.WEB):
            return None
        rings = self._rings if role == Role.DETECT else [self._rings[int(number)]]
        owner = Owner[role.upper()]
        marks = [ring.read_mark(owner) for ring in rings]
        for ring in rings:
            ring.forget_mark(owner)
        return next((mark for mark in marks if mark is not None), None)

    # Actions

    def _carry_out(self, action: e.Action) -> None:
        match action:
            case e.Send():
                self._send(action)
            case e.Fork():
                self._fork(action.worker, action.incarnation)
            case e.Kill():
                self._nursery.kill(action.worker)
            case e.ResetRing():
                self._rings[action.lane].reclaim()
            case e.Started():
                self._reporter.stream_started(action.info)
            case e.Advanced():
                self._reporter.advanced(action.path, action.frames)
            case e.Finished():
                self._reporter.stream_finished(action.summary)
            case e.Tell():
                self._reporter.note(action.text)
            case e.Warn():
                self._reporter.warning(action.text)

    def _send(self, action: e.Send) -> None:
        identity = _identity(action.worker, self._brain.incarnation(action.worker))
        try:
            self._control.send_multipart((identity, encode(action.order)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:  # it has died: its exit is the next event
                raise

    def _fork(self, worker: Worker, incarnation: int) -> None:
        if not self._nursery.open:
            self._nursery = Nursery(stdin=self._nursery.stdin)
        config = WorkerConfig(
            role=str(worker.role),
            number=worker.number,
            lanes=self._plan.topology.lanes,
            detectors=self._plan.topology.detectors,
            run_dir=str(self._run_dir.path),
            life_fd=-1,
            ring_fds=(),
            models_root=str(self._plan.models_root),
            settings=self._plan.settings,
            kit=self._plan.kit,
            incarnation=incarnation,
            bus=self._plan.bus,
            web=self._plan.web,
            detectors_at=self._plan.detectors_at,
            detection_keys=self._plan.detection_keys,
            telemetry=self._plan.telemetry,
        )
        self._nursery.fork(worker.name, config.to_json(), self._rings_for(worker))

    def _rings_for(self, worker: Worker) -> list[int]:
        if worker.role in (Role.BUS, Role.WEB):
            return []
        return self._ring_fds if worker.role is Role.DETECT else [self._ring_fds[worker.number]]


def _identity(worker: str, incarnation: int) -> bytes:
    return f"{worker}/{incarnation}".encode()


@contextmanager
def _signals() -> Iterator[tuple[list[int], int]]:
    """The interrupts that have come, and a descriptor that is readable after one."""
    came: list[int] = []
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    try:
        if threading.current_thread() is not threading.main_thread():
            yield came, wake  # signals are the main thread's
            return

        def note(number: int, _frame: FrameType | None) -> None:
            came.append(number)

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        waker_before = signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        try:
            yield came, wake
        finally:
            signal.set_wakeup_fd(waker_before)
            for number, handler in before.items():
                signal.signal(number, handler)
    finally:
        os.close(wake)
        os.close(waker)


def _empty(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        return
