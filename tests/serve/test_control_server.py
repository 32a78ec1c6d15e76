"""The control socket: who may take it, and what clients cannot do to it."""

from __future__ import annotations

import os
import resource
import select
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from auflow.errors import UsageError
from auflow.serve import control_server
from auflow.serve.control_server import ControlServer
from auflow.serve.lines import decode_line


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(short_tmp: Path, clock: Clock) -> Iterator[ControlServer]:
    server = ControlServer(short_tmp / "a" / "control.sock", clock)
    yield server
    server.close()


@contextmanager
def client(server: ControlServer) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(os.fspath(server.path))
        yield connection


def taken(server: ControlServer, count: int = 1) -> list[tuple[int, dict[str, Any]]]:
    """So many requests, or those that came until nothing happens any more."""
    found = []
    while len(found) < count and select.select([server], [], [], 0.1)[0]:
        found += server.requests()
    return found + server.requests()


def line(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 16)
    return decode_line(data)


def test_a_request_and_its_answer(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700
    with client(server) as connection:
        connection.sendall(b'{"op": "status"}\n{"op": "drain"}\n')
        (who, first), (same, second) = taken(server, 2)
        assert (who, first, second) == (same, {"op": "status"}, {"op": "drain"})
        server.answer(who, {"ok": True, "age": float("nan")})
        assert line(connection) == {"ok": True, "age": None}
    taken(server)
    server.answer(who, {"ok": True})  # gone: nothing happens
    assert not server.dropped


def test_a_line_in_pieces(server: ControlServer) -> None:
    with client(server) as connection:
        for piece in (b'{"op"', b': "sta', b'tus"}'):
            connection.sendall(piece)
            assert taken(server) == []
        connection.sendall(b"\n")
        assert [request for _, request in taken(server)] == [{"op": "status"}]


@pytest.mark.parametrize(
    ("sent", "why", "told"),
    [
        (b"GET / HTTP/1.0\r\n", "garbage", "expected a JSON object in each line"),
        (b"[1]\n", "garbage", "got list"),
        (b"\xff\xfe\n", "garbage", "expected a JSON object"),
        (b"[" * 60_000 + b"\n", "garbage", "nested too deeply"),
        (b"x" * 70_000, "oversize", "up to 65536 bytes"),
        (b"{}\n" * 65, "flood", "up to 64 requests"),
    ],
)
def test_nonsense_ends_its_connection_only(server: ControlServer, sent: bytes, why: str, told: str) -> None:
    with client(server) as bad, client(server) as good:
        bad.sendall(sent)
        assert taken(server) == []
        assert told in line(bad)["error"]
        with suppress(ConnectionResetError):  # of what was sent and never read
            assert bad.recv(1) == b""
        good.sendall(b'{"op": "status"}\n')
        assert len(taken(server)) == 1
    assert server.dropped == {why: 1}


def test_a_client_that_vanishes_in_the_middle(server: ControlServer) -> None:
    with client(server) as connection:
        connection.sendall(b'{"op": ')
    assert taken(server) == []
    assert server.dropped == {"vanished": 1}


def test_a_client_that_does_not_wait_for_its_answer(server: ControlServer) -> None:
    with client(server) as connection:
        connection.sendall(b'{"op": "status"}\n')
        ((who, _),) = taken(server)
    server.answer(who, {"ok": True, "text": "x" * 1_000_000})
    taken(server)
    assert server.dropped == {"vanished": 1}


def test_silent_clients_are_dropped(server: ControlServer, clock: Clock) -> None:
    with client(server) as silent, client(server) as dripping:
        taken(server)
        for _ in range(8):  # a byte every ten seconds does not keep a line open
            clock.now_s += 10
            with suppress(BrokenPipeError):
                dripping.sendall(b"{")
            assert server.requests() == []
        assert server.dropped == {"idle": 2}
        assert silent.recv(1) == b""


def test_a_client_that_takes_no_answer_is_read_no_more(server: ControlServer, clock: Clock) -> None:
    with client(server) as slow, client(server) as other:
        slow.sendall(b"{}\n")
        ((who, _),) = taken(server)
        server.answer(who, {"text": "x" * 10_000_000})  # more than the socket holds
        slow.sendall(b"{}\n{}\n")
        assert taken(server) == []
        other.sendall(b"{}\n")
        assert len(taken(server)) == 1
        clock.now_s += 61
        server.requests()
        assert server.dropped == {"idle": 2}


def test_a_large_answer_arrives_whole(server: ControlServer) -> None:
    with client(server) as connection:
        connection.sendall(b"{}\n")
        ((who, _),) = taken(server)
        server.answer(who, {"text": "x" * 3_000_000})
        data = b""
        deadline_s = time.monotonic() + 30
        while not data.endswith(b"\n") and time.monotonic() < deadline_s:
            server.requests()
            data += connection.recv(1 << 20)
        assert len(decode_line(data)["text"]) == 3_000_000


def test_too_many_clients(server: ControlServer) -> None:
    connections = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(33)]
    try:
        for connection in connections:
            connection.settimeout(10)
            connection.connect(os.fspath(server.path))
            assert server.requests() == []
        assert connections[-1].recv(1) == b""
        connections[0].sendall(b"{}\n")
        assert len(taken(server)) == 1
    finally:
        for connection in connections:
            connection.close()
    assert server.dropped == {"full": 1}


def test_without_descriptors_nobody_comes_in_and_nobody_is_woken(server: ControlServer, clock: Clock) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(os.fspath(server.path))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with open(os.devnull) as lowest:
            free = lowest.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            assert server.requests() == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        poller = select.poll()
        poller.register(server, select.POLLIN)
        assert poller.poll(100) == []
        clock.now_s += 2
        connection.sendall(b"{}\n")
        server.requests()
        assert len(taken(server)) == 1


def test_another_user_is_refused(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stranger's connection is made to look so: the test runs as one user.
    monkeypatch.setattr(control_server.struct, "unpack", lambda form, data: (1, os.geteuid() + 12345, 1))
    with client(server) as connection:
        taken(server)
        assert connection.recv(1) == b""
    assert server.dropped == {"refused": 1}


def test_the_socket_of_a_dead_service_is_replaced(short_tmp: Path) -> None:
    path = short_tmp / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(os.fspath(path))
        dead.listen()
    assert path.exists()
    server = ControlServer(path)
    with client(server) as connection:
        connection.sendall(b"{}\n")
        assert len(taken(server)) == 1
    server.close()
    assert not path.exists()


def test_a_living_service_keeps_its_socket(server: ControlServer) -> None:
    with pytest.raises(UsageError, match="a service listens there already"):
        ControlServer(server.path)
    with client(server) as connection:
        connection.sendall(b"{}\n")
        assert len(taken(server)) == 1


def test_a_file_is_not_replaced(short_tmp: Path) -> None:
    path = short_tmp / "control.sock"
    path.write_text("precious")
    with pytest.raises(UsageError, match="found a file"):
        ControlServer(path)
    assert path.read_text() == "precious"


def test_a_folder_that_others_can_write_to(short_tmp: Path) -> None:
    folder = short_tmp / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="nobody else can write to"):
        ControlServer(folder / "control.sock")


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="up to 107 bytes"):
        ControlServer(tmp_path / ("x" * 120))


def test_a_place_that_cannot_be(short_tmp: Path) -> None:
    (short_tmp / "file").touch()
    with pytest.raises(UsageError, match="the control socket cannot be made: "):
        ControlServer(short_tmp / "file" / "a" / "control.sock")


def test_close_leaves_the_socket_of_another(short_tmp: Path) -> None:
    server = ControlServer(short_tmp / "control.sock")
    server.path.unlink()
    other = ControlServer(short_tmp / "control.sock")
    server.close()
    server.close()
    assert other.path.exists()
    other.close()
    assert not other.path.exists()
    assert list(short_tmp.iterdir()) == []
