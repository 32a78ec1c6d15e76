"""The other end of the control socket: asks a running service and waits for its answer."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from auflow.errors import AuflowError
from auflow.serve.lines import BadLine, LineReader, decode_line, encode_line
from auflow.serve.places import socket_candidates

__all__ = ["NoServiceError", "ask", "find_socket"]

_LARGEST_ANSWER = 1 << 26  # bytes; a status of thousands of streams takes a few million
_READ = 1 << 16


class NoServiceError(AuflowError):
    """No service answers."""

    exit_code: ClassVar[int] = 6


def find_socket(chosen: Path | None = None) -> Path:
    """The control socket: the chosen one, or the first that is there where services put it.

    Raises
    ------
    NoServiceError
        There is none; the text says where it was looked for and what to start.
    """
    places = [chosen] if chosen is not None else socket_candidates()
    for place in places:
        try:
            if place.is_socket():
                return place
        except PermissionError as error:
            raise NoServiceError(
                f"{place}: this user may not look there; ask as the service's user, or as root"
            ) from error
    raise NoServiceError(
        f"no service is running: no socket at {', '.join(map(str, places))}; start one with `auflow serve CONFIG.toml`"
        + ("" if chosen else ", or tell where its socket is with --socket")
    )


def ask(path: Path, request: Mapping[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
    """Send one request and return the answer.

    Parameters
    ----------
    path : of the control socket
    request : as `auflow.serve.control.dispatch` takes it
    timeout_s : how long the service may take in all

    Raises
    ------
    NoServiceError
        Nobody listens, this user may not ask, or there is no answer in time or none that can be read.
    """
    deadline_s = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(encode_line(request))
            return decode_line(_receive(connection, deadline_s))
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise NoServiceError(
                f"{path}: no service listens there any more; start one with `auflow serve CONFIG.toml`"
            ) from error
        except PermissionError as error:
            raise NoServiceError(f"{path}: only the service's user and root may ask it") from error
        except (TimeoutError, BlockingIOError) as error:
            raise NoServiceError(f"{path}: the service did not answer within {timeout_s:g} s") from error
        except OSError as error:
            raise NoServiceError(f"{path}: the service closed the connection: {error.strerror or error}") from error
        except BadLine as error:
            raise NoServiceError(f"{path}: the answer is none of an auflow service: {error}") from error


def _receive(connection: socket.socket, deadline_s: float) -> bytes:
    reader = LineReader(_LARGEST_ANSWER)
    while True:
        connection.settimeout(max(0.001, deadline_s - time.monotonic()))
        data = connection.recv(_READ)
        if not data:
            raise ConnectionResetError("before its answer was whole")
        if lines := reader.feed(data):
            return lines[0]
