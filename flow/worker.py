"""Entry of every worker process: `python -m auflow.flow.worker CONFIG` (for the orchestrator only)."""

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

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker until the orchestrator ends it; the exit code is 1 after a fault."""
    (text,) = sys.argv[1:] if argv is None else argv
    config = WorkerConfig.from_json(text)
    _prepare_process(config)
    # After the signals and the thread counts are set: these imports take a while and load native libraries.
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


def _prepare_process(config: WorkerConfig) -> None:
    # The terminal sends Ctrl-C to the whole group; the orchestrator alone decides what it means. Both signals were
    # blocked at the spawn, so none can have come through before these lines.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if sys.platform == "linux" and config.worker.role is not Role.SINK:
        # In the middle of a long computation nobody polls the life line. The sink polls often and has to tidy up.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    pin_threads()


def _make_role(shell: Shell) -> WorkerRole:
    """The work loop for the role in the shell's configuration; only its module is imported."""
    role = shell.config.worker.role
    if role in (Role.DECODE, Role.SINK):
        from auflow.flow.roles_ends import DecodeRole, SinkRole

        return DecodeRole(shell) if role is Role.DECODE else SinkRole(shell)
    from auflow.flow.roles_stages import AuRole, ClnfRole, DetectRole

    kinds: dict[Role, type[WorkerRole]] = {Role.CLNF: ClnfRole, Role.AU: AuRole, Role.DETECT: DetectRole}
    return kinds[role](shell)


if __name__ == "__main__":
    exit_code = main()
    sys.stderr.flush()
    # Every socket is closed and every file written: taking a compiler apart piece by piece would cost 0.4 s more.
    os._exit(exit_code)
