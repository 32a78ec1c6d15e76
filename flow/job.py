"""What a lane is told about one stream: a frozen record that travels as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from auflow.stages.settings import StageSettings

__all__ = ["LiveJob", "StreamJob", "settings_from", "with_tuples"]


@dataclass(frozen=True, slots=True)
class LiveJob:
    """What only a live stream has."""

    spec: dict[str, Any]  # the fields of `auflow.stages.decode.live.LiveSpec`
    seat: int  # its place in the ring's tallies
    max_age_s: float  # older pictures are dropped before any work is done on them
    rotate_s: float  # length of a segment of the CSV
    checkpoint_s: float  # how often the medians are kept
    jsonl: str  # path of the file of JSON lines, "" for none
    paused: bool


@dataclass(frozen=True, slots=True)
class StreamJob:
    """One stream."""

    name: str  # as the user knows it: the path that was given, or the stream's name
    source: str  # path of a file; of a live stream its address without any password
    output: str  # path of the CSV, with {start} for the moment when a segment begins; "" for none
    state: str  # path beside which the work folder with the checkpoint lies
    settings: StageSettings
    models_root: str
    checkpoint_s: float = 1.0  # at least so long between two checkpoints of a file
    keep: bool = False  # when it is drained its checkpoint stays, for the next start to go on from
    once: bool = False  # a pipe: what was read of it is gone, so there is nothing to go on from
    resume: bool = False  # go on from the checkpoint, if there is one that fits
    quarantined: tuple[int, ...] = ()  # frames that no stage may look at
    live: LiveJob | None = None
    label: str = "files"  # what the metrics call it: of few values, so a service's streams by their names, files not

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> StreamJob:
        """Back from `to_json`."""
        fields = json.loads(text)
        live = fields.pop("live")
        return cls(
            **{
                **fields,
                "settings": settings_from(fields["settings"]),
                "quarantined": tuple(fields["quarantined"]),
                "live": None if live is None else LiveJob(**live),
            }
        )


def settings_from(fields: dict[str, Any]) -> StageSettings:
    """Settings whose fields have been through JSON."""
    return StageSettings(**with_tuples(fields))


def with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples: JSON knows only the former, frozen records have the latter."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
