"""A supervisor that tests play events to: no process, no socket, no clock."""

from __future__ import annotations

from dataclasses import replace

from auflow.flow.events import (
    Action,
    Event,
    Exited,
    Finished,
    Fork,
    Send,
    Warn,
)
from auflow.flow.job import StreamJob
from auflow.flow.supervision import Limits, Supervisor
from auflow.flow.topology import Topology
from auflow.report import StreamSummary
from auflow.stages.records import SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.statistics import StreamStatistics
from auflow.transport import messages as m

LANE = ["detect-0", "decode-0", "sink-0", "au-0", "clnf-0"]
LIMITS = Limits(startup_s=50, silence_s=20, drain_s=4, exit_s=2, back_off_s=(0.0, 1.0), budget=3)


def info(path: str, frames: int | None = 10) -> SourceInfo:
    return SourceInfo(path, "video", 8, 6, 25.0, frames)


def job(number: int, **changes: object) -> StreamJob:
    first = StreamJob(f"{number}.mp4", f"{number}.mp4", f"{number}.csv", f"{number}.csv", StageSettings(), "/m")
    return replace(first, **changes)  # type: ignore[arg-type]


def assign(number: int, lane: int = 0, **changes: object) -> Send:
    return Send(f"decode-{lane}", m.Assign(number, job(number, **changes).to_json()))


def written(stream: int, frames: int = 10, **changes: object) -> m.StreamWritten:
    fields = {
        "worker": "sink-0",
        "stream": stream,
        "segment": 0,
        "last": True,
        "output": f"{stream}.csv",
        "frames": frames,
        "failed": 0,
        "dropped": 0,
        "successes": 7,
        "corrupt": 0,
        "interrupted": False,
        "error": None,
        "exit_code": 0,
        "statistics": StreamStatistics(),
        "note": "",
    }
    return m.StreamWritten(**{**fields, **changes})  # type: ignore[arg-type]


class Game:
    """A supervisor and the time."""

    def __init__(self, inputs: int = 1, lanes: int = 1, **changes: object) -> None:
        self.topology = Topology(lanes, 1)
        self.supervisor = Supervisor(self.topology, [job(n, **changes) for n in range(inputs)], 0.0, LIMITS)
        self.names = [worker.name for group in self.topology.groups().values() for worker in group]
        self.now = 0.0
        self.supervisor.begin(0.0)

    def __call__(self, *events: Event, after_s: float = 0.1) -> list[Action]:
        actions: list[Action] = []
        for event in events:
            self.now += after_s
            actions += self.supervisor.handle(event, self.now)
        return actions

    def ready(self, lane: int | None = None) -> list[Action]:
        """Bring everyone, or one lane, up; the first assignments."""
        names = [name for name in self.names if lane is None or (name.endswith(f"-{lane}") and "detect" not in name)]
        self(*(m.Connected(name) for name in names))
        return self(*(m.Ready(name) for name in names))

    def all_exit(self, code: int = 0) -> None:
        self(*(Exited(name, code) for name in self.names))

    def fall(self, worker: str = "clnf-0", stream: int = 0, frame: int = 7) -> list[Action]:
        """A worker is killed, and its group with it."""
        lane = worker[-1]
        others = [name for name in self.names if name.endswith(f"-{lane}") and name != worker and "detect" not in name]
        actions = self(Exited(worker, -9, stream, frame))
        if "detect" in worker:
            return actions
        return actions + self(*(Exited(name, -9, stream, frame) for name in others))

    def finished(self, actions: list[Action]) -> StreamSummary:
        """The only end of an input among them."""
        (summary,) = [action.summary for action in actions if isinstance(action, Finished)]
        return summary


def forked(actions: list[Action]) -> list[str]:
    return [action.worker.name for action in actions if isinstance(action, Fork)]


def warned(actions: list[Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, Warn)]
