"""What every worker process shares: the line to the orchestrator, polling, heartbeats, marks, the order of its life.

A role's loop runs until `Leave` comes out of `Shell.wait`.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeAlias

import zmq

from auflow import metrics
from auflow.errors import AuflowError
from auflow.flow.topology import CONTROL, Role, WorkerConfig
from auflow.telemetry.probe import make_probe
from auflow.transport import messages as m
from auflow.transport.codec import encode
from auflow.transport.edge import decode_or_drop
from auflow.transport.faults import PeerGoneError, TransportError
from auflow.transport.link import DealerLink, new_context
from auflow.transport.ring import FrameRing, Owner, Slot
from auflow.transport.rundir import endpoint

__all__ = ["BEAT_S", "Leave", "Order", "Shell", "WorkerRole", "slot_of"]

Order: TypeAlias = m.Assign | m.Drain | m.Pause | m.ServiceStatus | m.Skip

BEAT_S = 0.25
CONNECT_S = 60.0
GOODBYE_S = 2.0
COMPLAIN_EVERY_S = 10.0


class Leave(Exception):
    """The orchestrator said Exit, or is gone: no error, the order to go from wherever the work loop is."""


class Shell:
    """What every role shares: the line to the orchestrator, polling, heartbeats, marks.

    Parameters
    ----------
    config : of this worker
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.name = config.worker.name
        self.context = new_context()
        self.orders: deque[Order] = deque()
        self.progress = 0  # what this process has done since it began
        self.stream = -1
        self.frames = 0  # of this stream
        role = config.worker.role
        lanes = range(config.lanes) if role is Role.DETECT else (config.number,)
        rings = zip(lanes, config.ring_fds, strict=role not in (Role.BUS, Role.WEB))  # who have none
        self._rings = {lane: FrameRing(fd, Owner[role.name]) for lane, fd in rings}
        self._noted = (-1, -1)
        self._control = DealerLink(self.context, self.endpoint(CONTROL), f"{self.name}/{config.incarnation}")
        self._next_beat_s = 0.0
        self._complain_from_s = 0.0
        self.refused = 0  # messages that were none
        self.probe = make_probe(config.telemetry, self.name, self._warn, life=config.incarnation)
        self.probe.counter(metrics.MESSAGES_REFUSED, lambda: self.refused)

    @property
    def ring(self) -> FrameRing:
        """The ring of this worker's lane."""
        return self._rings[self.config.number]

    def ring_of(self, lane: int) -> FrameRing:
        """The ring of a lane; detection has all of them."""
        return self._rings[lane]

    def endpoint(self, name: str) -> str:
        """The address of the socket `name` of this run."""
        return endpoint(Path(self.config.run_dir), name)

    def tell(self, record: object) -> None:
        """Send a message to the orchestrator."""
        self._control.send(encode(record))

    def _warn(self, text: str) -> None:
        self.tell(m.Note(self.name, -1, f"{self.name}: {text}"))

    def watch_queue(self, stage: str) -> None:
        """Have the metrics tell how many frames this role owns: those that wait for it, and the one at hand."""
        owner = Owner[self.config.worker.role.name]
        self.probe.gauge(metrics.QUEUE_DEPTH, lambda: self.ring.owned_by(owner), stage=stage)

    def note(self, stream: int, frame: int, ring: FrameRing | None = None) -> None:
        """Write into the ring what is worked on now, readable even when this process has died of it."""
        self._noted = (stream, frame)
        (ring or self.ring).mark(stream, frame)

    def complain(self, text: str) -> None:
        """Count a message that is none, and tell of the first in a while."""
        self.refused += 1
        now = time.monotonic()
        if now >= self._complain_from_s:
            self._complain_from_s = now + COMPLAIN_EVERY_S
            self.tell(m.Note(self.name, self.stream, f"{self.name} dropped a message ({self.refused} so far): {text}"))

    def wait(self, sockets: Sequence[zmq.Socket[bytes] | int], timeout_s: float = BEAT_S) -> None:
        """Wait until one of `sockets` has a message, an order came or the time is over; then beat when it is due.

        A descriptor that is readable counts like a socket.

        Raises
        ------
        Leave
            The orchestrator said Exit or is gone.
        """
        life = self.config.life_fd
        watched: list[tuple[Any, int]] = [(socket, zmq.POLLIN) for socket in (*sockets, self._control.socket, life)]
        for socket, _ in zmq.zmq_poll(watched, int(timeout_s * 1000)):
            if socket == life:
                raise Leave
        self._take_orders()
        now = time.monotonic()
        if now >= self._next_beat_s:
            self.beat(now)

    def _take_orders(self) -> None:
        while (payload := self._control.receive()) is not None:
            order = decode_or_drop(payload, self.complain)
            if isinstance(order, m.Exit):
                raise Leave
            if isinstance(order, Order):
                self.orders.append(order)
            elif order is not None:
                self.complain(f"expected an order, got {type(order).__name__}")

    def beat(self, now_s: float) -> None:
        """Tell the orchestrator that the work loop is alive and how far it is."""
        self._next_beat_s = now_s + BEAT_S
        self.tell(m.Beat(self.name, self.progress, self.stream, self.frames, self.refused))

    def connect(self, sockets: Sequence[zmq.Socket[bytes]]) -> None:
        """Wait until every one of `sockets`, and the line to the orchestrator, has its peer."""
        deadline_s = time.monotonic() + CONNECT_S
        for socket in (self._control.socket, *sockets):
            while not socket.poll(50, zmq.POLLOUT):
                if zmq.zmq_poll([(self.config.life_fd, zmq.POLLIN)], 0):
                    raise Leave
                if time.monotonic() > deadline_s:
                    raise TransportError(f"{self.name}: expected every peer within {CONNECT_S:.0f} s, got not all")

    def report_fault(self, error: BaseException) -> None:
        """Tell the orchestrator what broke, and wait until it knows: a process that is gone is only an exit code."""
        is_ours = isinstance(error, AuflowError)
        text = str(error) if is_ours else f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        deadline_s = time.monotonic() + GOODBYE_S
        try:
            self.tell(m.Fault(self.name, type(error).__name__, text, trace, *self._noted))
            while time.monotonic() < deadline_s:
                self.wait(())
        except Leave:
            return  # it knows
        except PeerGoneError:
            pass
        sys.stderr.write(f"{self.name}: {trace}")  # nobody is there to be told, or nobody listens

    def close(self) -> None:
        """Close the line to the orchestrator and the context."""
        self.probe.close()
        self._control.close()
        self.context.term()


class WorkerRole(ABC):
    """One role's sockets, stage and loop."""

    has_kernels: ClassVar[bool] = False

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.kit: ModuleType | Any = None

    def serve(self) -> None:
        """Make the stage, meet the peers, work until told to leave."""
        config = self.shell.config
        self.shell.connect(())  # so that a fault can be told
        with self.shell.probe.noting("load"):
            self.kit = importlib.import_module(config.kit)
            self.kit.prepare(config.role)
            if self.has_kernels:
                self.kit.ensure_kernels(config.models, config.settings)
            self.setup()
        self.shell.tell(m.Ready(self.shell.name, self.shell.probe.listen()))
        self.connect()
        self.shell.tell(m.Connected(self.shell.name))
        while True:
            self.step()

    @abstractmethod
    def connect(self) -> None:
        """Return when all peers are there."""

    @abstractmethod
    def setup(self) -> None:
        """Make the stage."""

    @abstractmethod
    def step(self) -> None:
        """Wait once, then do at most one piece of work."""

    def abandon(self) -> None:  # noqa: B027 - most roles hold nothing
        """Throw away what is unfinished; may be called again."""

    @abstractmethod
    def close(self) -> None:
        """Close the sockets."""


def slot_of(frame: m.FrameReady) -> Slot:
    """The use of a ring slot that a message names."""
    return Slot(frame.slot, frame.generation)
