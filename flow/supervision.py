"""What the orchestrator of a run decides, as a pure state machine: events and the time in, actions out.

It starts nothing, waits for nothing and reads no clock, so that every course of a run can be told as a table of
events in a test. The shell in `auflow.flow.crew` turns processes, messages and signals into events and carries the
actions out. Who is alive is the matter of `auflow.flow.groups`; here is what is worked on.

    RUNNING --Ctrl-C--> DRAINING --all written or 4.5 s--> STOPPING --every worker gone--> done
       +------- all written, or a group is lost ------------^
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from auflow.errors import AuflowError, InputError, StageError
from auflow.flow.deaths import Deaths
from auflow.flow.events import (
    Action,
    Advanced,
    Event,
    Exited,
    Finished,
    Interrupted,
    Kill,
    NurseryEnded,
    Send,
    Started,
    Tick,
    Warn,
)
from auflow.flow.groups import Down, Groups, Limits, Lost, Phase, Up
from auflow.flow.job import StreamJob
from auflow.flow.topology import Role, Topology, Worker, group_name
from auflow.report import StreamSummary, cut_short_warning
from auflow.stages.records import SourceInfo
from auflow.stages.statistics import StreamStatistics
from auflow.transport import messages as m

__all__ = ["Limits", "Supervisor"]


_KEPT = "the inputs that were finished are kept, run the others again with --resume"


class _Phase(Enum):
    RUNNING = auto()
    DRAINING = auto()
    STOPPING = auto()


@dataclass(slots=True)
class _Stream:
    job: StreamJob
    info: SourceInfo | None = None
    began_s: float = 0.0
    frames: int = 0  # written, as the sink said last
    over: bool = False
    restarts: int = 0

    @property
    def shown_as(self) -> str:
        """What the reporter knows it by."""
        return self.job.name if self.info is None else self.info.path


@dataclass(slots=True)
class _Lane:
    number: int
    is_free: bool = False  # decode can take an input
    streams: deque[int] = field(default_factory=deque)  # assigned, and neither written nor given up
    again: deque[int] = field(default_factory=deque)  # of them, those to be assigned anew

    @property
    def decoder(self) -> str:
        """The worker that inputs are given to."""
        return Worker(Role.DECODE, self.number).name


class Supervisor:
    """The state of one run.

    Parameters
    ----------
    topology : the workers that the run starts with
    jobs : one for each input
    began_s : when the run began
    limits : of patience and of restarts
    """

    def __init__(self, topology: Topology, jobs: Sequence[StreamJob], began_s: float, limits: Limits | None = None):
        self._limits = limits or Limits()
        self._topology = topology
        self._groups = Groups(self._limits)
        self._deaths = Deaths()
        self._lanes = [_Lane(number) for number in range(topology.lanes)]
        self._streams = [_Stream(job) for job in jobs]
        self._pending = deque(range(len(jobs)))
        self._summaries: dict[int, StreamSummary] = {}
        self._began_s = began_s
        self._ready_s = began_s
        self._phase = _Phase.RUNNING
        self._deadline_s = float("inf")
        self.interrupted = False
        self.error: AuflowError | None = None

    @property
    def done(self) -> bool:
        """Whether every worker is gone after the end."""
        return self._phase is _Phase.STOPPING and not any(member.alive for member in self._groups.members())

    @property
    def summaries(self) -> list[StreamSummary]:
        """How the inputs ended, in the order given."""
        return [self._summaries[stream] for stream in sorted(self._summaries)]

    def incarnation(self, worker: str) -> int:
        """Which start of a worker counts."""
        return self._groups.incarnation(worker)

    def begin(self, at_s: float) -> list[Action]:
        """Start all workers: detection and the light ones first."""
        starts = [self._groups.add(name, workers, at_s) for name, workers in self._topology.groups().items()]
        return self._react([reaction for reactions in starts for reaction in reactions], at_s)

    def handle(self, event: Event, at_s: float) -> list[Action]:
        """Take in one event; what is to be done about it, in order."""
        match event:
            case Interrupted():
                return self._interrupt(at_s)
            case Tick():
                if at_s >= self._deadline_s:
                    return [*self._abandon(at_s), *self._kill_all()]
                return self._react(self._groups.handle(event, at_s), at_s)
            case Exited() | NurseryEnded() | m.Connected():
                return self._react(self._groups.handle(event, at_s), at_s)
            case m.Fault():
                leave = Send(event.worker, m.Exit())
                return [*self._react(self._groups.handle(event, at_s), at_s), leave]
            case m.Ready():
                return [*self._react(self._groups.handle(event, at_s), at_s), *self._ready(event, at_s)]
            case m.Beat():
                self._groups.handle(event, at_s)
                return self._beat(event)
        self._groups.heard(event.worker, at_s)
        return self._stream_event(event, at_s)

    # Workers

    def _react(self, reactions: Sequence[object], at_s: float) -> list[Action]:
        """Actions go on to the shell; what became of a group is taken in here."""
        actions: list[Action] = []
        for reaction in reactions:
            match reaction:
                case Up():
                    pass
                case Down():
                    actions += self._down(reaction, at_s)
                case Lost():
                    actions += self._lost(reaction, at_s)
                case _:
                    actions.append(reaction)  # type: ignore[arg-type]
        return actions

    def _ready(self, event: m.Ready, at_s: float) -> list[Action]:
        if self._groups.incarnation(event.worker) == 0:
            self._ready_s = at_s  # in the end that of the last worker: loading is not an input's time
        worker = self._groups.member(event.worker).worker
        if worker.role is not Role.DECODE:
            return []
        lane = self._lanes[worker.number]
        lane.is_free, lane.again = True, deque(lane.streams)
        return self._feed(at_s)

    def _down(self, down: Down, at_s: float) -> list[Action]:
        """A group has fallen and is started again; its inputs go on from their checkpoints."""
        where, blame = self._blame(down, at_s)
        actions: list[Action] = [Warn(f"{down.cause}{where}; it is started again")]
        lane = self._lane_of(down.group)
        if lane is not None:
            lane.is_free = False
            for number in lane.streams:
                self._streams[number].restarts += 1
                self._streams[number].job = dataclasses.replace(self._streams[number].job, resume=True)
        actions += blame
        if self._phase is _Phase.DRAINING and lane is not None:
            actions += self._give_up(list(lane.streams), at_s, interrupted=True)
        return [*actions, *self._stop_when_over(at_s)]

    def _blame(self, down: Down, at_s: float) -> tuple[str, list[Action]]:
        """Count deaths at a frame; the second one is laid at the frame's door."""
        if not 0 <= down.stream < len(self._streams):
            return "", []
        stream = self._streams[down.stream]
        where = f" at frame {down.frame} of {stream.job.name}"
        if stream.over or not self._deaths.is_enough(down):
            return where, []
        if down.frame < 1:
            error: AuflowError = StageError(f"{down.cause} again and again{where}; this input is given up")
            return where, self._give_up([down.stream], at_s, error=error)
        if down.role is Role.DECODE:
            error = InputError(
                f"{stream.job.name}: frame {down.frame} ended the decoder twice; the file is damaged there: "
                f"re-encode it, or cut it before that frame"
            )
            return where, self._give_up([down.stream], at_s, error=error)
        quarantined = (*stream.job.quarantined, down.frame)
        stream.job = dataclasses.replace(stream.job, quarantined=quarantined, resume=True)
        if down.role is not Role.DETECT:
            return where, []
        # The lane still waits for the answer: it has to learn that nobody will look at that frame.
        lane = next(lane for lane in self._lanes if down.stream in lane.streams)
        name = group_name(Role.CLNF, lane.number)
        cause = dataclasses.replace(down, group=name, cause=f"{down.cause} a second time", stream=-1)
        return where, self._react(self._groups.restart(name, cause, at_s), at_s)

    def _lost(self, lost: Lost, at_s: float) -> list[Action]:
        error = lost.error
        if isinstance(error, StageError):
            stream = lost.cause.stream if lost.cause else -1
            where = ""
            if lost.cause is not None and 0 <= stream < len(self._streams):
                where = f" at frame {lost.cause.frame} of {self._streams[stream].job.name}"
            error = StageError(f"{error}{where}; {_KEPT}")
        return self._fail(error, at_s)

    def _lane_of(self, group: str) -> _Lane | None:
        return next((lane for lane in self._lanes if group_name(Role.CLNF, lane.number) == group), None)

    def _fail(self, error: AuflowError, at_s: float) -> list[Action]:
        if self.error is not None or self._phase is _Phase.STOPPING:
            return []
        self.error = error
        return self._stop(at_s)

    # Streams

    def _feed(self, at_s: float) -> list[Action]:
        """Hand the next inputs to the decoders that are free; first those that a fall has interrupted."""
        actions: list[Action] = []
        for lane in self._lanes:
            if not lane.is_free or self._phase is not _Phase.RUNNING or not (lane.again or self._pending):
                continue
            if lane.again:
                number = lane.again.popleft()
            else:
                number = self._pending.popleft()
                self._streams[number].began_s = at_s
                lane.streams.append(number)
            lane.is_free = False
            actions.append(Send(lane.decoder, m.Assign(number, self._streams[number].job.to_json())))
        return actions

    def _stream_event(
        self,
        event: m.Note
        | m.SourceChanged
        | m.StreamOpened
        | m.StreamProgress
        | m.StreamRefused
        | m.StreamDecoded
        | m.StreamWritten
        | m.StreamFailed,
        at_s: float,
    ) -> list[Action]:
        stream = self._streams[event.stream] if event.stream >= 0 else None
        number = self._groups.member(event.worker).worker.number
        match event:
            case m.Note():
                return [Warn(event.text)]
            case m.StreamOpened() if stream is not None:
                is_first, stream.info = stream.info is None, event.info
                going_on = f"{stream.job.name}: goes on after frame {event.resumed_at}"
                return [
                    *([Started(event.info)] if is_first else []),
                    *([Warn(going_on)] if event.resumed_at else []),
                ]
            case m.StreamDecoded():
                self._lanes[number].is_free = True
                return self._feed(at_s)
            case m.StreamFailed():
                return [Send(Worker(Role.DECODE, number).name, m.Skip(event.stream))]
            case m.StreamRefused():
                self._lanes[number].is_free = True
                summary = self._close(event.stream, at_s, interrupted=event.error is None, error=event.error)
            case m.StreamWritten():
                summary = self._close(event.stream, at_s, written=event, error=event.error)
            case _:
                return []
        assert stream is not None
        return [*_cut_short(stream, summary), Finished(summary), *self._feed(at_s), *self._stop_when_over(at_s)]

    def _close(
        self,
        number: int,
        at_s: float,
        *,
        written: m.StreamWritten | None = None,
        interrupted: bool = False,
        error: str | None = None,
        exit_code: int = InputError.exit_code,
    ) -> StreamSummary:
        stream = self._streams[number]
        stream.over = True
        for lane in self._lanes:
            if number in lane.streams:
                lane.streams.remove(number)
            if number in lane.again:
                lane.again.remove(number)
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
            exit_code=written.exit_code if written else 0 if error is None else exit_code,
            statistics=written.statistics if written else StreamStatistics(),
            first_result_s=None if first_s is None else first_s - self._began_s,
            failed_frames=written.failed if written else 0,
            dropped_frames=written.dropped if written else 0,
            restarts=stream.restarts,
        )
        self._summaries[number] = summary
        return summary

    def _give_up(
        self, numbers: Sequence[int], at_s: float, *, interrupted: bool = False, error: AuflowError | None = None
    ) -> list[Action]:
        """End inputs of a lane that has fallen, with nothing written."""
        text, code = (str(error), error.exit_code) if error else (None, 0)
        closed = [
            self._close(number, at_s, interrupted=interrupted, error=text, exit_code=code)
            for number in numbers
            if not self._streams[number].over
        ]
        return [Finished(summary) for summary in closed]

    def _beat(self, beat: m.Beat) -> list[Action]:
        if not beat.worker.startswith(Role.SINK) or beat.stream < 0:
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
        self._groups.stop_restarts()
        self._pending.clear()
        return [
            Send(member.worker.name, m.Exit()) if member.connected else Kill(member.worker.name)
            for member in self._groups.members()
            if member.alive
        ]

    def _kill_all(self) -> list[Action]:
        self._phase = _Phase.STOPPING
        self._deadline_s = float("inf")
        self._groups.stop_restarts()
        return [Kill(member.worker.name) for member in self._groups.members() if member.alive]

    def _interrupt(self, at_s: float) -> list[Action]:
        """First: decode no more, finish what is under way. Second: now."""
        is_first, self.interrupted = not self.interrupted, True
        if self._phase is _Phase.STOPPING or not is_first:
            return [*self._abandon(at_s), *self._kill_all()]
        for number in self._pending:
            self._streams[number].over = True  # as if it had not been given
        self._pending.clear()
        up = [lane for lane in self._lanes if self._groups.phase(group_name(Role.CLNF, lane.number)) is Phase.UP]
        if not up or all(stream.over for stream in self._streams):
            return [*self._abandon(at_s), *self._stop(at_s)]
        self._phase = _Phase.DRAINING
        self._deadline_s = at_s + self._limits.drain_s
        fallen = [number for lane in self._lanes if lane not in up for number in lane.streams]
        given_up = self._give_up(fallen, at_s, interrupted=True)
        return [*given_up, *[Send(lane.decoder, m.Drain()) for lane in up], *self._stop_when_over(at_s)]

    def _abandon(self, at_s: float) -> list[Action]:
        """Every input that is not over ends here, with nothing written."""
        if self.error is not None:
            return []  # the error is what the user hears
        left = [number for number, stream in enumerate(self._streams) if not stream.over]
        return self._give_up(left, at_s, interrupted=True)


def _cut_short(stream: _Stream, summary: StreamSummary) -> list[Action]:
    if stream.info is None or summary.interrupted or summary.error is not None:
        return []
    text = cut_short_warning(stream.info, summary.frames)
    return [Warn(text)] if text else []
