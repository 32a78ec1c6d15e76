"""The records that the workers of a run have left (`auflow.telemetry.timeline`), read with a doubt about each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.telemetry.timeline import KINDS, MARK, RECORD, SUFFIX

__all__ = ["ROLES", "Track", "read_tracks"]

ROLES = ("decode", "detect", "clnf", "au", "sink")  # in the order of their tracks

_LAYOUT = np.dtype(
    [("mark", "<u2"), ("kind", "u1"), ("last", "u1"), ("life", "<u2"), ("batch", "<u2"), ("stream", "<i4"),
     ("frame", "<u4"), ("began", "<f8"), ("ended", "<f8"), ("since", "<f8")]
)  # fmt: skip
assert _LAYOUT.itemsize == RECORD.size

_NAME = re.compile(rf"({'|'.join(ROLES)})-([0-9]{{1,4}}){re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True)
class Track:
    """What one worker has noted, of all its starts."""

    worker: str
    role: str
    records: NDArray[Any]  # of `_LAYOUT`, by their begin; times in seconds, monotonic
    damaged: int  # records that were left out

    def of(self, kind: str) -> NDArray[Any]:
        """Its records of one of `KINDS`."""
        found: NDArray[Any] = self.records[self.records["kind"] == KINDS.index(kind)]
        return found

    @property
    def cut_s(self) -> float:
        """Where its records end before its work did; infinity where they do not."""
        last = self.records[self.records["last"] != 0]
        return float(last["ended"].min()) if len(last) else float("inf")


def read_tracks(folder: Path, began_s: float, ended_s: float, most: int) -> list[Track]:
    """All workers' records, by lane and in the order of the stages.

    Parameters
    ----------
    folder : of the records
    began_s, ended_s : of the run, monotonic; records of other times are damaged
    most : records of a worker; what is behind them is not read

    Raises
    ------
    OSError
        A file cannot be read.
    """
    found = [(path, name) for path in folder.iterdir() if (name := _NAME.fullmatch(path.name)) is not None]
    found.sort(key=lambda each: (int(each[1][2]), ROLES.index(each[1][1])))
    return [_read(path, name[1], (began_s, ended_s), most) for path, name in found]


def _read(path: Path, role: str, span_s: tuple[float, float], most: int) -> Track:
    with path.open("rb") as file:
        data = file.read(most * RECORD.size)
    records = np.frombuffer(data, _LAYOUT, count=len(data) // RECORD.size)
    began, ended, since = records["began"], records["ended"], records["since"]
    # Comparisons with NaN are false, and that is what it takes.
    good = (records["mark"] == MARK) & (records["kind"] < len(KINDS)) & (records["batch"] > 0)
    good &= (span_s[0] <= began) & (began <= ended) & (ended <= span_s[1]) & (since >= 0.0) & (since <= span_s[1])
    kept = records[good]
    damaged = len(records) - len(kept) + bool(len(data) % RECORD.size)
    return Track(path.name.removesuffix(SUFFIX), role, kept[np.argsort(kept["began"], kind="stable")], damaged)
