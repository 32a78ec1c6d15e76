"""The orchestrator's end of the nursery, the process that every worker is a fork of.

What the workers have in common (NumPy, Numba, the stages, their models) is imported and loaded once, in the nursery
(`auflow.flow.nursery_process`), and shared by all of them until somebody writes to it. The nursery is spawned, never
forked: nothing of the orchestrator is in it. It is the workers' parent, so it alone can kill one without hitting
another process that has been given the same number, and it tells how each ended.

    orchestrator --- requests: fork (with descriptors), kill, end --->  nursery  --- fork --->  workers
                 <--- answers: born, exited ----------------------------

Everyone but the orchestrator holds the reading end of a pipe that nobody writes to while all is well: who finds it
readable leaves.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

__all__ = ["FDS_AT_ONCE", "LENGTH", "Ended", "Nursery", "WorkerExit"]

LENGTH = struct.Struct("<I")  # of the JSON that follows
FDS_AT_ONCE = 64  # the kernel takes up to 253 in a message, and counts those on their way as open files
KILL_S = 3.0  # for a kill to be carried out; it may have to wait for the nursery's imports
CLOSE_S = 5.0
DISMISS_S = 3.0


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """A worker is gone."""

    worker: str
    code: int  # negative: minus the signal


@dataclass(frozen=True, slots=True)
class Ended:
    """The nursery itself is gone, and all workers with it."""

    code: int


class Nursery:
    """Starts the nursery at once, so that its imports run beside those of the caller.

    Usable as a context manager; at its end every worker that is left is killed.

    Parameters
    ----------
    stdin : decode workers have this process's standard input: one of the inputs comes through it
    """

    def __init__(self, *, stdin: bool = False) -> None:
        self.stdin = stdin
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        # -P: a file of the working folder must not stand in for a module. What a library prints is no result.
        command = [sys.executable, "-P", "-m", "auflow.flow.nursery_process", str(theirs.fileno()), str(life)]
        # A signal that comes while the nursery is not yet deaf to it must reach this process only.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=None if stdin else subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(), life),
            )
        except OSError:
            ours.close()
            os.close(self._life)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            os.close(life)
        self._socket = ours
        self._unread = b""
        self._waiting: deque[tuple[str, str, Sequence[int]]] = deque()
        self._under_way: deque[int] = deque()  # number of descriptors of each request that is not answered
        self._never_born: list[WorkerExit] = []
        self._kill_until_s = float("inf")
        self._used = False
        self.born: dict[str, int] = {}  # process numbers of the workers that are alive
        self.open = True  # False once it is gone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when `answers` has something."""
        return self._socket.fileno()

    def fork(self, worker: str, config: str, ring_fds: Sequence[int]) -> None:
        """Ask for a worker: its `WorkerConfig` as JSON, and the rings that it gets descriptors of."""
        self._used = True
        self._waiting.append((worker, config, ring_fds))
        self._ask()

    def _ask(self) -> None:
        """Send requests as long as few descriptors are on their way."""
        while self._waiting and (not self._under_way or sum(self._under_way) + len(self._waiting[0][2]) <= FDS_AT_ONCE):
            worker, config, fds = self._waiting.popleft()
            self._under_way.append(len(fds))
            self._send({"fork": worker, "config": config, "fds": len(fds)}, fds)

    def _send(self, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
        text = json.dumps(request).encode()
        # If it is gone, that is the next answer.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(LENGTH.pack(len(text)) + text)
            for first in range(0, len(fds), FDS_AT_ONCE):
                socket.send_fds(self._socket, [b"\0"], fds[first : first + FDS_AT_ONCE])

    def kill(self, worker: str) -> None:
        """Send SIGKILL to a worker; its exit is an answer like any other."""
        waiting = [request for request in self._waiting if request[0] != worker]
        if len(waiting) < len(self._waiting):
            self._waiting = deque(waiting)
            self._never_born.append(WorkerExit(worker, -signal.SIGKILL))
        elif self.open:
            self._send({"kill": worker})
            self._kill_until_s = min(self._kill_until_s, time.monotonic() + KILL_S)

    def answers(self) -> list[WorkerExit | Ended]:
        """What has come since the last call; does not wait."""
        found: list[WorkerExit | Ended] = [*self._never_born]
        self._never_born.clear()
        if not self.open:
            return found
        if time.monotonic() > self._kill_until_s:  # it hangs, on a file system for instance
            self._process.kill()
        is_there = self._receive()
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "born" in answer:
                self._under_way.popleft()
                self.born[answer["born"]] = answer["pid"]
            else:
                self.born.pop(answer["exited"], None)
                found.append(WorkerExit(answer["exited"], answer["code"]))
                self._kill_until_s = float("inf")
        if is_there:
            self._ask()
        else:
            found.append(Ended(self._bury()))
        return found

    def _receive(self) -> bool:
        """Read all that has come; False at the end of file."""
        try:
            while received := self._socket.recv(1 << 16, socket.MSG_DONTWAIT):
                self._unread += received
        except BlockingIOError:
            return True
        except ConnectionResetError:
            pass
        return False

    def close(self) -> None:
        """Kill every worker that is left, end the nursery, and wait for all of them; may be called again."""
        if not self.open:
            return
        if self._used:
            self._send({"end": True})
        else:
            self._process.kill()  # in the middle of its imports
        self._bury()

    def _bury(self) -> int:
        """The nursery's exit code; nothing of it is left afterwards."""
        self.open = False
        self._socket.close()
        try:
            code = self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code:
            self._dismiss()
        os.close(self._life)
        return code

    def _dismiss(self) -> None:
        """Send orphans away and wait for them: the last reader's end shows in the pipe."""
        with suppress(BrokenPipeError):
            os.write(self._life, b"\0")
        poller = select.poll()
        poller.register(self._life, 0)
        poller.poll(DISMISS_S * 1000)
