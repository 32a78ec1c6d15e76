"""Health over HTTP: what is answered when, and that a bad client costs only itself."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from auflow.errors import UsageError
from auflow.serve.health import HealthServer, not_ready
from auflow.telemetry import http

from .conftest import STATUS


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1:0", stale_s=30.0, clock=clock)
    yield server
    server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, Any]:
    host, _, port = server.address.rpartition(":")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body and answer.headers[
            "Content-Type"
        ] == "application/json" else None
    finally:
        connection.close()


def raw(server: HealthServer, sent: bytes = b"") -> socket.socket:
    host, _, port = server.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(sent)
    return connection


def test_alive_while_the_loop_ticks(server: HealthServer, clock: Clock) -> None:
    assert get(server, "/healthz") == (200, {"alive": True})
    clock.now_s += 31
    code, answer = get(server, "/healthz?verbose")
    assert (code, answer["alive"]) == (503, False)
    assert answer["reasons"] == ["the main loop has been silent for 31 s, more than 30 s"]
    server.tick()
    assert get(server, "/healthz")[0] == 200


def test_ready_when_the_status_says_so(server: HealthServer) -> None:
    assert get(server, "/readyz") == (503, {"ready": False, "reasons": ["the service is starting"]})
    server.update(STATUS)
    assert get(server, "/readyz") == (200, {"ready": True, "reasons": []})
    assert get(server, "/status") == (200, STATUS)


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        ({}, ["the service is starting"]),
        ({"state": "ready", "streams": [{"state": "stalled"}]}, []),
        ({"state": "degraded", "bus": {"state": "failed"}}, ["the service is degraded", "the bus is failed"]),
        ({"state": "draining"}, ["the service is draining"]),
        (
            {"state": "degraded", "lanes": [{"name": "l1", "state": "ready"}, {"name": "l2", "state": "given up"}]},
            ["the service is degraded", "l2 is given up"],
        ),
        ({"state": "degraded", "detectors": [{"name": "d1", "state": "starting"}]},
         ["the service is degraded", "d1 is starting"]),
    ],
)  # fmt: skip
def test_why_it_is_not_ready(status: dict[str, Any], reasons: list[str]) -> None:
    assert not_ready(status) == reasons


def test_what_is_not_there(server: HealthServer) -> None:
    code, answer = get(server, "/metrics")
    assert (code, answer) == (404, {"error": "there are /healthz, /readyz and /status"})
    assert get(server, "/healthz", "POST")[0] == 501
    assert get(server, "/healthz", "HEAD") == (200, None)


def test_numbers_that_json_does_not_have(server: HealthServer) -> None:
    server.update({"state": "ready", "fps": float("inf"), "list": [float("nan")]})
    assert get(server, "/status")[1] == {"state": "ready", "fps": None, "list": [None]}


def test_ipv6() -> None:
    try:
        server = HealthServer("[::1]:0")
    except UsageError:
        pytest.skip("no IPv6 on this machine")
    assert server.address.startswith("[::1]:")
    assert get(server, "/healthz")[0] == 200
    server.close()


def test_an_address_that_is_taken_or_none(server: HealthServer) -> None:
    with pytest.raises(UsageError, match=f"{server.address} cannot be listened on"):
        HealthServer(server.address)
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        HealthServer("nowhere")


def test_nonsense_is_answered_and_forgotten(server: HealthServer) -> None:
    for sent in (
        b"\0\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n",
    ):
        with raw(server, sent) as connection:
            answer = connection.recv(4096)
            assert b" 200 " not in answer
    assert get(server, "/healthz")[0] == 200


def test_slow_clients_are_ended(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "WHOLE_S", 0.2)
    with raw(server, b"GET /healthz HT") as slow:
        assert slow.recv(100) == b""  # within the time-out of this socket
    assert server.refused >= 1
    assert get(server, "/healthz")[0] == 200


def test_too_many_at_once(server: HealthServer) -> None:
    held = [raw(server, b"GET") for _ in range(16)]
    deadline_s = time.monotonic() + 30
    while server.refused == 0 and time.monotonic() < deadline_s:
        # Who comes seventeenth or later is closed at once.
        with raw(server) as late:
            late.settimeout(0.5)
            try:
                late.recv(1)
            except (TimeoutError, ConnectionResetError):
                continue
    assert server.refused >= 1
    for connection in held:
        connection.close()
    while time.monotonic() < deadline_s:
        try:
            assert get(server, "/healthz")[0] == 200
            break
        except (ConnectionError, OSError):  # the held ones are not gone yet
            time.sleep(0.05)
    else:
        pytest.fail("no answer after the others had gone")


def test_close_ends_what_is_open() -> None:
    before = threading.active_count()
    server = HealthServer("127.0.0.1:0")
    with raw(server, b"GET /healthz HT") as half:
        get(server, "/healthz")  # by now the half request has a thread
        server.close()
        server.close()
        assert half.recv(10) == b""
    deadline_s = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert threading.active_count() == before
