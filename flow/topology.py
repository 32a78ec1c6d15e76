"""Which processes a run has, what they are called and how they are joined.

A lane is one decode, one CLNF, one AU and one sink worker around one frame ring; all lanes share the detection
workers. One lane works on one input after the other.

    decode-0 ==> clnf-0 ==> au-0 ==> sink-0        ==>  frames, upstream binds, downstream grants credit
       ^           |                    |
       |           +--> detect-0        |          -->  a frame by its slot, boxes back
       +------------- released ---------+
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from auflow.options import RunOptions
from auflow.stages.settings import StageSettings

__all__ = ["CONTROL", "Role", "Topology", "Worker", "WorkerConfig", "edge_name", "plan", "released_name"]

CONTROL = "control"
RING_SLOTS = 10  # one in each of the four stages and what the windows hold; more only lets decode run further ahead
FIRST_SLOT_BYTES = 640 * 480 * 3  # the ring grows when a larger input comes
WINDOW = {"clnf": 4, "au": 2, "sink": 2}  # frames that may wait at or be in a stage


class Role(StrEnum):
    """What a worker process does."""

    DECODE = "decode"
    DETECT = "detect"
    CLNF = "clnf"
    AU = "au"
    SINK = "sink"


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process; `number` is its lane, or its place among the detection workers."""

    role: Role
    number: int

    @property
    def name(self) -> str:
        """As in messages, socket names and errors."""
        return f"{self.role}-{self.number}"


@dataclass(frozen=True, slots=True)
class Topology:
    """How many lanes and detection workers a run has."""

    lanes: int
    detectors: int

    def workers(self) -> tuple[Worker, ...]:
        """All workers in the order of their birth: those for which the nursery has to load much come last."""
        lanes = range(self.lanes)
        return (
            *(Worker(Role.DETECT, number) for number in range(self.detectors)),
            *(Worker(Role.DECODE, lane) for lane in lanes),
            *(Worker(Role.SINK, lane) for lane in lanes),
            *(Worker(Role.AU, lane) for lane in lanes),
            *(Worker(Role.CLNF, lane) for lane in lanes),
        )


def plan(options: RunOptions) -> Topology:
    """One lane per job but no idle ones; a detection worker per four lanes: a tracked face needs none for long."""
    lanes = max(1, min(options.jobs, len(options.inputs)))
    return Topology(lanes, -(-lanes // 4))


def edge_name(upstream: Role, lane: int) -> str:
    """The socket that `upstream` of the lane binds for its frames."""
    return f"{upstream}-{lane}.edge"


def released_name(lane: int) -> str:
    """The socket at which decode of the lane hears of slots that are free again."""
    return f"released-{lane}"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker process is told at its birth; whoever makes it fills in the descriptors."""

    role: str
    number: int
    lanes: int
    detectors: int
    run_dir: str
    life_fd: int  # reads end of file when the orchestrator is gone
    ring_fds: tuple[int, ...]  # of its lane; of every lane for detection
    models_root: str
    settings: StageSettings
    kit: str  # module that makes the stages

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerConfig:
        """Back from `to_json`."""
        fields = json.loads(text)
        settings = fields["settings"]
        for name in ("camera", "columns"):  # JSON knows no tuples
            settings[name] = None if settings[name] is None else tuple(settings[name])
        return cls(**{**fields, "ring_fds": tuple(fields["ring_fds"]), "settings": StageSettings(**settings)})

    @property
    def worker(self) -> Worker:
        """Which worker this is."""
        return Worker(Role(self.role), self.number)

    @property
    def models(self) -> Path:
        """The model store."""
        return Path(self.models_root)
