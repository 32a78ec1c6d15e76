"""The hidden folder beside an output in which all lies that is not finished yet."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from auflow.errors import OutputError
from auflow.stages.sink.paths import work_path

__all__ = ["WorkFolder", "sync_data", "writing"]

_LOCK = "lock"
_ATTEMPTS = 100
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # what file systems say that have none

# What changes a file's times alone need not reach the disk; not every system can tell the two apart.
sync_data = getattr(os, "fdatasync", os.fsync)


class WorkFolder:
    """`.NAME.auflow` beside NAME.csv, locked for one run; after SIGKILL it is all that is left of it.

    Parameters
    ----------
    output : path of the CSV; its folder exists
    keep : leave what is there of an earlier run, to go on with it; else it is removed

    Raises
    ------
    OutputError
        Another run writes this output, or the folder cannot be made.
    """

    def __init__(self, output: Path, *, keep: bool = False) -> None:
        self.path = work_path(output)
        with writing(output):
            self._lock: int | None = self._locked(output)
        try:
            if not keep:
                with writing(output):
                    self._empty()
        except BaseException:
            self.release()
            raise

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def release(self) -> None:
        """Leave the folder with all that is in it; without effect a second time."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove the folder with all that is in it; without effect after `release`."""
        if self._lock is None:
            return
        with suppress(OSError):  # what cannot be removed is removed by the next run
            self._empty()
            # The lock goes last: until then nobody else can begin here. Who has begun since keeps the folder.
            (self.path / _LOCK).unlink(missing_ok=True)
            self.path.rmdir()
        self.release()

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name == _LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _locked(self, output: Path) -> int:
        for _ in range(_ATTEMPTS):
            self.path.mkdir(exist_ok=True)
            try:
                lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                continue  # the run that had the folder has just removed it
            try:
                _take(lock, output)
                if os.path.samestat(os.fstat(lock), os.stat(self.path / _LOCK)):
                    return lock
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
        raise OutputError(f"{output}: is being written by one run after the other; choose another folder with -o")


def _take(lock: int, output: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{output}: is being written by another run; wait for its end or choose another folder with -o"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses meanwhile is an OutputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; free some space or choose another folder with -o"
        ) from error
