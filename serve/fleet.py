"""What a service decides, as a pure state machine: which stream is on which lane, and what to do at every fall.

Events and the time in, actions out, as in `auflow.flow.supervision`; who is alive is the matter of
`auflow.flow.groups`. A live stream is pinned to a live lane, which carries several; a file lane works on one file after
the other. Lanes are started when their first stream comes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from auflow.errors import AuflowError, StageError, UsageError
from auflow.flow.deaths import Deaths
from auflow.flow.events import Action, Event, Exited, Interrupted, NurseryEnded, Send, Tell, Tick, Warn
from auflow.flow.groups import Down, Groups, Limits, Lost, Phase, Reaction
from auflow.flow.job import StreamJob
from auflow.flow.outcomes import taken_in
from auflow.flow.topology import Role, Topology
from auflow.serve.streams import Lane, Stream, StreamEvent, place_for
from auflow.transport import messages as m
from auflow.transport.ring import Tally

__all__ = ["Fleet"]

_LATER = "goes on at the next start"
_BUDGET = 8  # restarts of a lane, where any number is allowed


class Fleet:
    """The state of one service.

    Parameters
    ----------
    live_lanes, file_lanes, detectors : how many there may be
    seats : live streams of a lane
    bus, web : whether there is one, and a live page
    limits : of patience and restarts
    seat_taken : called with (lane, seat) when a stream gets a seat, so that its counts begin anew
    seat_left : called with (lane, seat) when it leaves it; its counts
    """

    def __init__(
        self,
        *,
        live_lanes: int,
        file_lanes: int,
        detectors: int,
        seats: int,
        bus: bool,
        web: bool = False,
        limits: Limits,
        seat_taken: Callable[[int, int], None] = lambda _lane, _seat: None,
        seat_left: Callable[[int, int], Tally] = lambda _lane, _seat: Tally(),
    ) -> None:
        self.topology = Topology(live_lanes + file_lanes, detectors, bus, web)
        self.lanes = [Lane(number, number < live_lanes, seats) for number in range(live_lanes + file_lanes)]
        self.streams: dict[str, Stream] = {}
        self.groups = Groups(limits, self._is_busy)
        self.error: AuflowError | None = None
        self.draining = False
        self.published_before = 0  # messages on the bus of streams that are forgotten
        self._limits = limits
        self._seat_taken, self._seat_left = seat_taken, seat_left
        self._deaths = Deaths()
        self._numbers = 0
        self._stopping = False
        self._exiting = False
        self._deadline_s = float("inf")

    @property
    def done(self) -> bool:
        """Whether every worker is gone after the end."""
        return self._exiting and not any(member.alive for member in self.groups.members())

    def incarnation(self, worker: str) -> int:
        """Which start of a worker counts."""
        return self.groups.incarnation(worker)

    def begin(self, at_s: float) -> list[Action]:
        """Start what every stream needs."""
        lanes = {lane.name for lane in self.lanes}
        shared = {name: workers for name, workers in self.topology.groups().items() if name not in lanes}
        return self._react([r for name, workers in shared.items() for r in self.groups.add(name, workers, at_s)], at_s)

    # What is asked of the service

    def add(self, name: str, make_job: Callable[[int], StreamJob], live: bool, at_s: float) -> list[Action]:
        """Begin a stream; `make_job` gets its seat.

        Raises
        ------
        UsageError
            There is one of this name already, or no room for another.
        """
        if name in self.streams and not self.streams[name].over:
            raise UsageError(f"{name}: there is a stream of this name; remove it first, or choose another name")
        if self.draining:
            raise UsageError(f"{name}: the service is draining and takes no more streams")
        lane = place_for(self.lanes, live, self._is_lost, lambda lane: lane.name in self.groups)
        taken = {self._by_number(number).seat for number in lane.streams}
        seat = next(seat for seat in range(len(taken) + 1) if seat not in taken) if live else -1
        if live:
            self._seat_taken(lane.number, seat)
        stream = Stream(self._numbers, name, make_job(seat), since_s=at_s, lane=lane.number, seat=seat)
        stream.paused = stream.job.live is not None and stream.job.live.paused
        self._numbers += 1
        self._forget(name)
        self.streams[name] = stream
        lane.streams.append(stream.number)
        if lane.name not in self.groups:
            return self._react(self.groups.add(lane.name, self.topology.groups()[lane.name], at_s), at_s)
        return self._assign(lane, at_s)

    def _is_busy(self, group: str) -> bool:
        """Whether a lane has a file that should get on; a camera may be silent for as long as it likes."""
        return any(lane.name == group and lane.busy is not None for lane in self.lanes)

    def _is_lost(self, lane: Lane) -> bool:
        return lane.name in self.groups and self.groups.phase(lane.name) is Phase.LOST

    def remove(self, name: str, at_s: float) -> list[Action]:
        """End a stream and forget it."""
        stream = self._named(name)
        if stream.over:
            self._forget(name)
            return []
        stream.removed = True
        lane = self.lanes[stream.lane]
        if not lane.ready or stream.state == "waiting":
            return self._close(stream, "removed", "", at_s)
        stream.change("ending", "", at_s)
        return [Send(lane.decoder, m.Skip(stream.number, remove=True))]

    def pause(self, name: str, paused: bool, at_s: float) -> list[Action]:
        """Take no more pictures of a live stream, or go on."""
        stream = self._named(name)
        if stream.job.live is None:
            raise UsageError(f"{name}: only a live stream can be paused; a file waits for nobody: remove it instead")
        stream.paused = paused
        stream.job = dataclasses.replace(stream.job, live=dataclasses.replace(stream.job.live, paused=paused))
        lane = self.lanes[stream.lane]
        return [Send(lane.decoder, m.Pause(stream.number, paused))] if lane.ready and not stream.over else []

    def drain(self, at_s: float) -> list[Action]:
        """Take no more pictures at all; what is under way is finished."""
        self.draining = True
        actions: list[Action] = []
        for lane in self.lanes:
            if lane.ready:
                actions.append(Send(lane.decoder, m.Drain()))
            for stream in [self._by_number(number) for number in lane.streams]:
                if not lane.ready or stream.state == "waiting":  # the others are finished first
                    actions += self._close(stream, "interrupted", _LATER, at_s)
        return [*actions, *self._stop_when_over(at_s)]

    def stop(self, at_s: float) -> list[Action]:
        """Drain, then end; at once when called again."""
        if self._stopping:
            return self._kill_all()
        self._stopping = True
        self._deadline_s = at_s + self._limits.drain_s
        return self.drain(at_s)

    def _forget(self, name: str) -> None:
        stream = self.streams.pop(name, None)
        if stream is not None and stream.tally is not None:
            self.published_before += stream.tally.published

    def _named(self, name: str) -> Stream:
        if name not in self.streams:
            names = ", ".join(sorted(self.streams)) or "none"
            raise UsageError(f"{name}: there is no stream of this name (there are: {names})")
        return self.streams[name]

    def _by_number(self, number: int) -> Stream:
        return next(stream for stream in self.streams.values() if stream.number == number)

    # Events

    def handle(self, event: Event, at_s: float) -> list[Action]:
        """Take in one event; what is to be done about it, in order."""
        match event:
            case Interrupted():
                return self.stop(at_s)
            case Tick():
                if at_s >= self._deadline_s:
                    return self._kill_all() if self._exiting else [*self._cut_off(at_s), *self._exit(at_s)]
                return self._react(self.groups.handle(event, at_s), at_s)
            case Exited() | NurseryEnded() | m.Connected() | m.Beat():
                actions = self._react(self.groups.handle(event, at_s), at_s)
                if isinstance(event, m.Beat):
                    self._beat(event)
                return actions
            case m.Fault():
                leave = Send(event.worker, m.Exit())
                return [*self._react(self.groups.handle(event, at_s), at_s), leave]
            case m.Ready():
                return [*self._react(self.groups.handle(event, at_s), at_s), *self._ready(event, at_s)]
        self.groups.heard(event.worker, at_s)
        return self._stream_event(event, at_s)

    def _react(self, reactions: Sequence[Reaction], at_s: float) -> list[Action]:
        return taken_in(reactions, lambda down: self._down(down, at_s), lambda lost: self._lost(lost, at_s))

    def _ready(self, event: m.Ready, at_s: float) -> list[Action]:
        worker = self.groups.member(event.worker).worker
        if worker.role is not Role.DECODE:
            return []
        lane = self.lanes[worker.number]
        lane.ready, lane.busy = True, None
        for number in lane.streams:
            self._by_number(number).change("waiting", "", at_s)
        return self._assign(lane, at_s)

    def _assign(self, lane: Lane, at_s: float) -> list[Action]:
        """Give the decoder what it can take: every live stream that waits, or the next file."""
        if not lane.ready or self.draining:
            return []
        actions: list[Action] = []
        for number in lane.streams:
            stream = self._by_number(number)
            if stream.state != "waiting" or (not lane.live and lane.busy is not None):
                continue
            stream.change("connecting" if lane.live else "running", "", at_s)
            lane.busy = None if lane.live else number
            actions.append(Send(lane.decoder, m.Assign(number, stream.job.to_json())))
        return actions

    def _down(self, down: Down, at_s: float) -> list[Action]:
        actions: list[Action] = [Warn(f"{down.cause}; it is started again")]
        lane = next((lane for lane in self.lanes if lane.name == down.group), None)
        culprit = next((stream for stream in self.streams.values() if stream.number == down.stream), None)
        if lane is not None:
            lane.ready, lane.busy = False, None
            for number in list(lane.streams):
                stream = self._by_number(number)
                stream.restarts += 1
                stream.job = dataclasses.replace(stream.job, resume=True)
                stream.change("restarting", down.cause, at_s)
                if stream.removed or self.draining:
                    state = "removed" if stream.removed else "interrupted"
                    actions += self._close(stream, state, down.cause, at_s)
        if culprit is not None and not culprit.over:
            if culprit.live:
                actions += self._blame(culprit, down, at_s)
            else:
                actions += self._quarantine(culprit, down, at_s)
        return [*actions, *self._stop_when_over(at_s)]

    def _blame(self, stream: Stream, down: Down, at_s: float) -> list[Action]:
        """A live stream that brings its lane down again and again must not take its neighbours along."""
        limits = self._limits
        stream.deaths_s = [death for death in stream.deaths_s if death > at_s - limits.window_s] + [at_s]
        deaths = len(stream.deaths_s)
        if len(self.lanes[stream.lane].streams) < 2 or deaths <= (limits.budget or _BUDGET) // 2:
            return []
        text = f"{down.cause}; it was at work on this stream {deaths} times within {limits.window_s:.0f} s"
        return self._close(stream, "failed", text, at_s)

    def _quarantine(self, stream: Stream, down: Down, at_s: float) -> list[Action]:
        verdict = self._deaths.verdict(down, stream.job)
        if verdict is None:
            return []
        if isinstance(verdict, AuflowError):
            return self._close(stream, "failed", str(verdict), at_s)
        stream.job = verdict
        self.groups.forgive(down.group, 2)  # however many bad frames there are, each costs its own restarts only
        if down.role is not Role.DETECT:
            return []
        name = self.lanes[stream.lane].name
        cause = dataclasses.replace(down, group=name, cause=f"{down.cause} a second time", stream=-1)
        return self._react(self.groups.restart(name, cause, at_s), at_s)

    def _lost(self, lost: Lost, at_s: float) -> list[Action]:
        """A group stays down. What no restart can mend ends the service; else its streams have failed."""
        if not isinstance(lost.error, StageError):
            self.error = self.error or lost.error
            return [Warn(str(lost.error)), *self._exit(at_s)]
        actions: list[Action] = [Warn(f"{lost.error}; it stays down")] if not self._stopping else []
        for lane in self.lanes:
            if lane.name == lost.group:
                lane.ready = False
                for number in list(lane.streams):
                    actions += self._close(self._by_number(number), "failed", str(lost.error), at_s)
        return [*actions, *self._stop_when_over(at_s)]

    def _beat(self, beat: m.Beat) -> None:
        stream = next((stream for stream in self.streams.values() if stream.number == beat.stream), None)
        if stream is not None and not stream.live and beat.worker.startswith(Role.SINK):
            stream.frames = max(stream.frames, beat.frames)

    def _stream_event(self, event: StreamEvent, at_s: float) -> list[Action]:
        stream = next((stream for stream in self.streams.values() if stream.number == event.stream), None)
        if isinstance(event, m.Note):
            if stream is not None:
                stream.last_warning = event.text
            return [Warn(event.text)]
        if stream is None or stream.over:
            return []
        lane = self.lanes[stream.lane]
        match event:
            case m.SourceChanged():
                return stream.source_changed(event, at_s)
            case m.StreamOpened():
                stream.width_px, stream.height_px = event.info.width_px, event.info.height_px
            case m.StreamProgress():
                stream.faces, stream.captured_s, stream.clock = event.faces, event.captured_s, event.clock
                stream.statistics, stream.fps = event.statistics, event.fps
            case m.StreamFailed():
                return [Send(lane.decoder, m.Skip(stream.number))]
            case m.StreamDecoded() if not lane.live:
                lane.busy = None
                return self._assign(lane, at_s)
            case m.StreamRefused():
                ended = "removed" if stream.removed else "ended" if stream.live else "interrupted"
                return self._close(stream, "failed" if event.error else ended, event.error or "", at_s)
            case m.StreamWritten():
                return self._written(stream, event, at_s)
        return []

    def _written(self, stream: Stream, event: m.StreamWritten, at_s: float) -> list[Action]:
        actions: list[Action] = []
        if event.output is not None:
            stream.outputs.append(event.output)
            note = f" ({event.note})" if event.note else ""
            actions.append(Tell(f"{stream.name}: {event.frames} frames written to {event.output}{note}"))
        stream.corrupt = max(stream.corrupt, event.corrupt)
        if not stream.live:
            stream.frames, stream.failed, stream.statistics = event.frames, event.failed, event.statistics
        if event.error:
            stream.last_warning = event.error
        if not event.last:
            return actions
        ended = "removed" if stream.removed else "ended" if stream.live else "interrupted"
        state = "failed" if event.error else ended if event.interrupted else "finished"
        reason = event.error or (_LATER if state == "interrupted" else "")
        return [*actions, *self._close(stream, state, reason, at_s)]

    def _close(self, stream: Stream, state: str, reason: str, at_s: float) -> list[Action]:
        stream.change(state, reason, at_s)
        stream.over = True
        lane = self.lanes[stream.lane]
        if stream.number in lane.streams:
            lane.streams.remove(stream.number)
        lane.busy = None if lane.busy == stream.number else lane.busy
        if stream.live:
            tally = self._seat_left(stream.lane, stream.seat)
            # What is under way now was on its way through a lane that has died.
            stream.tally = dataclasses.replace(tally, failed=tally.failed + max(0, tally.under_way))
        if stream.removed:
            self._forget(stream.name)
        said = f"{stream.name}: {state}" + (f": {reason}" if reason else "")
        return [Warn(said) if state == "failed" else Tell(said), *self._assign(lane, at_s), *self._stop_when_over(at_s)]

    # The end

    def _stop_when_over(self, at_s: float) -> list[Action]:
        over = all(stream.over for stream in self.streams.values())
        return self._exit(at_s) if self._stopping and over and not self._exiting else []

    def _cut_off(self, at_s: float) -> list[Action]:
        """There is no time left for what is under way."""
        reason = f"not finished within {self._limits.drain_s:g} s; it goes on from its last checkpoint, if it has one"
        left = [stream for stream in self.streams.values() if not stream.over]
        return [action for stream in left for action in self._close(stream, "interrupted", reason, at_s)]

    def _exit(self, at_s: float) -> list[Action]:
        """Send everyone home; whoever has no ears yet is killed."""
        self._exiting = self._stopping = self.draining = True
        self._deadline_s = at_s + self._limits.exit_s
        return [*self.groups.send_home()]

    def _kill_all(self) -> list[Action]:
        self._exiting = self._stopping = self.draining = True
        self._deadline_s = float("inf")
        return [*self.groups.kill_all()]

    def is_whole(self, *, but_for_new: bool = False) -> bool:
        """Whether every group that was started is up; `but_for_new`: those apart that start for the first time."""
        groups = self.groups
        names = [name for name in self.topology.groups() if name in groups]
        return all(
            groups.phase(name) is Phase.UP
            or (but_for_new and groups.phase(name) is Phase.STARTING and not groups.restarts(name))
            for name in names
        )
