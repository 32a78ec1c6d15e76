"""Video that comes through a pipe: standard input, a named pipe, or any open descriptor."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["PipeFile", "is_pipe"]

HEAD_BYTES = 4096
LOOK_S = 0.2


def is_pipe(path: Path) -> bool:
    """Whether the path is - (standard input) or a named pipe."""
    return str(path) == "-" or path.is_fifo()


class PipeFile:
    """The reading end of a pipe as the file object that PyAV wants.

    Parameters
    ----------
    pipe : a descriptor, which stays open, or - for standard input, or the path of a named pipe
    stopped : asked a few times each second while nothing comes; True ends the data
    """

    def __init__(self, pipe: int | Path, *, stopped: Callable[[], bool] | None = None) -> None:
        self._owned = isinstance(pipe, Path) and str(pipe) != "-"
        if isinstance(pipe, Path):
            # Without waiting for a writer: `read` does that, and asks `stopped` meanwhile.
            flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
            pipe = os.open(pipe, flags) if self._owned else 0
        self._fd = pipe
        self._stopped = stopped
        self.head = b""  # the first bytes, to tell what was no video

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end."""
        if not self._wait():
            return b""
        data = os.read(self._fd, size)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        return data

    def _wait(self) -> bool:
        """Until there is something, or the writer has gone; False when told to stop."""
        if not hasattr(select, "poll"):
            return True  # reading waits by itself
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)  # a named pipe that nobody has written to yet is not at its end
        while not poller.poll(LOOK_S * 1000):
            if self._stopped is not None and self._stopped():
                return False
        return True

    def close(self) -> None:
        """Close what was opened here."""
        if self._owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
