"""What `auflow tune` has found to be best here, as far as the doctor tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from auflow.backends.names import BackendName, StageName

__all__ = ["Tuned"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A profile, or none."""

    path: str = ""  # of its file; "" where there is none
    ignored: str = ""  # why the one that is there is not used, "" where it is or where there is none
    backends: Mapping[StageName, BackendName] = field(default_factory=dict)  # empty without one that is used
    jobs: int | None = None  # None: not measured
    measured: str = ""  # when
