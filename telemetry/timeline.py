"""What a worker notes for the timeline of a run: a short record of each piece of work, appended to a file of its own.

A record is written at once, so those of a worker that is killed are there. Nothing that goes wrong here ends any work.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["KINDS", "MARK", "RECORD", "SUFFIX", "TimelineWriter"]

SUFFIX = ".records"  # behind the worker's name
# A frame's work; the start of a process; a checkpoint; the end of an input; a wait in the middle of a frame's work.
KINDS = ("frame", "load", "checkpoint", "end", "wait")

# Mark, kind, whether nothing after it was recorded, which start of the worker, how many items the call had, stream,
# frame; monotonic times: began, ended, since when it had waited (0: it had not).
RECORD = struct.Struct("<HBBHHiIddd")
MARK = 0xAF71  # a record that does not begin with it is damaged
_LAST_AT = 3  # where in a record it says that it is the last


class TimelineWriter:
    """Appends the records of one worker.

    Parameters
    ----------
    folder : of the run's records
    worker : its name
    life : which start of that worker
    most : records of all its starts
    warn : told when it ends early
    """

    def __init__(self, folder: Path, worker: str, life: int, most: int, warn: Callable[[str], None]) -> None:
        self._life = min(life, 0xFFFF)
        self._warn = warn
        self._fd = -1
        self._at = self._left = 0
        try:
            self._fd = os.open(folder / f"{worker}{SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            records = os.fstat(self._fd).st_size // RECORD.size  # what is behind them was cut off by a death
        except OSError as error:
            self._stop(error.strerror or str(error))
            return
        self._at, self._left = records * RECORD.size, most - records

    def add(
        self,
        kind: str,
        began_s: float,
        ended_s: float,
        *,
        since_s: float = 0.0,
        stream: int = -1,
        frame: int = 0,
        batch: int = 1,
    ) -> None:
        """Note a piece of work; monotonic times."""
        if self._left <= 0:
            return
        self._left -= 1
        last = not self._left
        record = RECORD.pack(
            MARK, KINDS.index(kind), last, self._life, min(batch, 0xFFFF), stream, frame, began_s, ended_s, since_s
        )
        try:
            written = os.pwrite(self._fd, record, self._at)
        except OSError as error:
            self._stop(error.strerror or str(error))
            return
        if written < len(record):
            self._stop("there was room for half a record only")
            return
        self._at += written

    @contextmanager
    def noting(self, kind: str, stream: int, frame: int) -> Iterator[None]:
        """Note what is done inside."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.add(kind, began_s, time.monotonic(), stream=stream, frame=frame)

    def _stop(self, reason: str) -> None:
        self._left = 0
        if self._fd >= 0 and self._at:
            # It needs no more room than there is. Should it fail, the end of the records looks like that of the work.
            with suppress(OSError):
                os.pwrite(self._fd, b"\1", self._at - RECORD.size + _LAST_AT)
        self._warn(f"the timeline ends early, for it cannot be written: {reason}; results do not depend on it")

    def close(self) -> None:
        """Give the file back."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._left = -1, 0
