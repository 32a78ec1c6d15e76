"""What systemd is told, over real datagram sockets."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auflow.serve.notify import Notifier


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, short_tmp: Path) -> Iterator[tuple[socket.socket, str]]:
    """systemd's end, and its address as NOTIFY_SOCKET has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        address = str(short_tmp / "notify")
        if request.param == "abstract":
            if not sys.platform.startswith("linux"):
                pytest.skip("only Linux has abstract sockets")
            address = f"@auflow-test-{os.getpid()}"
        end.bind(address.replace("@", "\0"))
        end.settimeout(10)
        yield end, address


def told(end: socket.socket) -> list[str]:
    return end.recv(4096).decode().split("\n")


def nothing_told(end: socket.socket) -> bool:
    end.settimeout(0)
    try:
        end.recv(4096)
    except BlockingIOError:
        return True
    finally:
        end.settimeout(10)
    return False


def test_a_whole_life(manager: tuple[socket.socket, str]) -> None:
    end, address = manager
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    clock = Clock()
    notifier = Notifier(environ, clock)
    assert environ == {"HOME": "/"}  # children must not speak for us
    assert notifier.watchdog_s == 30.0
    notifier.extend(2.5)
    assert told(end) == ["EXTEND_TIMEOUT_USEC=2500000"]
    notifier.ready("2 streams")
    assert told(end) == ["READY=1", "STATUS=2 streams"]
    notifier.status("2 streams")
    notifier.status("1 of 2 streams,\nthe other: READY=1")
    assert told(end) == ["STATUS=1 of 2 streams, the other: READY=1"]
    notifier.stopping(10, "draining")
    assert told(end) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=10000000", "STATUS=draining"]
    assert nothing_told(end)
    notifier.close()
    notifier.close()
    notifier.status("gone")
    assert nothing_told(end)


def test_the_watchdog_is_fed_twice_in_its_time(manager: tuple[socket.socket, str]) -> None:
    end, address = manager
    clock = Clock()
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000"}, clock)
    fed_s = []
    for clock.now_s in range(30):
        notifier.watchdog()
        if not nothing_told(end):
            fed_s.append(clock.now_s)
    assert fed_s == [0, 5, 10, 15, 20, 25]
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/at/all"},
        {"NOTIFY_SOCKET": "/" + "x" * 300},
        {"NOTIFY_SOCKET": "/a\0b"},
    ],
)
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    notifier.ready("x")
    notifier.watchdog()
    notifier.stopping(3)
    notifier.close()


@pytest.mark.parametrize("interval", ["", "0", "many", "-5", "9" * 5000])
def test_no_watchdog(manager: tuple[socket.socket, str], interval: str) -> None:
    end, address = manager
    for pid in ("", str(os.getpid() + 1)):
        usec = interval if not pid else "1000000"  # another's watchdog is not ours
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
        notifier.watchdog()
        assert nothing_told(end)
        notifier.close()


def test_a_manager_that_does_not_read_blocks_nothing(manager: tuple[socket.socket, str]) -> None:
    end, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    for number in range(2000):
        notifier.status(f"turn {number}")
    assert notifier.failed > 0
    end.close()
    notifier.status("it is gone")
    notifier.close()
