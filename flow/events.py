"""What can happen to a run, and what can be done about it: the events and actions of `auflow.flow.supervision`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from auflow.flow.topology import Worker
from auflow.report import StreamSummary
from auflow.stages.records import SourceInfo
from auflow.transport import messages as m

__all__ = [
    "Action",
    "Advanced",
    "Event",
    "Exited",
    "Finished",
    "Fork",
    "Interrupted",
    "Kill",
    "NurseryEnded",
    "ResetRing",
    "Send",
    "Started",
    "Tell",
    "Tick",
    "Warn",
    "WorkerMessage",
]


# Events that are no messages


@dataclass(frozen=True, slots=True)
class Exited:
    """A worker process is gone; `stream` and `frame` are what it worked on, -1 when unknown."""

    worker: str
    code: int  # negative: minus the signal
    stream: int = -1
    frame: int = -1


@dataclass(frozen=True, slots=True)
class NurseryEnded:
    """The nursery is gone, and so are all workers: it was their parent."""

    code: int  # negative: minus the signal


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C or SIGTERM."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


WorkerMessage: TypeAlias = (
    m.Connected
    | m.Ready
    | m.Beat
    | m.Note
    | m.SourceChanged
    | m.StreamOpened
    | m.StreamRefused
    | m.StreamDecoded
    | m.StreamProgress
    | m.StreamWritten
    | m.StreamFailed
    | m.Fault
)
Event: TypeAlias = WorkerMessage | Exited | NurseryEnded | Interrupted | Tick


# Actions


@dataclass(frozen=True, slots=True)
class Send:
    """Give a worker an order."""

    worker: str
    order: m.Assign | m.Drain | m.Pause | m.ServiceStatus | m.Skip | m.Exit


@dataclass(frozen=True, slots=True)
class Fork:
    """Have a worker made."""

    worker: Worker
    incarnation: int  # of its group


@dataclass(frozen=True, slots=True)
class ResetRing:
    """Nobody of a lane is alive: all its slots are free."""

    lane: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL a worker."""

    worker: str


@dataclass(frozen=True, slots=True)
class Started:
    """Tell the user that an input was opened."""

    info: SourceInfo


@dataclass(frozen=True, slots=True)
class Advanced:
    """Tell the user how far an input is."""

    path: str
    frames: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Tell the user how an input ended."""

    summary: StreamSummary


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell the user something that does not end the run."""

    text: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the user something that is as it should be."""

    text: str


Action: TypeAlias = Send | Fork | Kill | ResetRing | Started | Advanced | Finished | Tell | Warn
