"""Which groups of workers are alive, as a pure state machine: start-up, liveness, falls, restarts with back-off.

The workers of a group live and die together. When one ends, faults or falls silent, the others are killed, and when all
are gone the group is started again, as long as its budget lasts.

    STARTING --all ready and connected--> UP
        |                                  |   a worker ended, faulted or fell silent: the others are killed
        +----------------------------------+--> FALLING --all gone--> WAITING --back-off over--> STARTING
                                                                        +--budget spent--> LOST
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TypeAlias

from auflow import errors
from auflow.errors import AuflowError, StageError
from auflow.flow.events import Exited, Fork, Kill, NurseryEnded, ResetRing, Send, Tick, Warn
from auflow.flow.topology import Role, Worker, birth_order, group_name
from auflow.transport import messages as m
from auflow.transport.faults import PeerGoneError

__all__ = ["Down", "Groups", "Limits", "Lost", "Member", "Outcome", "Phase", "Reaction", "Up"]


@dataclass(frozen=True, slots=True)
class Limits:
    """When patience ends, in seconds, and how often a group is started again."""

    startup_s: float = 300.0  # from fork to ready; compiling every kernel on a slow machine is part of it
    silence_s: float = 30.0  # of a ready worker
    silence_per_frame_s: float = 0.01  # more for the offline pass and the writing of a long stream
    stuck_s: float = 120.0  # a group that has work and gets nowhere, however much its workers beat
    suspicion_s: float = 0.3  # for the death that a lost peer points to, or for what an exit code 1 is about
    back_off_s: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # by the number of falls in the window
    window_s: float = 300.0
    budget: int | None = 8  # restarts in the window; None: any number
    gives_up: bool = True  # False: a group whose budget is spent waits until its window has passed
    drain_s: float = 4.5  # after Ctrl-C, before SIGKILL
    exit_s: float = 2.0  # after Exit, before SIGKILL


class Phase(Enum):
    """Of a group."""

    STARTING = auto()
    UP = auto()
    FALLING = auto()
    WAITING = auto()
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Up:
    """All workers of a group are ready and connected."""

    group: str


@dataclass(frozen=True, slots=True)
class Down:
    """A group has fallen and will be started again; `stream` and `frame` are what the culprit worked on, or -1."""

    group: str
    role: Role  # of the culprit
    cause: str
    stream: int = -1
    frame: int = -1


@dataclass(frozen=True, slots=True)
class Lost:
    """A group has fallen and stays down."""

    group: str
    error: AuflowError
    cause: Down | None = None


Outcome: TypeAlias = Up | Down | Lost
Reaction: TypeAlias = Outcome | Fork | Kill | ResetRing | Warn


@dataclass(slots=True)
class Member:
    """One worker of a group, in its present incarnation."""

    worker: Worker
    heard_s: float = 0.0
    forked: bool = False
    connected: bool = False
    ready: bool = False
    gone: bool = False
    killed: bool = False  # by us
    progress: int = 0  # what it has done since it began, as it said last
    frames: int = 0  # of its stream, as it said last

    @property
    def alive(self) -> bool:
        """Has been asked for, and is not known to be gone."""
        return self.forked and not self.gone


@dataclass(slots=True)
class _Group:
    name: str
    members: dict[str, Member]
    phase: Phase = Phase.WAITING
    incarnation: int = -1
    start_at_s: float = 0.0
    falls_s: list[float] = field(default_factory=list)  # when, within the window
    culprit: Down | None = None
    silent: str = ""  # the worker that was killed because it said nothing: what it worked on shows when it is gone
    suspicion: tuple[Down, str, float] | None = None  # its traceback, and when it counts as the cause itself
    progressed_s: float = 0.0  # when one of its workers had done something, or had nothing to do
    restarts: int = 0


class Groups:
    """All groups of workers.

    Parameters
    ----------
    limits : of patience and of restarts
    is_busy : whether a group has work, so that it should get somewhere
    """

    def __init__(self, limits: Limits = Limits(), is_busy: Callable[[str], bool] = lambda _: False) -> None:
        self._limits = limits
        self._is_busy = is_busy
        self._groups: dict[str, _Group] = {}
        self._stopped = False

    def add(self, name: str, workers: Iterable[Worker], at_s: float) -> list[Reaction]:
        """Start a group."""
        group = _Group(name, {worker.name: Member(worker) for worker in workers})
        self._groups[name] = group
        return self._start(group, at_s)

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def phase(self, name: str) -> Phase:
        """Of a group."""
        return self._groups[name].phase

    def restarts(self, name: str) -> int:
        """How often a group was started again."""
        return self._groups[name].restarts

    def members(self) -> Iterator[Member]:
        """Of all groups."""
        for group in self._groups.values():
            yield from group.members.values()

    def member(self, worker: str) -> Member:
        """By its name."""
        return self._group_of(worker).members[worker]

    def incarnation(self, worker: str) -> int:
        """How often the worker's group was started before; what an earlier one says is of no interest any more."""
        try:
            group = self._groups.get(_group_of_name(worker))
        except ValueError:  # no name of a worker: a message from who knows where
            return -1
        return -1 if group is None else group.incarnation

    def _group_of(self, worker: str) -> _Group:
        return self._groups[_group_of_name(worker)]

    def stop_restarts(self) -> None:
        """The end has begun: whoever falls now stays down."""
        self._stopped = True

    def send_home(self) -> list[Send | Kill]:
        """The end of all: whoever has no ears yet is killed."""
        self.stop_restarts()
        return [
            Send(member.worker.name, m.Exit()) if member.connected else Kill(member.worker.name)
            for member in self.members()
            if member.alive
        ]

    def kill_all(self) -> list[Kill]:
        """The end of all, now."""
        self.stop_restarts()
        return [Kill(member.worker.name) for member in self.members() if member.alive]

    def handle(
        self, event: m.Connected | m.Ready | m.Beat | m.Fault | Exited | NurseryEnded | Tick, at_s: float
    ) -> list[Reaction]:
        """Take in one event; what is to be done about it, in order."""
        match event:
            case Tick():
                return [reaction for group in self._groups.values() for reaction in self._tick(group, at_s)]
            case NurseryEnded():
                return self._nursery_ended(event, at_s)
            case Exited():
                return self._exited(self._group_of(event.worker), event, at_s)
            case m.Fault():
                return self._fault(self._group_of(event.worker), event, at_s)
        member = self.member(event.worker)
        member.heard_s = at_s
        if isinstance(event, m.Beat):
            if event.progress != member.progress:
                self._group_of(event.worker).progressed_s = at_s
            member.frames, member.progress = event.frames, event.progress
            return []
        if isinstance(event, m.Connected):
            member.connected = True
        else:
            member.ready = True
        return self._up_if_all(self._group_of(event.worker))

    def heard(self, worker: str, at_s: float) -> None:
        """A message of another kind came from a worker."""
        self.member(worker).heard_s = at_s

    def forgive(self, name: str, falls: int) -> None:
        """Forget the last falls of a group: what they were about is out of the way."""
        group = self._groups[name]
        group.falls_s = group.falls_s[:-falls]

    def restart(self, name: str, cause: Down, at_s: float) -> list[Reaction]:
        """Bring a group down on purpose, so that it starts anew."""
        return self._fall(self._groups[name], cause, at_s)

    # Rising

    def _start(self, group: _Group, at_s: float) -> list[Reaction]:
        group.phase, group.culprit, group.suspicion, group.silent = Phase.STARTING, None, None, ""
        group.incarnation += 1
        group.progressed_s = at_s
        group.restarts = group.incarnation
        for member in group.members.values():
            group.members[member.worker.name] = Member(member.worker, heard_s=at_s, forked=True)
        workers = birth_order(member.worker for member in group.members.values())
        forks: list[Reaction] = [Fork(worker, group.incarnation) for worker in workers]
        lane = workers[0].number
        is_lane = group.name == group_name(Role.CLNF, lane)
        return [ResetRing(lane), *forks] if is_lane and group.incarnation else forks

    @staticmethod
    def _up_if_all(group: _Group) -> list[Reaction]:
        is_up = all(member.ready and member.connected for member in group.members.values())
        if group.phase is not Phase.STARTING or not is_up:
            return []
        group.phase = Phase.UP
        return [Up(group.name)]

    # Falling

    def _exited(self, group: _Group, event: Exited, at_s: float) -> list[Reaction]:
        member = group.members[event.worker]
        member.gone = True
        reactions: list[Reaction] = []
        if event.worker == group.silent and group.culprit is not None:
            group.culprit = replace(group.culprit, stream=event.stream, frame=event.frame)
        if not member.killed and group.phase is not Phase.LOST:
            text = f"{event.worker} {how_it_ended(event.code)}"
            cause = Down(group.name, member.worker.role, text, event.stream, event.frame)
            if event.code >= 0 and not self._stopped:
                # It left by itself, so it has told why, on another way: the news may be a moment behind.
                group.suspicion = group.suspicion or (cause, "", at_s + self._limits.suspicion_s)
            else:
                reactions = self._fall(group, cause, at_s)
        return reactions + self._settle(group, at_s)

    def _nursery_ended(self, event: NurseryEnded, at_s: float) -> list[Reaction]:
        reactions: list[Reaction] = []
        for group in self._groups.values():
            alive = [member for member in group.members.values() if member.alive]
            for member in alive:
                member.gone = True
            if alive and group.phase is not Phase.LOST:
                cause = f"the process that starts all workers {how_it_ended(event.code)}"
                group.culprit = group.culprit or Down(group.name, alive[0].worker.role, cause)
                reactions += self._settle(group, at_s)
        return reactions

    def _fault(self, group: _Group, fault: m.Fault, at_s: float) -> list[Reaction]:
        """A worker reported what broke it. Its own kind of error is nothing that a restart mends."""
        member = group.members[fault.worker]
        member.heard_s = at_s
        text = f"{fault.worker} failed: {fault.text}"
        cause = Down(group.name, member.worker.role, text, fault.stream, fault.frame)
        if group.phase not in (Phase.STARTING, Phase.UP):
            return []  # it misses those who have fallen already
        if fault.kind == PeerGoneError.__name__:
            # Its peer has died, and that is the news to come; if it does not come, this was the news.
            if group.suspicion is None or not group.suspicion[1]:
                group.suspicion = (cause, fault.traceback, at_s + self._limits.suspicion_s)
            return []
        kind = getattr(errors, fault.kind, None)
        if isinstance(kind, type) and issubclass(kind, AuflowError) and not issubclass(kind, StageError):
            return [*self._kill(group), *self._lose(group, kind(fault.text), cause)]
        return [_told(cause, fault.traceback), *self._fall(group, cause, at_s)]

    def _fall(self, group: _Group, cause: Down, at_s: float) -> list[Reaction]:
        """The others go too; the first cause that is no mere consequence is the one to tell."""
        if group.phase not in (Phase.STARTING, Phase.UP):
            return []
        group.culprit, group.phase = cause, Phase.FALLING
        return [*self._kill(group), *self._settle(group, at_s)]

    @staticmethod
    def _kill(group: _Group) -> list[Reaction]:
        alive = [member for member in group.members.values() if member.alive and not member.killed]
        for member in alive:
            member.killed = True
        return [Kill(member.worker.name) for member in alive]

    def _lose(self, group: _Group, error: AuflowError, cause: Down) -> list[Reaction]:
        group.phase, group.culprit = Phase.LOST, None
        return [Lost(group.name, error, cause)]

    def _settle(self, group: _Group, at_s: float) -> list[Reaction]:
        """Once all of a fallen group are gone: when it starts again, or that it does not."""
        cause = group.culprit
        if cause is None or any(member.alive for member in group.members.values()):
            return []
        limits = self._limits
        group.culprit = None
        group.falls_s = [fall for fall in group.falls_s if fall > at_s - limits.window_s] + [at_s]
        if self._stopped:
            return self._lose(group, StageError(cause.cause), cause)
        if limits.budget is not None and len(group.falls_s) > limits.budget:
            if limits.gives_up:
                text = f"{cause.cause}; it was started again {limits.budget} times within {limits.window_s:.0f} s"
                return self._lose(group, StageError(text), cause)
            wait_s = max(group.falls_s[0] + limits.window_s - at_s, limits.back_off_s[-1])
        else:
            wait_s = limits.back_off_s[min(len(group.falls_s), len(limits.back_off_s)) - 1]
        group.phase = Phase.WAITING
        group.start_at_s = at_s + wait_s
        return [cause, *self._tick(group, at_s)]

    # Time

    def _tick(self, group: _Group, at_s: float) -> list[Reaction]:
        if group.phase is Phase.WAITING and at_s >= group.start_at_s and not self._stopped:
            return self._start(group, at_s)
        if group.phase not in (Phase.STARTING, Phase.UP) or self._stopped:
            return []
        if group.suspicion is not None and at_s >= group.suspicion[2]:
            suspected, trace, _ = group.suspicion
            return [*([_told(suspected, trace)] if trace else []), *self._fall(group, suspected, at_s)]
        if group.phase is Phase.STARTING or not self._is_busy(group.name):
            group.progressed_s = at_s
        frames = max(member.frames for member in group.members.values())
        limit_s = self._limits.stuck_s + self._limits.silence_per_frame_s * frames
        if at_s - group.progressed_s > limit_s:
            worker = next(iter(group.members.values())).worker
            return self._fall(
                group, Down(group.name, worker.role, f"{group.name} got nowhere for {limit_s:.0f} s"), at_s
            )
        for member in group.members.values():
            limit_s = self._patience_s(member)
            if at_s - member.heard_s > limit_s:
                what = "gave no sign of life" if member.ready else "was not ready to work"
                cause = f"{member.worker.name} {what} for {limit_s:.0f} s"
                group.silent = member.worker.name
                return self._fall(group, Down(group.name, member.worker.role, cause), at_s)
        return []

    def _patience_s(self, member: Member) -> float:
        if not member.ready:
            return self._limits.startup_s
        return self._limits.silence_s + self._limits.silence_per_frame_s * member.frames


def _told(cause: Down, trace: str) -> Warn:
    return Warn(f"{cause.cause.partition(' failed:')[0]} failed with\n{trace.rstrip()}")


def how_it_ended(code: int) -> str:
    """An exit code in words; a negative one is minus the signal."""
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _group_of_name(worker: str) -> str:
    role, _, number = worker.rpartition("-")
    return group_name(Role(role), int(number))
