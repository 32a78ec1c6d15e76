"""What a service knows of one stream, and of one lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from auflow.errors import UsageError
from auflow.flow.events import Action, Tell, Warn
from auflow.flow.job import StreamJob
from auflow.flow.topology import Role, Worker, group_name
from auflow.stages.statistics import StreamStatistics
from auflow.transport import messages as m
from auflow.transport.ring import Tally

__all__ = ["Lane", "Stream", "StreamEvent", "place_for"]

StreamEvent: TypeAlias = (
    m.Note
    | m.SourceChanged
    | m.StreamOpened
    | m.StreamProgress
    | m.StreamRefused
    | m.StreamDecoded
    | m.StreamWritten
    | m.StreamFailed
)


@dataclass(slots=True)
class Stream:
    """One stream of the service."""

    number: int
    name: str
    job: StreamJob
    state: str = "waiting"
    reason: str = ""
    since_s: float = 0.0
    lane: int = -1
    seat: int = -1
    removed: bool = False  # ends, and is forgotten then
    over: bool = False
    paused: bool = False
    restarts: int = 0
    width_px: int = 0
    height_px: int = 0
    faces: int = 0
    fps: float = 0.0
    captured_s: float = 0.0
    clock: str = ""
    statistics: StreamStatistics = field(default_factory=StreamStatistics)
    frames: int = 0  # of a file: with rows, as the sink said last
    failed: int = 0
    corrupt: int = 0
    outputs: deque[str] = field(default_factory=lambda: deque(maxlen=10))  # the last files that were written
    last_warning: str = ""  # what went wrong and did not end it
    tally: Tally | None = None  # of a live stream that is over: its seat may be another's by now
    deaths_s: list[float] = field(default_factory=list)  # when it ended a worker of its lane, of late

    @property
    def live(self) -> bool:
        """Whether its policy is `live`."""
        return self.job.live is not None

    def change(self, state: str, reason: str, at_s: float) -> None:
        """Be in a state."""
        if state != self.state:
            self.since_s = at_s
        self.state, self.reason = state, reason

    def source_changed(self, event: m.SourceChanged, at_s: float) -> list[Action]:
        """What the reader of a live source says; the log is told."""
        if event.transition and self.state != "ending":
            self.change(event.state, event.reason, at_s)
        said = f"{self.name}: {event.state}" if event.transition else self.name
        text = f"{said}: {event.reason}" if event.reason else said
        return [Warn(text) if event.state in ("stalled", "backing_off") else Tell(text)]


@dataclass(slots=True)
class Lane:
    """One lane, with its place for live streams or for files."""

    number: int
    live: bool
    seats: int
    ready: bool = False  # its decoder takes orders
    streams: list[int] = field(default_factory=list)
    busy: int | None = None  # file lanes: the stream that decode works on

    @property
    def name(self) -> str:
        """Of its group."""
        return group_name(Role.CLNF, self.number)

    @property
    def decoder(self) -> str:
        """The worker that takes the orders."""
        return Worker(Role.DECODE, self.number).name


def place_for(
    lanes: Sequence[Lane], live: bool, is_lost: Callable[[Lane], bool], is_started: Callable[[Lane], bool]
) -> Lane:
    """The lane for another stream: the emptiest; of those as empty, one that runs already.

    Raises
    ------
    UsageError
        There is no room.
    """
    of_kind = [lane for lane in lanes if lane.live == live]
    alive = [lane for lane in of_kind if not is_lost(lane)]
    fitting = [lane for lane in alive if not live or len(lane.streams) < lane.seats]
    if not fitting:
        what, key = ("live", "live_lanes or streams_per_lane") if live else ("file", "file_lanes")
        lost = len(of_kind) - len(alive)
        given_up = f" ({lost} of {len(of_kind)} lanes have been given up: see the log)" if lost else ""
        raise UsageError(
            f"there is no room for another {what} stream{given_up}; raise workers.{key}, or remove a stream"
        )
    return min(fitting, key=lambda lane: (len(lane.streams), not is_started(lane), lane.number))
