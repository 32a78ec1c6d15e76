"""What systemd is told, as sd_notify does: datagrams of NAME=VALUE lines. Without systemd nothing happens."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

__all__ = ["Notifier"]

_MICROSECONDS = re.compile(r"[0-9]{1,18}")
_LONGEST_STATUS = 1000


class Notifier:
    """Tells the service manager how the service is; never blocks and never fails.

    Parameters
    ----------
    environ : NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are taken out of it: children must not have them
    clock : monotonic seconds
    """

    def __init__(
        self, environ: MutableMapping[str, str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        environ = os.environ if environ is None else environ
        address = environ.pop("NOTIFY_SOCKET", "")
        interval_us = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        self.watchdog_s = int(interval_us) / 1e6 if ours and _MICROSECONDS.fullmatch(interval_us) else 0.0
        self.failed = 0  # messages that systemd did not take
        self._clock = clock
        self._due_s = clock()
        self._status = ""
        self._socket = _connect(address)

    def ready(self, status: str = "") -> None:
        """The service is up."""
        self._send("READY=1", *self._new_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent only when it has changed."""
        if lines := self._new_status(text):
            self._send(*lines)

    def watchdog(self) -> None:
        """The main loop is alive: call it in every turn; it is told twice within the watchdog's time."""
        now = self._clock()
        if self.watchdog_s and now >= self._due_s:
            self._due_s = now + self.watchdog_s / 2
            self._send("WATCHDOG=1")

    def stopping(self, drain_s: float = 0.0, status: str = "") -> None:
        """The service ends, and may take so many seconds more."""
        self._send("STOPPING=1", *self._extension(drain_s), *self._new_status(status))

    def extend(self, seconds: float) -> None:
        """What goes on now (start or stop) may take so many seconds more from here."""
        self._send(*self._extension(seconds))

    def close(self) -> None:
        """Close the socket; may be called again."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _extension(self, seconds: float) -> list[str]:
        return [f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"] if seconds > 0 else []

    def _new_status(self, text: str) -> list[str]:
        line = " ".join(text.split())[:_LONGEST_STATUS]
        if not line or line == self._status:
            return []
        self._status = line
        return [f"STATUS={line}"]

    def _send(self, *lines: str) -> None:
        if self._socket is None or not lines:
            return
        try:
            self._socket.send("\n".join(lines).encode(errors="replace"))
        except OSError:  # full, or gone: systemd's watchdog is there for that
            self.failed += 1


def _connect(address: str) -> socket.socket | None:
    # A path, or a name that is in no folder (@); other kinds (vsock) are for virtual machines.
    if not address.startswith(("/", "@")):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
    connection.setblocking(False)
    with suppress(OSError):
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        return connection
    connection.close()
    return None
