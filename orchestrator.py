"""Runs the stages as separate processes: has them made, watches, drains and stops them.

A thin shell around `auflow.flow.supervision`: it turns processes, messages and signals into events and carries out the
actions. Workers are forks of the nursery (`auflow.flow.nursery`), stay in this process's group, and leave by
themselves when it dies: they hold the reading end of a pipe whose writing end only this process has.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import zmq

from auflow.flow import events as e
from auflow.flow.nursery import Ended, Nursery
from auflow.flow.supervision import Supervisor
from auflow.flow.topology import CONTROL, FIRST_SLOT_BYTES, RING_SLOTS, Role, Worker, WorkerConfig, plan
from auflow.options import RunOptions, output_path
from auflow.report import Reporter, StreamSummary
from auflow.transport.codec import decode, encode
from auflow.transport.faults import TransportError
from auflow.transport.link import new_context, open_socket
from auflow.transport.ring import FrameRing, Mark, Owner, create_ring
from auflow.transport.rundir import RunDir, endpoint, sweep

__all__ = ["run"]

TICK_S = 0.25
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    options: RunOptions,
    reporter: Reporter,
    *,
    kit: str = "auflow.flow.stagekit",
    nursery: Nursery | None = None,
) -> list[StreamSummary]:
    """Work through the inputs of `options` in separate processes.

    An input that fails ends with its error in its summary and the others go on. The first Ctrl-C (or SIGTERM) ends
    decoding; what is under way is finished and written as NAME.partial.csv, within 5 s. A second one ends all at once.

    Parameters
    ----------
    options : checked
    reporter : told of progress from this thread
    kit : name of the module that makes the stages in the workers (see `auflow.flow.stagekit`)
    nursery : one that has been started already, and is ended here

    Returns
    -------
    one summary per input that was begun, in order

    Raises
    ------
    StageError
        A worker failed or died; the inputs that were finished before are kept.
    AuflowError
        What a worker could not do without: models (`ModelError`), for instance.
    KeyboardInterrupt
        Ctrl-C came when no input was under way.
    """
    with ExitStack() as stack:
        nursery = stack.enter_context(nursery or Nursery())
        if not options.inputs:
            return []
        sweep()
        return _Run(options, reporter, kit, nursery, stack).until_done()


class _Run:
    """The processes and descriptors of one run; everything is given back when `stack` closes."""

    def __init__(self, options: RunOptions, reporter: Reporter, kit: str, nursery: Nursery, stack: ExitStack) -> None:
        self._options = options
        self._reporter = reporter
        self._kit = kit
        self._topology = plan(options)
        self._nursery = nursery
        self._workers = {worker.name: worker for worker in self._topology.workers()}
        self._interrupts, self._wake = stack.enter_context(_signals())
        self._ring_fds: list[int] = []
        for _ in range(self._topology.lanes):
            self._ring_fds.append(create_ring(RING_SLOTS, FIRST_SLOT_BYTES))
            stack.callback(os.close, self._ring_fds[-1])
        self._rings = [FrameRing(fd, Owner.FREE) for fd in self._ring_fds]
        self._run_dir = RunDir()
        stack.callback(self._run_dir.remove)
        context = new_context()
        stack.callback(context.term)
        self._control = open_socket(context, zmq.ROUTER)
        stack.callback(self._control.close, 0)
        self._control.bind(endpoint(self._run_dir.path, CONTROL))
        stack.callback(nursery.close)
        inputs = [(str(path), str(output_path(options, path))) for path in options.inputs]
        self._supervisor = Supervisor(self._topology, inputs, options.began_s)

    def until_done(self) -> list[StreamSummary]:
        """Have the workers made and see them through."""
        for worker in self._topology.workers():
            self._order(worker)
        while not self._supervisor.done:
            watched: list[Any] = [self._control, self._wake, *([self._nursery] if self._nursery.open else [])]
            zmq.zmq_poll([(source, zmq.POLLIN) for source in watched], int(TICK_S * 1000))
            self._take_messages()
            _empty(self._wake)
            while self._interrupts:
                self._interrupts.pop()
                self._handle(e.Interrupted())
            self._take_exits()
            self._handle(e.Tick())
        if self._supervisor.error is not None:
            raise self._supervisor.error
        summaries = self._supervisor.summaries
        if self._supervisor.interrupted and not any(summary.interrupted for summary in summaries):
            raise KeyboardInterrupt
        return summaries

    # Events

    def _handle(self, event: e.Event) -> None:
        for action in self._supervisor.handle(event, time.monotonic()):
            self._carry_out(action)

    def _take_messages(self) -> None:
        while True:
            try:
                _, payload = self._control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            event = decode(payload)
            if not isinstance(event, e.WorkerMessage):
                raise TransportError(f"orchestrator: expected a worker's message, got {type(event).__name__}")
            self._handle(event)

    def _take_exits(self) -> None:
        for answer in self._nursery.answers():
            if isinstance(answer, Ended):
                self._handle(e.NurseryEnded(answer.code))
                continue
            name, code = answer.worker, answer.code
            mark = self._mark_of(self._workers[name])
            self._handle(e.Exited(name, code, mark.stream, mark.frame) if mark else e.Exited(name, code))

    def _mark_of(self, worker: Worker) -> Mark | None:
        """What a worker that is gone worked on."""
        rings = self._rings if worker.role is Role.DETECT else self._rings[worker.number : worker.number + 1]
        marks = (ring.read_mark(Owner[worker.role.name]) for ring in rings)
        return next((mark for mark in marks if mark is not None), None)

    # Actions

    def _carry_out(self, action: e.Action) -> None:
        match action:
            case e.Send():
                self._send(action)
            case e.Kill():
                self._nursery.kill(action.worker)
            case e.RemoveRunDir():
                self._run_dir.remove()
            case e.Started():
                self._reporter.stream_started(action.info)
            case e.Advanced():
                self._reporter.advanced(action.path, action.frames)
            case e.Finished():
                self._reporter.stream_finished(action.summary)
            case e.Warn():
                self._reporter.warning(action.text)

    def _send(self, action: e.Send) -> None:
        try:
            self._control.send_multipart((action.worker.encode(), encode(action.order)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:  # it has died: its exit is the next event
                raise

    # Processes

    def _order(self, worker: Worker) -> None:
        config = WorkerConfig(
            role=str(worker.role),
            number=worker.number,
            lanes=self._topology.lanes,
            detectors=self._topology.detectors,
            run_dir=str(self._run_dir.path),
            life_fd=-1,
            ring_fds=(),
            models_root=str(self._options.models_root),
            settings=self._options.settings,
            kit=self._kit,
        )
        rings = self._ring_fds if worker.role is Role.DETECT else [self._ring_fds[worker.number]]
        self._nursery.fork(worker.name, config.to_json(), rings)


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
