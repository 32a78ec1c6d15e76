"""What can be asked of a running service, and how a request becomes an answer. No sockets here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from auflow.errors import AuflowError, UsageError
from auflow.serve.config import StreamConfig
from auflow.serve.control_server import ControlServer
from auflow.serve.keys import closest, shown
from auflow.serve.stream_config import parse_stream

__all__ = ["OPERATIONS", "ControlServer", "ServiceApi", "dispatch"]

_log = logging.getLogger("auflow.serve")


class ServiceApi(Protocol):
    """A running service; called from its main loop only. What is wrong with a call is a `UsageError`."""

    def status(self) -> dict[str, Any]:
        """How everything is; docs/serve.md has the fields."""

    def add(self, stream: StreamConfig) -> None:
        """Begin another stream.

        Raises
        ------
        UsageError
            There is one of this name, no lane takes another, or an output is written already.
        """

    def remove(self, name: str) -> None:
        """End a stream: what is under way is finished, its outputs are closed.

        Raises
        ------
        UsageError
            There is none of this name.
        """

    def pause(self, name: str) -> None:
        """Take no more pictures of a stream until it is resumed; the same errors as `remove`."""

    def resume(self, name: str) -> None:
        """Go on with a stream that was paused; the same errors as `remove`."""

    def drain(self) -> None:
        """Take no more pictures at all and finish what is under way; the service stays."""

    def stop(self) -> None:
        """Drain and end the service."""


# What an operation needs beside its name.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "status": (),
    "add": ("name", "stream"),
    "remove": ("name",),
    "pause": ("name",),
    "resume": ("name",),
    "drain": (),
    "stop": (),
}
_OPTIONAL = {"add": ("base",)}


def dispatch(api: ServiceApi, request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request.

    Parameters
    ----------
    request : {"op": one of `OPERATIONS`} and what the operation needs: "name"; for `add` also "stream", a table as
        [stream.NAME] of the configuration, and "base", the folder that its relative paths count from

    Returns
    -------
    {"ok": true}, for `status` also "status"; or {"ok": false, "error": why, "code": exit code}
    """
    try:
        return {"ok": True, **_carry_out(api, request)}
    except AuflowError as error:
        return {"ok": False, "error": str(error), "code": error.exit_code}
    except Exception as error:  # noqa: BLE001
        # A fault of ours in one request must not end every stream; whoever asked is told, and so is the log.
        _log.exception("the request %s failed", shown(request.get("op")))
        return {"ok": False, "error": f"the service failed ({type(error).__name__}); its log has more", "code": 1}


def _carry_out(api: ServiceApi, request: Mapping[str, Any]) -> dict[str, Any]:
    operation = request.get("op")
    if not isinstance(operation, str) or operation not in OPERATIONS:
        hint = closest(operation, OPERATIONS) if isinstance(operation, str) else f"; there are {', '.join(OPERATIONS)}"
        raise UsageError(f"op: no such operation: {shown(operation)}{hint}")
    needed = OPERATIONS[operation]
    for field in request:
        if field not in ("op", *needed, *_OPTIONAL.get(operation, ())):
            raise UsageError(f"{shown(field)}: {operation} takes no such field")
    for field in needed:
        if field not in request:
            raise UsageError(f"{field}: {operation} needs it, got nothing")
    if operation == "status":
        return {"status": api.status()}
    if operation == "add":
        api.add(parse_stream(request["name"], request["stream"], _base(request)))
        return {}
    call: Callable[..., None] = getattr(api, operation)
    call(*(_name(request) for _ in needed))
    return {}


def _name(request: Mapping[str, Any]) -> str:
    name = request["name"]
    if not isinstance(name, str):
        raise UsageError(f"name: expected the name of a stream, got {shown(name)}")
    return name


def _base(request: Mapping[str, Any]) -> Path | None:
    base = request.get("base")
    if base is None:
        return None
    if not isinstance(base, str) or not base.startswith("/") or "\0" in base or not base.isprintable():
        raise UsageError(f"base: expected an absolute path, got {shown(base)}")
    return Path(base)
