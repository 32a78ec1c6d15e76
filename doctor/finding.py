"""What the doctor says: findings on the machine, and what auflow would use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Choice", "Finding", "State"]

State = Literal["fine", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    area: str  # a word, the same in every version: it is the group that this stands in
    name: str  # of the thing, within its area
    state: State  # note: worth knowing, auflow works all the same; broken: something does not work
    what: str  # what was found, a sentence or less
    mend: str = ""  # what to type or to do; "" where nothing need be done, or nothing helps


@dataclass(frozen=True, slots=True)
class Choice:
    """What auflow would use for one part of its work."""

    part: str  # a stage, or "overlay", "jobs"
    use: str
    why: str
