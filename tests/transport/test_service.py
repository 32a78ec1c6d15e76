"""Detection as a service: each gets the answer to its own question, workers take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import zmq

from auflow.transport import messages as m
from auflow.transport import service
from auflow.transport.codec import encode
from auflow.transport.link import new_context
from auflow.transport.rundir import endpoint
from auflow.transport.service import DetectClient, DetectServer

T = TypeVar("T")
Parts = tuple[list[DetectServer], list[DetectClient]]

PICTURE = np.zeros((4, 4, 3), np.uint8)  # lies in the ring: it does not travel


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    context = new_context()
    addresses = [endpoint(tmp_path, f"d{number}") for number in range(2)]
    servers = [DetectServer(context, address) for address in addresses]
    clients = [DetectClient(context, addresses, f"clnf-{lane}") for lane in range(2)]
    for client in clients:
        for socket in client.sockets:
            assert socket.poll(5000, 2)
    yield servers, clients
    for server in servers:
        server.close()
    for client in clients:
        client.close()
    context.term()


def request(lane: int, index: int) -> m.DetectRequest:
    return m.DetectRequest(lane, m.FrameReady(lane, index, 0.0, 0, 1, 6, 8, 0.0))


def wait_for(poll: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + 5
    while (got := poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return got


def test_each_lane_gets_its_own_answer(parts: Parts) -> None:
    (server, _), clients = parts
    for lane, client in enumerate(clients):
        client.ask(request(lane, 5), PICTURE)
    for _ in clients:
        who, asked = wait_for(server.receive)
        server.answer(who, m.Boxes(asked.lane, 5, np.full((1, 5), asked.lane, np.float32)))
    for lane, client in enumerate(clients):
        answer = wait_for(partial(client.receive, request(lane, 5)))
        assert (answer.boxes == lane).all()


def test_workers_take_turns(parts: Parts) -> None:
    servers, (client, _) = parts
    for index, server in ((1, servers[0]), (2, servers[1]), (3, servers[0])):
        client.ask(request(0, index), PICTURE)
        who, asked = wait_for(server.receive)
        assert asked == request(0, index)
        server.answer(who, m.Boxes(0, index, np.zeros((0, 5), np.float32)))
        wait_for(partial(client.receive, request(0, index)))


def answer_next(server: DetectServer, value: float = 0) -> m.DetectRequest:
    who, asked = wait_for(server.receive)
    server.answer(who, m.Boxes(asked.frame.stream, asked.frame.index, np.full((1, 5), value, np.float32)))
    return asked


def test_an_answer_to_an_earlier_question_is_passed_over(parts: Parts) -> None:
    (server, _), (client, _) = parts
    client.ask(request(0, 2), PICTURE)
    who, _ = wait_for(server.receive)
    server.answer(who, m.Boxes(0, 1, np.zeros((3, 5), np.float32)))
    server.answer(who, m.Boxes(0, 2, np.zeros((2, 5), np.float32)))
    assert len(wait_for(partial(client.receive, request(0, 2))).boxes) == 2


def test_who_gets_no_answer_asks_the_next_worker(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FIRST_PATIENCE_S", 0.05)
    (first, second), (client, _) = parts
    client.ask(request(0, 7), PICTURE)
    wait_for(first.receive)  # and dies of it
    wait_for(lambda: client.receive(request(0, 7)) or client.repeated or None)
    assert answer_next(second, 4) == request(0, 7)
    assert (wait_for(partial(client.receive, request(0, 7))).boxes == 4).all()


def test_a_worker_that_is_started_again_is_found(tmp_path: Path) -> None:
    """The client keeps its connections; a new worker binds the same address."""
    context = new_context()
    address = endpoint(tmp_path, "d")
    client = DetectClient(context, [address], "clnf-0")
    try:
        client.ask(request(0, 1), PICTURE)  # nobody has ever been there
        for incarnation in (1, 2):
            server = DetectServer(context, address)
            while (found := server.receive()) is None:
                assert client.receive(request(0, incarnation)) is None
                time.sleep(min(0.01, client.wait_s))
            who, asked = found
            server.answer(who, m.Boxes(0, asked.frame.index, np.zeros((incarnation, 5), np.float32)))
            assert len(wait_for(partial(client.receive, request(0, incarnation))).boxes) == incarnation
            server.close()
            client.ask(request(0, incarnation + 1), PICTURE)
    finally:
        client.close()
        context.term()


def test_a_lane_that_is_started_again_has_its_old_name(tmp_path: Path) -> None:
    context = new_context()
    address = endpoint(tmp_path, "d")
    server, before = DetectServer(context, address), DetectClient(context, [address], "clnf-0")
    ends: list[DetectServer | DetectClient] = [server, before]
    try:
        assert before.sockets[0].poll(5000, zmq.POLLOUT)
        before.ask(request(0, 1), PICTURE)
        answer_next(server)
        after = DetectClient(context, [address], "clnf-0")  # the connection of the one that died is still known
        ends.append(after)
        assert after.sockets[0].poll(5000, zmq.POLLOUT)
        after.ask(request(0, 2), PICTURE)
        assert answer_next(server, 3) == request(0, 2)
        assert (wait_for(partial(after.receive, request(0, 2))).boxes == 3).all()
    finally:
        for end in ends:
            end.close()
        context.term()


def test_another_message_is_told_and_dropped(tmp_path: Path) -> None:
    context = new_context()
    address, complaints = endpoint(tmp_path, "d"), []
    server, client = DetectServer(context, address, complaints.append), DetectClient(context, [address], "clnf-0")
    try:
        for payload in (encode(m.Exit()), b"\xc1 no message"):
            wait_for(lambda payload=payload: sent(client, payload))
        client.ask(request(0, 1), PICTURE)
        answer_next(server)
        assert len(complaints) == 2
        assert "expected DetectRequest, got Exit" in complaints[0]
        server.answer(b"nobody", m.Boxes(0, 1, np.zeros((0, 5), np.float32)))
        assert "is gone" in complaints[2]
    finally:
        server.close()
        client.close()
        context.term()


def sent(client: DetectClient, payload: bytes) -> bool | None:
    try:
        client.sockets[0].send(payload, zmq.NOBLOCK)
    except zmq.Again:
        return None
    return True
