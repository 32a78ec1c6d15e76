"""What the live page needs before it starts: its libraries, its token, and the address that a browser is told."""

from __future__ import annotations

import importlib.util
import os
import secrets
from contextlib import suppress
from pathlib import Path

from auflow.errors import OutputError, UsageError
from auflow.flow.topology import WebAddress
from auflow.serve.checks import host_and_port
from auflow.serve.config import ServeConfig
from auflow.transport.address import read_address

__all__ = ["TOKEN_FILE", "page_address", "page_url"]

TOKEN_FILE = "web-token"  # in the state folder
_LIBRARIES = ("starlette", "uvicorn", "websockets")


def page_address(config: ServeConfig) -> WebAddress | None:
    """Where the page is to be, None where there is none. Beyond this machine a token is made, unless one is given.

    Raises
    ------
    UsageError
        Its libraries are not installed.
    OutputError
        The token cannot be kept.
    """
    if not config.web.address:
        return None
    if any(importlib.util.find_spec(name) is None for name in _LIBRARIES):
        raise UsageError("web.address: the live page needs more libraries: pip install 'auflow[web]'")
    host, port = host_and_port(config.web.address)
    if config.web.token_env:
        return WebAddress(host, port, token_env=config.web.token_env)
    if read_address(f"tcp://{config.web.address}").loopback:
        return WebAddress(host, port)
    path = config.state_dir / TOKEN_FILE
    _keep_token(path)
    return WebAddress(host, port, token_file=str(path))


def _keep_token(path: Path) -> None:
    """Make a token for this and all later starts, unless there is one; nobody else may read it."""
    try:
        with suppress(FileNotFoundError):
            if path.read_text().strip():
                path.chmod(0o600)
                return
            path.unlink()  # of a start that was killed in the middle
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{path}: the token of the live page cannot be kept there: {reason}") from error


def page_url(address: WebAddress) -> str:
    """What to open in a browser. A token that was made here is in it, one that was given is not."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    token = f"?token={Path(address.token_file).read_text().strip()}" if address.token_file else ""
    return f"http://{host}:{address.port}/{token}"
