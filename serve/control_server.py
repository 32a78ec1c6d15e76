"""The service's end of the control socket: never blocks, and whatever a client does costs only that client."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import stat
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auflow.errors import UsageError
from auflow.serve.lines import BadLine, LineReader, LongLine, decode_line, encode_line
from auflow.serve.places import MAX_SOCKET_PATH

__all__ = ["ControlServer"]

_MAX_CLIENTS = 32
_READ = 1 << 16  # bytes taken from a client at a time
_MAX_AT_ONCE = 64  # requests: the answers must find room
_IDLE_S = 60.0  # silence of a client, a line begun and not ended, an answer not taken: then it is dropped
_PROBE_S = 1.0
_DEAF_S = 1.0  # not to be woken again and again by a client that cannot be let in


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    active_s: float  # monotonic: when it last did something
    lines: LineReader = field(default_factory=LineReader)
    waiting: bytes = b""  # of answers, for the socket to take
    last: bool = False  # close it as soon as it has its answer


class ControlServer:
    """Listens on a Unix socket of mode 0600; requests are taken with `requests` whenever `fileno` is readable.

    Parameters
    ----------
    path : of the socket; its folder is made with mode 0700 where it is missing
    clock : monotonic seconds

    Raises
    ------
    UsageError
        A service listens there already, the path is too long, is something else, or its folder is open to others.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.dropped: Counter[str] = (
            Counter()
        )  # clients by why: oversize, garbage, flood, idle, vanished, refused, full
        self._clock = clock
        self._clients: dict[int, _Client] = {}
        self._next = 0
        self._deaf_until_s: float | None = None
        self._listener = _listen(path)
        self._identity = _identity(path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)

    def fileno(self) -> int:
        """One descriptor that is readable whenever there is something to do (epoll or kqueue)."""
        number: int = self._selector.fileno()
        return number

    def requests(self) -> list[tuple[int, dict[str, Any]]]:
        """All that was asked since the last call, as (client, request); call it now and then even if nothing was."""
        found: list[tuple[int, dict[str, Any]]] = []
        for ready, events in self._selector.select(0):
            if ready.data is None:
                self._accept()
                continue
            if events & selectors.EVENT_WRITE:
                self._write(ready.data)
            if events & selectors.EVENT_READ and ready.data in self._clients:
                found += [(ready.data, request) for request in self._read(ready.data)]
        self._drop_idle()
        if self._deaf_until_s is not None and self._clock() >= self._deaf_until_s:
            self._deaf_until_s = None
            self._selector.register(self._listener, selectors.EVENT_READ, None)
        return found

    def answer(self, client: int, answer: Mapping[str, Any]) -> None:
        """Answer a request; nothing happens where the client is gone."""
        if client in self._clients:
            self._clients[client].waiting += encode_line(answer)
            self._write(client)

    def close(self) -> None:
        """Close all connections and remove the socket's file, unless it is another's by now; may be called again."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listener.close()
        if _identity(self.path) == self._identity is not None:
            with suppress(OSError):
                self.path.unlink()
        self._identity = None

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):  # it is gone already
            return
        except OSError:  # no descriptors or no memory left
            self._selector.unregister(self._listener)
            self._deaf_until_s = self._clock() + _DEAF_S
            return
        if not _is_allowed(connection) or len(self._clients) >= _MAX_CLIENTS:
            self.dropped["full" if len(self._clients) >= _MAX_CLIENTS else "refused"] += 1
            connection.close()
            return
        connection.setblocking(False)
        self._next += 1
        self._clients[self._next] = _Client(connection, self._clock())
        self._selector.register(connection, selectors.EVENT_READ, self._next)

    def _read(self, number: int) -> list[dict[str, Any]]:
        client = self._clients[number]
        try:
            data = client.connection.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            data = b""
        if not data:
            # Who leaves between two lines with all its answers did nothing wrong.
            self._drop(number, "vanished" if client.lines.unfinished or client.waiting else None)
            return []
        if not client.lines.unfinished:
            client.active_s = self._clock()  # a line that comes byte by byte counts from its begin
        if client.last:
            return []
        try:
            lines = client.lines.feed(data)
            if len(lines) > _MAX_AT_ONCE:
                return self._refuse(
                    number, "flood", f"expected up to {_MAX_AT_ONCE} requests at once, got {len(lines)}"
                )
            return [decode_line(line) for line in lines]
        except BadLine as error:
            return self._refuse(number, "oversize" if isinstance(error, LongLine) else "garbage", str(error))

    def _refuse(self, number: int, why: str, text: str) -> list[dict[str, Any]]:
        self.dropped[why] += 1
        self._clients[number].last = True
        self.answer(number, {"ok": False, "error": text, "code": UsageError.exit_code})
        return []

    def _write(self, number: int) -> None:
        client = self._clients[number]
        try:
            sent = client.connection.send(client.waiting) if client.waiting else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._drop(number, "vanished")
            return
        if sent:
            client.waiting = client.waiting[sent:]
            client.active_s = self._clock()
        if client.last and not client.waiting:
            self._drop(number)
            return
        # While an answer waits nothing more is read: so no client can make answers pile up.
        wanted = selectors.EVENT_WRITE if client.waiting else selectors.EVENT_READ
        self._selector.modify(client.connection, wanted, number)

    def _drop_idle(self) -> None:
        now = self._clock()
        for number in [number for number, client in self._clients.items() if now - client.active_s > _IDLE_S]:
            self._drop(number, "idle")

    def _drop(self, number: int, why: str | None = None) -> None:
        client = self._clients.pop(number)
        if why:
            self.dropped[why] += 1
        self._selector.unregister(client.connection)
        client.connection.close()


def _listen(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise UsageError(
            f"{path}: expected a socket path of up to {MAX_SOCKET_PATH} bytes; choose another [control] socket"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _locked(_private_folder(path.parent)):
            _remove_stale(path)
            before = os.umask(0o177)
            try:
                listener.bind(os.fspath(path))
            finally:
                os.umask(before)
            listener.listen(_MAX_CLIENTS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise UsageError(f"{path}: the control socket cannot be made: {error.strerror or error}") from error
    except UsageError:
        listener.close()
        raise
    return listener


def _private_folder(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        status = folder.stat() if status.st_uid in (0, os.geteuid()) else status
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid())
    if not ours or status.st_mode & 0o022:
        raise UsageError(
            f"{folder}: expected a folder of this user that nobody else can write to, for the control socket; "
            "remove it, correct it with chmod 700, or choose another [control] socket"
        )
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Two services that start at once look for a stale socket one after the other."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise UsageError(
            f"{path}: expected a free path for the control socket, found a file; choose another [control] socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except (TimeoutError, BlockingIOError):
            pass  # it listens and is busy
    raise UsageError(
        f"{path}: a service listens there already: `auflow ctl stop` ends it, or give this one another [control] socket"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_allowed(connection: socket.socket) -> bool:
    """Whether this user or root asks; elsewhere than on Linux the modes of file and folder alone decide."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return False
    return struct.unpack("3i", credentials)[1] in (0, os.geteuid())
