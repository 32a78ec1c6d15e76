"""What a live source does next: a pure state machine of events in, actions out; it knows no clock, thread or socket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Action", "Close", "Event", "Happened", "Open", "Patience", "SourceMachine", "SourceState", "Tell"]


class SourceState(StrEnum):
    """Where a source stands."""

    CONNECTING = "connecting"  # until its first picture
    STREAMING = "streaming"
    STALLED = "stalled"  # connected, but silent
    BACKING_OFF = "backing_off"
    PAUSED = "paused"  # on request, and disconnected
    STOPPED = "stopped"  # for good


class Happened(StrEnum):
    """What a source can meet."""

    START = "start"
    OPENED = "opened"
    PICTURE = "picture"
    OPEN_FAILED = "open failed"
    REFUSED = "refused"  # wrong user or password: trying again soon only gets the account locked
    READ_FAILED = "read failed"
    END = "end of file"
    TIMER = "timer"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened at a monotonic time; `reason` is for people and holds no secret."""

    kind: Happened
    at_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """Connect."""


@dataclass(frozen=True, slots=True)
class Close:
    """Give the connection up."""


@dataclass(frozen=True, slots=True)
class Tell:
    """The state has changed, or what keeps it has."""

    state: SourceState
    reason: str


Action = Open | Close | Tell


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the machine waits for what, in seconds.

    `ladder_s` are the waits before the next attempt, each spread by `jitter` to both sides so that the cameras of
    one failed switch do not all come back at once. The ladder begins anew after `good_pictures` pictures of one
    connection, or any over `good_s`: a camera that dies right after its first picture goes on backing off.
    """

    ladder_s: tuple[float, ...] = (1.0, 5.0, 10.0, 60.0)
    jitter: float = 0.25
    good_pictures: int = 10
    good_s: float = 5.0
    stalled_after_s: float = 2.0
    picture_timeout_s: float = 5.0
    first_picture_timeout_s: float = 30.0


CONNECTED = frozenset({SourceState.CONNECTING, SourceState.STREAMING, SourceState.STALLED})


class SourceMachine:
    """One source. `deadline_s` is when a TIMER event is wanted; one that comes early does nothing.

    Parameters
    ----------
    finite : the end of the data, and any failure, is the end of the source (a pipe, a file)
    random : uniform numbers in [0, 1)
    """

    def __init__(self, patience: Patience, *, finite: bool, random: Callable[[], float]) -> None:
        self._patience = patience
        self._finite = finite
        self._random = random
        self._failures = 0  # since the last good pictures
        self._opened_s: float | None = None
        self._pictures = 0  # of this connection
        self._first_s = self._last_s = 0.0
        self._retry_s = 0.0
        self.state = SourceState.PAUSED

    @property
    def deadline_s(self) -> float | None:
        """The monotonic time of the next timer, None when only something else can happen."""
        patience = self._patience
        if self.state is SourceState.BACKING_OFF:
            return self._retry_s
        if self.state is SourceState.CONNECTING and self._opened_s is not None:
            return self._opened_s + patience.first_picture_timeout_s
        if self.state is SourceState.STREAMING:
            return self._last_s + min(patience.stalled_after_s, patience.picture_timeout_s)
        return self._last_s + patience.picture_timeout_s if self.state is SourceState.STALLED else None

    def handle(self, event: Event) -> list[Action]:
        """What is to be done now."""
        kind = event.kind
        if self.state is SourceState.STOPPED:
            return []
        if kind is Happened.STOP:
            return self._leave(SourceState.STOPPED, "on request")
        if kind is Happened.PAUSE:
            return [] if self.state is SourceState.PAUSED else self._leave(SourceState.PAUSED, "on request")
        if kind in (Happened.START, Happened.RESUME):
            if self.state is not SourceState.PAUSED:
                return []
            self._failures = 0  # whoever asks for it knows that something has changed
            return self._connect("")
        if kind is Happened.TIMER:
            return self._timer(event.at_s)
        if self.state not in CONNECTED:
            return []
        if kind is Happened.OPENED:
            self._opened_s = event.at_s
            return []
        if kind is Happened.PICTURE:
            return self._picture(event.at_s)
        return self._fail(event)

    def _connect(self, reason: str) -> list[Action]:
        self._opened_s, self._pictures = None, 0
        self.state = SourceState.CONNECTING
        return [Tell(self.state, reason), Open()]

    def _leave(self, state: SourceState, reason: str) -> list[Action]:
        close: list[Action] = [Close()] if self.state in CONNECTED else []
        self.state = state
        return [*close, Tell(state, reason)]

    def _picture(self, at_s: float) -> list[Action]:
        patience = self._patience
        self._pictures += 1
        if self._pictures == 1:
            self._first_s = at_s
        self._last_s = at_s
        if self._pictures >= patience.good_pictures or at_s - self._first_s >= patience.good_s:
            self._failures = 0
        if self.state is SourceState.STREAMING:
            return []
        self.state = SourceState.STREAMING
        return [Tell(self.state, "")]

    def _timer(self, at_s: float) -> list[Action]:
        deadline_s = self.deadline_s
        if deadline_s is None or at_s < deadline_s:
            return []
        if self.state is SourceState.BACKING_OFF:
            return self._connect(f"attempt {self._failures + 1}")
        if self.state is SourceState.STREAMING and at_s < self._last_s + self._patience.picture_timeout_s:
            self.state = SourceState.STALLED
            return [Tell(self.state, f"no picture for {at_s - self._last_s:.1f} s")]
        since_s = self._opened_s if self._opened_s is not None and not self._pictures else self._last_s
        return self._fail(Event(Happened.READ_FAILED, at_s, f"no picture for {at_s - since_s:.1f} s"))

    def _fail(self, event: Event) -> list[Action]:
        if self._finite:
            return self._leave(SourceState.STOPPED, event.reason)
        ladder = self._patience.ladder_s
        rung = len(ladder) - 1 if event.kind is Happened.REFUSED else min(self._failures, len(ladder) - 1)
        wait_s = ladder[rung] * (1 + self._patience.jitter * (2 * self._random() - 1))
        self._failures += 1
        self._retry_s = event.at_s + wait_s
        return self._leave(SourceState.BACKING_OFF, f"{event.reason}; next attempt in {wait_s:.1f} s")
