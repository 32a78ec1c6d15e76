"""A fleet that is told of events, with the time at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from auflow.flow.events import Action, Exited, Fork, Kill, Send, Tick
from auflow.flow.groups import Limits, Phase
from auflow.flow.job import LiveJob, StreamJob
from auflow.serve.fleet import Fleet
from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.statistics import StreamStatistics
from auflow.transport import messages as m
from auflow.transport.ring import Tally

LIMITS = Limits(
    startup_s=60.0, silence_s=10.0, back_off_s=(0.0, 1.0), window_s=100.0, budget=3, drain_s=5.0, exit_s=2.0
)
INFO = SourceInfo("a", "live", 64, 48, 0.0, None)
LANE = ("decode", "sink", "au", "clnf")


def job_of(name: str, *, live: bool, paused: bool = False) -> Callable[[int], StreamJob]:
    """What `Fleet.add` wants of a stream."""

    def make(seat: int) -> StreamJob:
        own = LiveJob({"name": name}, seat, 1.0, 0.0, 10.0, "", paused) if live else None
        return StreamJob(name, f"source of {name}", "out.csv", f"state/{name}", StageSettings(), "models", live=own)

    return make


class Driver:
    """A fleet and its clock."""

    def __init__(self, *, live: int = 1, file: int = 0, seats: int = 4, bus: bool = False, **limits: Any) -> None:
        values = {name: getattr(LIMITS, name) for name in LIMITS.__slots__} | limits
        self.tallies: dict[tuple[int, int], Tally] = {}
        self.taken: list[tuple[int, int]] = []
        self.fleet = Fleet(
            live_lanes=live,
            file_lanes=file,
            detectors=1,
            seats=seats,
            bus=bus,
            limits=Limits(**values),
            seat_taken=lambda lane, seat: self.taken.append((lane, seat)),
            seat_left=lambda lane, seat: self.tallies.get((lane, seat), Tally()),
        )
        self.at_s = 100.0
        self.seen: list[Action] = []
        self.note(self.fleet.begin(self.at_s))

    def note(self, actions: Sequence[Action]) -> list[Action]:
        self.seen += actions
        return list(actions)

    def tell(self, *events: Any, after_s: float = 0.0) -> list[Action]:
        """What the fleet does about these events."""
        self.at_s += after_s
        return self.note([action for event in events for action in self.fleet.handle(event, self.at_s)])

    def add(self, name: str, *, live: bool = True, paused: bool = False) -> list[Action]:
        return self.note(self.fleet.add(name, job_of(name, live=live, paused=paused), live, self.at_s))

    def remove(self, name: str) -> list[Action]:
        return self.note(self.fleet.remove(name, self.at_s))

    def pause(self, name: str, paused: bool = True) -> list[Action]:
        return self.note(self.fleet.pause(name, paused, self.at_s))

    def drain(self) -> list[Action]:
        return self.note(self.fleet.drain(self.at_s))

    def stop(self) -> list[Action]:
        return self.note(self.fleet.stop(self.at_s))

    def up(self, *workers: str) -> list[Action]:
        """These workers come up."""
        return [a for name in workers for a in self.tell(m.Ready(name), m.Connected(name))]

    def lane_up(self, lane: int = 0) -> list[Action]:
        return self.up(*(f"{role}-{lane}" for role in LANE))

    def all_up(self) -> list[Action]:
        return self.up(*(a.worker.name for a in self.seen if isinstance(a, Fork)))

    def die(self, worker: str, code: int = -9, stream: int = -1, frame: int = -1) -> list[Action]:
        """A worker dies, and those go that are killed for it."""
        actions = self.tell(Exited(worker, code, stream, frame))
        gone = [action.worker for action in actions if isinstance(action, Kill)]
        return actions + self.tell(*(Exited(name, -9) for name in gone))

    def crash_lane(self, lane: int = 0, **what: int) -> list[Action]:
        """It falls, and is up again."""
        return self.die(f"clnf-{lane}", **what) + self.tell(Tick(), after_s=2.0) + self.lane_up(lane)

    def written(self, name: str, **more: Any) -> list[Action]:
        stream = self.fleet.streams[name]
        usual: dict[str, Any] = {
            "worker": f"sink-{stream.lane}",
            "stream": stream.number,
            "segment": 0,
            "last": True,
            "output": "out.csv",
            "frames": 10,
            "failed": 0,
            "dropped": 0,
            "successes": 9,
            "corrupt": 0,
            "interrupted": False,
            "error": None,
            "exit_code": 0,
            "statistics": StreamStatistics(),
            "note": "",
        }
        return self.tell(m.StreamWritten(**{**usual, **more}))

    def decoded(self, name: str) -> list[Action]:
        stream = self.fleet.streams[name]
        return self.tell(m.StreamDecoded(f"decode-{stream.lane}", stream.number, 10))

    def source(self, name: str, state: str, reason: str = "") -> list[Action]:
        stream = self.fleet.streams[name]
        return self.tell(m.SourceChanged(f"decode-{stream.lane}", stream.number, state, reason, True))

    def state(self, name: str) -> str:
        return self.fleet.streams[name].state

    def phase(self, lane: int = 0) -> Phase:
        return self.fleet.groups.phase(f"lane-{lane}")


def assigned(actions: Sequence[Action]) -> list[tuple[str, int]]:
    """Which decoder was given which stream."""
    return [(a.worker, a.order.stream) for a in actions if isinstance(a, Send) and isinstance(a.order, m.Assign)]


def orders(actions: Sequence[Action]) -> list[tuple[str, object]]:
    """Which orders were given, but for assignments."""
    return [(a.worker, a.order) for a in actions if isinstance(a, Send) and not isinstance(a.order, m.Assign)]


def forked(actions: Sequence[Action]) -> list[str]:
    return [action.worker.name for action in actions if isinstance(action, Fork)]


def job_sent(actions: Sequence[Action], stream: int) -> StreamJob:
    """The job that a decoder was last given for a stream."""
    sent = [a.order for a in actions if isinstance(a, Send) and isinstance(a.order, m.Assign)]
    return StreamJob.from_json(next(order.job for order in reversed(sent) if order.stream == stream))
