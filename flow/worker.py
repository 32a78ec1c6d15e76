"""What a worker process does from its beginning to its end.

Workers are forks of the nursery (`auflow.flow.nursery_process`). `python -m auflow.flow.worker CONFIG` is the same
worker in an interpreter of its own, for systems that cannot fork; its descriptors are inherited.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from auflow.flow.topology import Role, WorkerConfig
from auflow.threads import pin_threads

if TYPE_CHECKING:
    from auflow.flow.process import Shell, WorkerRole

__all__ = ["import_roles", "leave", "main", "prepare_process", "work"]

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker until the orchestrator ends it; the exit code is 1 after a fault."""
    (text,) = sys.argv[1:] if argv is None else argv
    return work(WorkerConfig.from_json(text))


def prepare_process(*, dies_with_parent: bool, name: str = "") -> None:
    """Be deaf to Ctrl-C, die with the parent, start no threads. Comes before any library is imported.

    `name` is what `ps` and `top` show.
    """
    # The terminal sends Ctrl-C to the whole group; the orchestrator alone decides what it means. Both signals were
    # blocked at the spawn, so none can have come through before these lines.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        if dies_with_parent:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if name:
            prctl(_PR_SET_NAME, name.encode())
    pin_threads()


def import_roles() -> None:
    """Import what all workers need. It takes a while and loads native libraries."""
    from auflow.flow import role_clnf, role_decode, role_detect, role_sink  # noqa: F401


def work(config: WorkerConfig) -> int:
    """Be the worker `config` until the orchestrator ends it; the exit code is 1 after a fault."""
    # In the middle of a long computation nobody polls the life line. The sink polls often and has to tidy up.
    prepare_process(dies_with_parent=config.worker.role is not Role.SINK, name=f"{config.worker.name} auflow")
    from auflow.flow.process import Leave, Shell

    shell = Shell(config)
    role = _make_role(shell)
    code = 0
    try:
        role.serve()
    except Leave:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the orchestrator whole
        code = 1
        role.abandon()
        shell.report_fault(error)
    else:
        raise AssertionError("a role works until it is told to leave")
    role.abandon()
    role.close()
    shell.close()
    return code


def leave(code: int) -> None:
    """End this process at once.

    Every socket is closed and every file written: taking a compiler apart piece by piece would cost 0.4 s more.
    """
    sys.stderr.flush()
    os._exit(code)


def _make_role(shell: Shell) -> WorkerRole:
    """The work loop for the role in the shell's configuration."""
    if shell.config.worker.role is Role.WEB:  # what only it needs is an extra
        from auflow.flow.role_web import WebRole

        return WebRole(shell)
    from auflow.flow.role_au import AuRole
    from auflow.flow.role_bus import BusRole
    from auflow.flow.role_clnf import ClnfRole
    from auflow.flow.role_decode import DecodeRole
    from auflow.flow.role_detect import DetectRole
    from auflow.flow.role_sink import SinkRole

    kinds: dict[Role, type[WorkerRole]] = {
        Role.DECODE: DecodeRole,
        Role.DETECT: DetectRole,
        Role.CLNF: ClnfRole,
        Role.AU: AuRole,
        Role.SINK: SinkRole,
        Role.BUS: BusRole,
    }
    return kinds[shell.config.worker.role](shell)


if __name__ == "__main__":
    leave(main())
