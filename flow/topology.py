"""Which processes a run has, what they are called and how they are joined.

A lane is one decode, one CLNF, one AU and one sink worker around one frame ring; all lanes share the detection
workers. A lane works on one file after the other, or on several live streams at once. Its four workers live and die
together: what one of them knows means nothing to a new neighbour.

    decode-0 ==> clnf-0 ==> au-0 ==> sink-0        ==>  frames, upstream binds, downstream grants credit
       ^           |                    |
       |           +--> detect-0        |          -->  a frame by its slot, boxes back
       +------------- released ---------+
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from auflow.flow.job import settings_from, with_tuples
from auflow.options import RunOptions
from auflow.stages.settings import StageSettings
from auflow.telemetry.probe import Telemetry

__all__ = [
    "CONTROL",
    "BusAddress",
    "Role",
    "Topology",
    "WebAddress",
    "Worker",
    "WorkerConfig",
    "birth_order",
    "bus_name",
    "edge_name",
    "group_name",
    "plan",
    "released_name",
    "web_name",
]

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
    BUS = "bus"
    WEB = "web"


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
    bus: bool = False
    web: bool = False

    def groups(self) -> dict[str, tuple[Worker, ...]]:
        """The workers that live and die together, by the name of their group."""
        groups: dict[str, tuple[Worker, ...]] = {}
        for number in range(self.detectors):
            groups[group_name(Role.DETECT, number)] = (Worker(Role.DETECT, number),)
        if self.bus:
            groups[group_name(Role.BUS, 0)] = (Worker(Role.BUS, 0),)
        if self.web:
            groups[group_name(Role.WEB, 0)] = (Worker(Role.WEB, 0),)
        lane_roles = (Role.DECODE, Role.SINK, Role.AU, Role.CLNF)
        for lane in range(self.lanes):
            groups[group_name(Role.CLNF, lane)] = tuple(Worker(role, lane) for role in lane_roles)
        return groups


def group_name(role: Role, number: int) -> str:
    """The group of a worker: its lane; detection workers, the bus and the page are each one of their own."""
    return f"{role}-{number}" if role in (Role.DETECT, Role.BUS, Role.WEB) else f"lane-{number}"


def birth_order(workers: Iterable[Worker]) -> list[Worker]:
    """In the order of their birth: those for which the nursery has to load much come last."""
    order = (Role.DETECT, Role.BUS, Role.WEB, Role.DECODE, Role.SINK, Role.AU, Role.CLNF)
    return sorted(workers, key=lambda worker: (order.index(worker.role), worker.number))


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


def bus_name() -> str:
    """The socket at which the bus takes what the sinks publish."""
    return "bus"


def web_name() -> str:
    """The socket at which the live page takes what the sinks show."""
    return "web"


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where subscribers find the results of live streams."""

    address: str  # of ZeroMQ
    keys_dir: str  # of CurveZMQ; "" for none


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where browsers find the live page, and what opens it: at most one of the two last."""

    host: str  # without the brackets of IPv6
    port: int
    token_env: str = ""  # environment variable that holds the token
    token_file: str = ""  # file that holds it


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
    incarnation: int = 0  # of its group: how often that was started before
    detectors_at: tuple[str, ...] = ()  # addresses of detection processes on other hosts, which are asked instead
    detection_keys: str = ""  # folder of our keys for them
    bus: BusAddress | None = None  # where live results go, None where there is no bus
    telemetry: Telemetry = field(default_factory=Telemetry)
    web: WebAddress | None = None  # where the live page is, None where there is none

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerConfig:
        """Back from `to_json`."""
        fields = json.loads(text)
        settings, bus, web = settings_from(fields.pop("settings")), fields.pop("bus"), fields.pop("web")
        return cls(
            **with_tuples({**fields, "telemetry": Telemetry(**fields["telemetry"])}),
            settings=settings,
            bus=None if bus is None else BusAddress(**bus),
            web=None if web is None else WebAddress(**web),
        )

    @property
    def worker(self) -> Worker:
        """Which worker this is."""
        return Worker(Role(self.role), self.number)

    @property
    def models(self) -> Path:
        """The model store."""
        return Path(self.models_root)
