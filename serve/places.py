"""Where a service keeps its socket and its state, by one rule for `auflow serve` and `auflow ctl`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MAX_SOCKET_PATH", "default_socket", "default_state_dir", "socket_candidates"]

MAX_SOCKET_PATH = 107  # bytes; longer ones do not fit into the address of a Unix socket
_FILE = "control.sock"
_SYSTEM = Path("/run/auflow")


def default_socket(environ: Mapping[str, str] | None = None) -> Path:
    """The control socket of a service whose configuration names none.

    In this order: `$RUNTIME_DIRECTORY` (systemd made it for the unit), /run/auflow for root, `$XDG_RUNTIME_DIR/auflow`,
    a folder of the user's own among the temporary files.
    """
    environ = os.environ if environ is None else environ
    if runtime := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        return Path(runtime) / _FILE
    return _SYSTEM / _FILE if os.geteuid() == 0 else _of_user(environ)[0]


def socket_candidates(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Where `auflow ctl` looks, in this order: the user's own service first, then that of the system."""
    environ = os.environ if environ is None else environ
    places = [default_socket(environ), *_of_user(environ), _SYSTEM / _FILE]
    return list(dict.fromkeys(places))


def default_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """`$STATE_DIRECTORY` (systemd made it for the unit), else the user's state folder."""
    environ = os.environ if environ is None else environ
    if state := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(state)
    from platformdirs import user_state_path

    return Path(user_state_path("auflow", appauthor=False))


def _of_user(environ: Mapping[str, str]) -> list[Path]:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(runtime) / "auflow" / _FILE] if runtime.startswith("/") else []
    temporary = Path(tempfile.gettempdir()) / f"auflow-{os.geteuid()}" / _FILE
    if len(os.fsencode(temporary)) > MAX_SOCKET_PATH:
        temporary = Path("/tmp") / temporary.parent.name / _FILE
    return [*places, temporary]
