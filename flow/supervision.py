"""What the orchestrator decides, as a pure state machine: events and the time in, actions out.

It starts nothing, waits for nothing and reads no clock, so that every course of a run can be told as a table of
events in a test. The shell in `auflow.orchestrator` turns processes, messages and signals into events and carries
the actions out.

    RUNNING --Ctrl-C--> DRAINING --all written or 4.5 s--> STOPPING --every worker gone--> done
       +------- all written, or a worker failed ------------^
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from auflow import errors
from auflow.errors import AuflowError, InputError, StageError
from auflow.flow.events import (
    Action,
    Advanced,
    Event,
    Exited,
    Finished,
    Interrupted,
    Kill,
    NurseryEnded,
    RemoveRunDir,
    Send,
    Started,
    Tick,
    Warn,
)
from auflow.flow.topology import Role, Topology, Worker
from auflow.report import StreamSummary, cut_short_warning
from auflow.stages.records import SourceInfo
from auflow.stages.statistics import StreamStatistics
from auflow.transport import messages as m
from auflow.transport.faults import PeerGoneError

__all__ = ["Limits", "Supervisor"]


_KEPT = "the inputs that were finished are kept, run the others again"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which patience ends."""

    startup_s: float = 300.0  # from spawn to ready; compiling every kernel on a slow machine is part of it
    silence_s: float = 120.0  # of a ready worker
    silence_per_frame_s: float = 0.01  # more for the offline pass and the writing of a long stream
    drain_s: float = 4.5  # after Ctrl-C, before SIGKILL
    exit_s: float = 2.0  # after Exit, before SIGKILL
    suspicion_s: float = 1.0  # for the death that a lost peer points to; a worker that faulted waits twice as long


class _Phase(Enum):
    RUNNING = auto()
    DRAINING = auto()
    STOPPING = auto()


@dataclass(slots=True)
class _WorkerState:
    worker: Worker
    heard_s: float
    connected: bool = False
    ready: bool = False
    gone: bool = False
    frames: int = 0  # of its stream, as it said last
    stream: int | None = None  # decode: what it was assigned


@dataclass(slots=True)
class _Stream:
    path: str
    output: str
    info: SourceInfo | None = None
    began_s: float = 0.0
    frames: int = 0
    over: bool = False

    @property
    def shown_as(self) -> str:
        """What the user knows the input by."""
        return self.info.path if self.info else self.path


class Supervisor:
    """The state of one run.

    Parameters
    ----------
    topology : the workers that are being spawned
    inputs : (path, output path) in the order given
    at_s : when the run began, monotonic
    """

    def __init__(
        self, topology: Topology, inputs: Sequence[tuple[str, str]], at_s: float, limits: Limits | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._began_s = at_s
        self._workers = {worker.name: _WorkerState(worker, at_s) for worker in topology.workers()}
        self._streams = [_Stream(path, output) for path, output in inputs]
        self._pending = deque(range(len(self._streams)))
        self._phase = _Phase.RUNNING
        self._deadline_s = float("inf")
        self._all_connected = False
        self._ready_s = 0.0
        self._suspicion: tuple[m.Fault, float] | None = None
        self._summaries: dict[int, StreamSummary] = {}
        self.error: AuflowError | None = None
        self.interrupted = False

    @property
    def done(self) -> bool:
        """Whether every worker is gone."""
        return all(state.gone for state in self._workers.values())

    @property
    def summaries(self) -> list[StreamSummary]:
        """How the inputs ended, in the order given."""
        return [self._summaries[stream] for stream in sorted(self._summaries)]

    def handle(self, event: Event, at_s: float) -> list[Action]:
        """Take in one event; what is to be done about it, in order."""
        match event:
            case Exited():
                return self._exited(event, at_s)
            case NurseryEnded():
                return self._nursery_ended(event, at_s)
            case Interrupted():
                return self._interrupt(at_s)
            case Tick():
                return self._tick(at_s)
        state = self._workers[event.worker]
        state.heard_s = at_s
        match event:
            case m.Connected() | m.Ready():
                return self._starting(state, event, at_s)
            case m.Beat():
                return self._beat(event)
            case m.Fault():
                return self._fault(event, at_s)
        return self._stream_event(state, event, at_s)

    # Start-up

    def _starting(self, state: _WorkerState, event: m.Connected | m.Ready, at_s: float) -> list[Action]:
        actions: list[Action] = []
        if isinstance(event, m.Connected):
            state.connected = True
            if not self._all_connected and all(other.connected for other in self._workers.values()):
                self._all_connected = True
                actions.append(RemoveRunDir())
        else:
            state.ready = True
            self._ready_s = at_s  # in the end that of the last worker: loading is not an input's time
        return actions + self._feed(at_s)

    def _feed(self, at_s: float) -> list[Action]:
        """Hand the next inputs to the decoders that are free."""
        actions: list[Action] = []
        for state in self._workers.values():
            is_free = state.worker.role is Role.DECODE and state.ready and state.stream is None
            if is_free and self._pending and self._phase is _Phase.RUNNING:
                state.stream = self._pending.popleft()
                stream = self._streams[state.stream]
                stream.began_s = at_s
                actions.append(Send(state.worker.name, m.Assign(state.stream, stream.path, stream.output)))
        return actions

    # Streams

    def _stream_event(
        self,
        state: _WorkerState,
        event: m.StreamOpened | m.StreamRefused | m.StreamDecoded | m.StreamWritten | m.StreamFailed,
        at_s: float,
    ) -> list[Action]:
        stream = self._streams[event.stream]
        match event:
            case m.StreamOpened():
                stream.info = event.info
                return [Started(event.info)]
            case m.StreamDecoded():
                state.stream = None
                return self._feed(at_s)
            case m.StreamFailed():
                return [Send(Worker(Role.DECODE, state.worker.number).name, m.Skip(event.stream))]
            case m.StreamRefused():
                state.stream = None
                summary = self._close(event.stream, at_s, interrupted=event.error is None, error=event.error)
            case m.StreamWritten():
                summary = self._close(event.stream, at_s, written=event, error=event.error)
        return [*_cut_short(stream, summary), Finished(summary), *self._feed(at_s), *self._stop_when_over(at_s)]

    def _close(
        self,
        number: int,
        at_s: float,
        *,
        written: m.StreamWritten | None = None,
        interrupted: bool = False,
        error: str | None = None,
    ) -> StreamSummary:
        stream = self._streams[number]
        stream.over = True
        first_s = written.statistics.first_result_at_s if written else None
        summary = StreamSummary(
            path=stream.shown_as,
            output=written.output if written else None,
            frames=written.frames if written else 0,
            successes=written.successes if written else 0,
            corrupt_frames=written.corrupt if written else 0,
            seconds=at_s - max(stream.began_s, self._ready_s) if stream.began_s else 0.0,
            interrupted=written.interrupted if written else interrupted,
            error=error,
            exit_code=written.exit_code if written else 0 if error is None else InputError.exit_code,
            statistics=written.statistics if written else StreamStatistics(),
            first_result_s=None if first_s is None else first_s - self._began_s,
        )
        self._summaries[number] = summary
        return summary

    def _beat(self, beat: m.Beat) -> list[Action]:
        state = self._workers[beat.worker]
        state.frames = beat.frames
        if state.worker.role is not Role.SINK or beat.stream < 0:
            return []
        stream = self._streams[beat.stream]
        if stream.over or beat.frames <= stream.frames:
            return []
        stream.frames = beat.frames
        return [Advanced(stream.shown_as, beat.frames)]

    # The end

    def _stop_when_over(self, at_s: float) -> list[Action]:
        over = all(stream.over for stream in self._streams)
        return self._stop(at_s) if over and self._phase is not _Phase.STOPPING else []

    def _stop(self, at_s: float) -> list[Action]:
        """Send everyone home; whoever has no ears yet is killed."""
        self._phase = _Phase.STOPPING
        self._deadline_s = at_s + self._limits.exit_s
        self._pending.clear()
        return [
            Send(state.worker.name, m.Exit()) if state.connected else Kill(state.worker.name)
            for state in self._workers.values()
            if not state.gone
        ]

    def _kill_all(self) -> list[Action]:
        self._phase = _Phase.STOPPING
        self._deadline_s = float("inf")
        return [Kill(state.worker.name) for state in self._workers.values() if not state.gone]

    def _interrupt(self, at_s: float) -> list[Action]:
        """First: decode no more, finish what is under way. Second: now."""
        is_first, self.interrupted = not self.interrupted, True
        if self._phase is _Phase.STOPPING or not is_first:
            return [*self._abandon(at_s), *self._kill_all()]
        for number in self._pending:
            self._streams[number].over = True  # as if it had not been given
        self._pending.clear()
        stages_ready = all(state.ready for state in self._workers.values())
        if not stages_ready or all(stream.over for stream in self._streams):
            return [*self._abandon(at_s), *self._stop(at_s)]
        self._phase = _Phase.DRAINING
        self._deadline_s = at_s + self._limits.drain_s
        decoders = [name for name, state in self._workers.items() if state.worker.role is Role.DECODE]
        return [Send(name, m.Drain()) for name in decoders]

    def _abandon(self, at_s: float) -> list[Action]:
        """Every input that is not over ends here, with nothing written."""
        left = [number for number, stream in enumerate(self._streams) if not stream.over]
        if self.error is not None:
            return []  # the error is what the user hears
        return [Finished(self._close(number, at_s, interrupted=True)) for number in left]

    def _tick(self, at_s: float) -> list[Action]:
        if at_s >= self._deadline_s:
            return [*self._abandon(at_s), *self._kill_all()]
        if self._phase is _Phase.STOPPING:
            return []
        if self._suspicion is not None and at_s >= self._suspicion[1]:
            return self._tell_fault(self._suspicion[0], at_s)
        for state in self._workers.values():
            limit_s = self._patience_s(state)
            if at_s - state.heard_s > limit_s:
                what = "gave no sign of life" if state.ready else "was not ready to work"
                return [
                    *self._fail(StageError(f"{state.worker.name} {what} for {limit_s:.0f} s"), at_s),
                    Kill(state.worker.name),
                ]
        return []

    def _patience_s(self, state: _WorkerState) -> float:
        if not state.ready:
            return self._limits.startup_s
        return self._limits.silence_s + self._limits.silence_per_frame_s * state.frames

    # Failures

    def _fail(self, error: AuflowError, at_s: float) -> list[Action]:
        if self.error is not None or self._phase is _Phase.STOPPING:
            return []
        self.error = error
        return self._stop(at_s)

    def _fault(self, fault: m.Fault, at_s: float) -> list[Action]:
        """A worker reported what broke it. Its own kind of error goes on; anything else is a fault in the program."""
        leave = Send(fault.worker, m.Exit())
        if self._phase is _Phase.STOPPING:
            return [leave]  # it misses those who have left already
        if fault.kind == PeerGoneError.__name__:
            # Its peer has died, and that is the news to come; if it does not come, this was the news.
            self._suspicion = self._suspicion or (fault, at_s + self._limits.suspicion_s)
            return []
        return [*self._tell_fault(fault, at_s), leave]

    def _tell_fault(self, fault: m.Fault, at_s: float) -> list[Action]:
        kind = getattr(errors, fault.kind, None)
        if isinstance(kind, type) and issubclass(kind, AuflowError) and not issubclass(kind, StageError):
            return self._fail(kind(fault.text), at_s)
        where = self._where(fault.stream, fault.frame)
        error = StageError(f"{fault.worker} failed{where}: {fault.text}")
        return [Warn(f"{fault.worker} failed with\n{fault.traceback.rstrip()}"), *self._fail(error, at_s)]

    def _exited(self, event: Exited, at_s: float) -> list[Action]:
        state = self._workers[event.worker]
        state.gone = True
        if self._phase is _Phase.STOPPING:
            return []
        where = self._where(event.stream, event.frame)
        text = f"{event.worker} {_how(event.code)}{where}; {_KEPT}"
        return self._fail(StageError(text), at_s)

    def _nursery_ended(self, event: NurseryEnded, at_s: float) -> list[Action]:
        for state in self._workers.values():
            state.gone = True
        return self._fail(StageError(f"the process that starts all workers {_how(event.code)}; {_KEPT}"), at_s)

    def _where(self, stream: int, frame: int) -> str:
        if not 0 <= stream < len(self._streams):
            return ""
        return f" at frame {frame} of {self._streams[stream].path}"


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _cut_short(stream: _Stream, summary: StreamSummary) -> list[Action]:
    if stream.info is None or summary.interrupted or summary.error is not None:
        return []
    text = cut_short_warning(stream.info, summary.frames)
    return [Warn(text)] if text else []
