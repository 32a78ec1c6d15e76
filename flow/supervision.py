"""What the orchestrator of a run decides, as a pure state machine: events and the time in, actions out.

It starts nothing, waits for nothing and reads no clock, so that every course of a run can be told as a table of
events in a test. The shell in `auflow.flow.crew` turns processes, messages and signals into events and carries the
actions out. Who is alive is the matter of `auflow.flow.groups`, what is worked on that of `auflow.flow.streams`; here
the two meet: what a fall means for the inputs, and when all is over.

    RUNNING --Ctrl-C--> DRAINING --all written or 4.5 s--> STOPPING --every worker gone--> done
       +------- all written, or a group is lost ------------^
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum, auto

from auflow.errors import AuflowError, StageError
from auflow.flow.deaths import Deaths
from auflow.flow.events import Action, Event, Exited, Interrupted, NurseryEnded, Send, Tick, Warn
from auflow.flow.groups import Down, Groups, Limits, Lost, Phase, Reaction
from auflow.flow.job import StreamJob
from auflow.flow.outcomes import taken_in
from auflow.flow.streams import Streams
from auflow.flow.topology import Role, Topology, Worker
from auflow.report import StreamSummary
from auflow.transport import messages as m

__all__ = ["Limits", "Supervisor"]

_KEPT = "the inputs that were finished are kept, run the others again with --resume"


class _Phase(Enum):
    RUNNING = auto()
    DRAINING = auto()
    STOPPING = auto()


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
        self._groups = Groups(self._limits, self._is_busy)
        self._deaths = Deaths()
        self._streams = Streams(jobs, topology.lanes, began_s)
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
        return self._streams.summaries

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
                return self._streams.beat(event)
        self._groups.heard(event.worker, at_s)
        return self._stream_event(event, at_s)

    def _is_busy(self, group: str) -> bool:
        """Whether a lane has an input that should get on; a pipe may be silent for ever."""
        lane = self._streams.lane_of(group)
        return lane is not None and any(not self._streams[number].job.once for number in lane.streams)

    # Workers

    def _react(self, reactions: Sequence[Reaction], at_s: float) -> list[Action]:
        return taken_in(reactions, lambda down: self._down(down, at_s), lambda lost: self._lost(lost, at_s))

    def _ready(self, event: m.Ready, at_s: float) -> list[Action]:
        if self._groups.incarnation(event.worker) == 0:
            self._streams.ready_s = at_s
        worker = self._groups.member(event.worker).worker
        if worker.role is not Role.DECODE:
            return []
        self._streams.lane_is_up(worker.number)
        return self._feed(at_s)

    def _down(self, down: Down, at_s: float) -> list[Action]:
        """A group has fallen and is started again; its inputs go on from their checkpoints."""
        where = self._streams.place(down.stream, down.frame)
        actions: list[Action] = [Warn(f"{down.cause}{where}; it is started again")]
        lane = self._streams.lane_of(down.group)
        if lane is not None:
            if self._phase is _Phase.DRAINING:
                actions += self._streams.give_up(lane.streams, at_s, interrupted=True)
            actions += self._streams.lane_has_fallen(lane, at_s)
        elif down.stream in self._streams:
            self._streams[down.stream].restarts += 1
        return [*actions, *self._blame(down, at_s), *self._stop_when_over(at_s)]

    def _blame(self, down: Down, at_s: float) -> list[Action]:
        """Count deaths at a frame; the second one is laid at the frame's door."""
        if down.stream not in self._streams or self._streams[down.stream].over:
            return []
        stream = self._streams[down.stream]
        verdict = self._deaths.verdict(down, stream.job)
        if verdict is None:
            return []
        if isinstance(verdict, AuflowError):
            return self._streams.give_up([down.stream], at_s, error=verdict)
        stream.job = verdict
        self._groups.forgive(down.group, 2)  # however many bad frames there are, each costs its own restarts only
        lane = self._streams.lane_with(down.stream)
        if down.role is not Role.DETECT or lane is None:
            return []
        # The lane still waits for the answer: it has to learn that nobody will look at that frame.
        cause = dataclasses.replace(down, group=lane.group, cause=f"{down.cause} a second time", stream=-1)
        return self._react(self._groups.restart(lane.group, cause, at_s), at_s)

    def _lost(self, lost: Lost, at_s: float) -> list[Action]:
        error = lost.error
        if isinstance(error, StageError):
            where = self._streams.place(lost.cause.stream, lost.cause.frame) if lost.cause else ""
            error = StageError(f"{error}{where}; {_KEPT}")
        if self.error is not None or self._phase is _Phase.STOPPING:
            return []
        self.error = error
        return self._stop(at_s)

    # Streams

    def _feed(self, at_s: float) -> list[Action]:
        return self._streams.feed(at_s) if self._phase is _Phase.RUNNING else []

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
        lane = self._groups.member(event.worker).worker.number
        match event:
            case m.Note():
                return [Warn(event.text)]
            case m.StreamOpened():
                return self._streams.opened(event)
            case m.StreamDecoded():
                self._streams.lanes[lane].is_free = True
                return self._feed(at_s)
            case m.StreamFailed():
                return [Send(Worker(Role.DECODE, lane).name, m.Skip(event.stream))]
            case m.StreamRefused():
                self._streams.lanes[lane].is_free = True
                ended = self._streams.refused(event, at_s)
            case m.StreamWritten():
                ended = self._streams.written(event, at_s)
            case _:
                return []  # news of live streams
        return [*ended, *self._feed(at_s), *self._stop_when_over(at_s)]

    # The end

    def _stop_when_over(self, at_s: float) -> list[Action]:
        return self._stop(at_s) if self._streams.all_over and self._phase is not _Phase.STOPPING else []

    def _stop(self, at_s: float) -> list[Action]:
        """Send everyone home; whoever has no ears yet is killed."""
        self._phase = _Phase.STOPPING
        self._deadline_s = at_s + self._limits.exit_s
        return [*self._groups.send_home()]

    def _kill_all(self) -> list[Action]:
        self._phase = _Phase.STOPPING
        self._deadline_s = float("inf")
        return [*self._groups.kill_all()]

    def _interrupt(self, at_s: float) -> list[Action]:
        """First: decode no more, finish what is under way. Second: now."""
        is_first, self.interrupted = not self.interrupted, True
        if self._phase is _Phase.STOPPING or not is_first:
            return [*self._abandon(at_s), *self._kill_all()]
        self._streams.drop_pending()
        up = [lane for lane in self._streams.lanes if self._groups.phase(lane.group) is Phase.UP]
        if not up or self._streams.all_over:
            return [*self._abandon(at_s), *self._stop(at_s)]
        self._phase = _Phase.DRAINING
        self._deadline_s = at_s + self._limits.drain_s
        # What a fall has interrupted and nobody has taken up again stays as it is, for --resume.
        fallen = [n for lane in self._streams.lanes for n in (lane.again if lane in up else lane.streams)]
        given_up = self._streams.give_up(fallen, at_s, interrupted=True)
        return [*given_up, *[Send(lane.decoder, m.Drain()) for lane in up], *self._stop_when_over(at_s)]

    def _abandon(self, at_s: float) -> list[Action]:
        """Every input that is not over ends here, with nothing written."""
        if self.error is not None:
            return []  # the error is what the user hears
        return self._streams.give_up(self._streams.left, at_s, interrupted=True)
