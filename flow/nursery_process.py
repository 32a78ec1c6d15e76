"""The nursery: `python -m auflow.flow.nursery_process SOCKET LIFE` (for `auflow.flow.nursery` only).

It imports what workers have in common and forks one for each request. Nothing that a fork would break may exist here:
no ZeroMQ context, no second thread, no ONNX Runtime session. The collector of garbage is off, so that it does not
write to memory that is shared.

Roles are forked in the order of the requests. What CLNF and AU workers need beyond the rest is loaded before the
first of each is forked, so the workers that need little come first and start up on another core meanwhile.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from auflow.flow import worker
from auflow.flow.nursery import FDS_AT_ONCE, LENGTH
from auflow.flow.topology import Role, WorkerConfig

__all__ = ["main"]

_HEAVY = (Role.CLNF, Role.AU)
_MADV_DONTNEED = 4
SINKS_S = 3.0  # for them to leave


def main() -> None:
    """Serve until told to end, or until the orchestrator is gone."""
    requests, life_fd = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    gc.disable()
    # It hears of the orchestrator's death at the socket, and lives on for a moment to tidy up.
    worker.prepare_process(dies_with_parent=False)
    worker.import_roles()
    _Nursery(requests, life_fd).serve()


class _Nursery:
    """The loop, and the children that are alive."""

    def __init__(self, requests: socket.socket, life_fd: int) -> None:
        self._requests = requests
        self._life_fd = life_fd
        self._children: dict[int, str] = {}
        self._loaded: set[Role] = set()
        self._run_dirs: set[str] = set()
        self._wake, self._waker = os.pipe()
        for fd in (self._wake, self._waker):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only a signal with a handler wakes
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Obey requests and tell of deaths."""
        poller = select.poll()
        poller.register(self._requests, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._wake in ready:
                with suppress(BlockingIOError):
                    os.read(self._wake, 512)
                self._reap()
            if self._requests.fileno() in ready and not self._obey():
                return

    def _obey(self) -> bool:
        """Carry out one request; False after the last."""
        request, fds = None, []
        # An orchestrator that dies with answers unread resets the connection, another one just closes it.
        with suppress(ConnectionResetError):
            request = self._receive()
            fds = self._receive_fds((request or {}).get("fds", 0))
        match request:
            case {"fork": name, "config": text, "fds": count} if len(fds) == count:
                self._fork(name, replace(WorkerConfig.from_json(text), life_fd=self._life_fd, ring_fds=tuple(fds)))
                for fd in fds:
                    os.close(fd)
            case {"kill": name}:
                for pid in [pid for pid, child in self._children.items() if child == name]:
                    os.kill(pid, signal.SIGKILL)
            case {"end": _}:
                self._end(list(self._children))
                return False
            case _:  # the orchestrator is gone, before or in the middle of a request
                self._tidy_up()
                return False
        return True

    def _receive(self) -> dict[str, Any] | None:
        head = self._requests.recv(LENGTH.size, socket.MSG_WAITALL)
        if len(head) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack(head)
        text = self._requests.recv(length, socket.MSG_WAITALL)
        request: dict[str, Any] | None = json.loads(text) if len(text) == length else None
        return request

    def _receive_fds(self, count: int) -> list[int]:
        fds: list[int] = []
        while len(fds) < count:
            data, received, _, _ = socket.recv_fds(self._requests, 1, FDS_AT_ONCE)
            if not data:
                break
            fds += received
        return fds

    def _answer(self, **answer: object) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._requests.sendall(json.dumps(answer).encode() + b"\n")

    def _fork(self, name: str, config: WorkerConfig) -> None:
        self._run_dirs.add(config.run_dir)
        self._load(config)
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            self._become(config)
        self._children[pid] = name
        self._answer(born=name, pid=pid)
        if config.worker.role in _HEAVY:
            _let_go_of_code()

    def _load(self, config: WorkerConfig) -> None:
        if config.telemetry.timeline:
            from auflow.telemetry import timeline  # noqa: F401
        if config.telemetry.metrics:
            from auflow.telemetry import http, meter  # noqa: F401 - all workers need them
        role = config.worker.role
        if role not in _HEAVY or role in self._loaded:
            return
        self._loaded.add(role)
        # Whatever fails here fails in the worker again, and that can tell the orchestrator.
        with suppress(Exception):
            importlib.import_module(config.kit).preload(config.role, config.models, config.settings)

    def _become(self, config: WorkerConfig) -> None:
        """Be that worker, in the child; does not return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._wake, self._waker, self._requests.detach()):
                os.close(fd)
            if config.worker.role is not Role.DECODE:
                _read_nothing()
            gc.enable()
            code = worker.work(config)
        except BaseException:  # noqa: BLE001 - nothing may get past here into the loop of the nursery
            traceback.print_exc()
        finally:
            worker.leave(code)

    def _reap(self) -> None:
        """Tell of every child that has ended: first of those that a signal has ended, for others may follow from it."""
        ended: list[tuple[int, str]] = []
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((os.waitstatus_to_exitcode(status), self._children.pop(pid)))
        for code, name in sorted(ended):  # the code of a signal is negative
            self._answer(exited=name, code=code)

    def _tidy_up(self) -> None:
        """The orchestrator is gone: remove what it cannot remove any more. Sinks notice by themselves, and close."""
        sinks = [pid for pid, name in self._children.items() if name.startswith(Role.SINK)]
        self._end([pid for pid in self._children if pid not in sinks])
        deadline_s = time.monotonic() + SINKS_S
        while sinks and time.monotonic() < deadline_s:
            sinks = [pid for pid in sinks if os.waitpid(pid, os.WNOHANG)[0] == 0]
            time.sleep(0.01)
        for folder in self._run_dirs:
            shutil.rmtree(folder, ignore_errors=True)

    def _end(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def _read_nothing() -> None:
    """Standard input, which may be one of the run's inputs, is the decoders' only."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing:
        os.close(nothing)


def _let_go_of_code() -> None:
    """Drop the pages of libraries' code from this process: 45 MB that only their loading has touched.

    They stay in the system's cache of files, and come back from there when they are called. Only what is executable is
    dropped, for that is never written to.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, _, _, _, *file = line.split(maxsplit=5)
        if rights == "r-xp" and file and file[0].startswith("/"):
            start, end = (int(at, 16) for at in where.split("-"))
            madvise(start, end - start, _MADV_DONTNEED)


if __name__ == "__main__":
    main()
    worker.leave(0)
