"""The folder that a run's sockets live in: mode 0700, made per run, removed at its end.

It stays while the run lasts, for a worker that is started again binds its sockets anew. Should the orchestrator be
killed, the nursery removes it (`auflow.flow.nursery_process`). Should everybody be killed at once, the folder stays
with a lock that is free, and the next run sweeps it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from auflow.transport.faults import TransportError

__all__ = ["RunDir", "sweep"]

_PREFIX = "auflow-run-"
_LOCK = "lock"
_MAX_ENDPOINT = 107  # bytes of a Unix socket's path
_LONGEST_NAME = 24
_GRACE_S = 60.0  # a folder without a lock may be one that is being made


class RunDir:
    """A fresh run folder, locked as long as this process lives or until `remove`.

    Parameters
    ----------
    parent : where to make it; default the system's temporary folder, or /tmp where that path is too long for sockets
    """

    def __init__(self, parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent or _parent()))
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Delete the folder and free the lock; may be called again."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def sweep(parent: Path | None = None) -> None:
    """Delete the folders of runs that were killed as a whole."""
    for path in (parent or _parent()).glob(f"{_PREFIX}*"):
        if _is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


def endpoint(run_dir: Path, name: str) -> str:
    """The ZeroMQ address of the socket `name`."""
    path = run_dir / name
    if len(os.fsencode(path)) > _MAX_ENDPOINT:
        raise TransportError(
            f"{path}: expected a socket path of up to {_MAX_ENDPOINT} bytes; set TMPDIR to a shorter one"
        )
    return f"ipc://{path}"


def _parent() -> Path:
    wanted = Path(tempfile.gettempdir())
    room = _MAX_ENDPOINT - len(_PREFIX) - 10 - _LONGEST_NAME
    return wanted if len(os.fsencode(wanted)) <= room else Path("/tmp")


def _is_abandoned(path: Path) -> bool:
    try:
        status = path.lstat()
        if status.st_uid != os.getuid() or path.is_symlink():
            return False
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return path.exists() and time.time() - path.stat().st_mtime > _GRACE_S
    except OSError:  # not ours to judge
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its run is alive
    finally:
        os.close(lock)
    # The lock is made an instant before it is taken.
    return time.time() - status.st_mtime > 1.0
