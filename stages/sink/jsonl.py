"""Live results appended to a file, a line each; whole lines or none, whatever happens to the file and its disk."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from auflow.errors import OutputError

__all__ = ["JsonLinesSink"]

_LOOK_S = 1.0  # between two looks whether the path still leads to our file
_RETRY_S = 5.0  # between two attempts to write after one that failed


class JsonLinesSink:
    """Appends lines to a file that nobody else writes.

    Rotation is logrotate's: a second after the file was moved or removed there is a new one.

    Parameters
    ----------
    path : of the file; its folder exists
    now : the clock, monotonic seconds

    Raises
    ------
    OutputError
        The file cannot be opened.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self.written = 0
        self.dropped = 0  # lines that the disk had no room for
        self._path = path
        self._now = now
        self._looked_s = now()
        self._failed_s: float | None = None
        self._descriptor = -1
        try:
            self._open()
        except OSError as error:
            raise self._error(error) from error

    def write(self, line: str | bytes) -> bool:
        """Append one line; its end is added where it has none.

        Returns
        -------
        False when the line was dropped: the file could not be written a moment ago

        Raises
        ------
        OutputError
            The file cannot be written. Raised once; then lines are dropped and counted until it can be again.
        """
        data = line if isinstance(line, bytes) else line.encode("utf-8", "replace")
        if not data.endswith(b"\n"):
            data += b"\n"
        now_s = self._now()
        if self._failed_s is not None and now_s - self._failed_s < _RETRY_S:
            self.dropped += 1
            return False
        try:
            self._look(now_s)
            self._append(data)
        except OSError as error:
            self.dropped += 1
            first, self._failed_s = self._failed_s is None, now_s
            if first:
                raise self._error(error) from error
            return False
        self._failed_s = None
        self.written += 1
        return True

    @property
    def failing(self) -> bool:
        """Whether lines are being dropped now."""
        return self._failed_s is not None

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._descriptor >= 0:
            with suppress(OSError):  # every line was handed over when it was written
                os.close(self._descriptor)
            self._descriptor = -1

    def _look(self, now_s: float) -> None:
        if self._descriptor >= 0 and self._failed_s is None and now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        if self._descriptor >= 0:
            ours = os.fstat(self._descriptor)
            with suppress(FileNotFoundError):
                there = os.stat(self._path)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            self.close()
        self._open()

    def _open(self) -> None:
        # Not blocking: a pipe that is full is an error here and no standstill.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._descriptor = os.open(self._path, flags, 0o644)
        # Who was killed, or had no room, in the middle of a line has left half of one.
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self._append(b"\n")

    def _append(self, data: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, data)
        if written == len(data):
            return
        try:
            written += os.write(self._descriptor, data[written:])  # says why there is no room for the rest
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def _error(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path}: cannot be written: {error.strerror}; results are dropped from here until it can be again"
        )
