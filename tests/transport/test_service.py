"""Detection as a service: each gets the answer to its own question, workers take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from auflow.transport import messages as m
from auflow.transport.codec import encode
from auflow.transport.faults import TransportError
from auflow.transport.link import new_context
from auflow.transport.rundir import endpoint
from auflow.transport.service import DetectClient, DetectServer

T = TypeVar("T")
Parts = tuple[list[DetectServer], list[DetectClient]]


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    context = new_context()
    addresses = [endpoint(tmp_path, f"d{number}") for number in range(2)]
    servers = [DetectServer(context, address) for address in addresses]
    clients = [DetectClient(context, addresses, f"clnf-{lane}") for lane in range(2)]
    for client in clients:
        for socket in client.sockets:
            assert socket.poll(5000, 2)
        client.open()
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
        client.ask(request(lane, 5))
    for _ in clients:
        who, asked = wait_for(server.receive)
        server.answer(who, m.Boxes(asked.lane, 5, np.full((1, 5), asked.lane, np.float32)))
    for lane, client in enumerate(clients):
        answer = wait_for(partial(client.receive, request(lane, 5)))
        assert (answer.boxes == lane).all()
    assert server.clients == {b"clnf-0", b"clnf-1"}


def test_workers_take_turns(parts: Parts) -> None:
    servers, (client, _) = parts
    for index, server in ((1, servers[0]), (2, servers[1]), (3, servers[0])):
        client.ask(request(0, index))
        who, asked = wait_for(server.receive)
        assert asked == request(0, index)
        server.answer(who, m.Boxes(0, index, np.zeros((0, 5), np.float32)))
        wait_for(partial(client.receive, request(0, index)))


def test_an_answer_to_another_frame_is_refused(parts: Parts) -> None:
    (server, _), (client, _) = parts
    client.ask(request(0, 2))
    who, _ = wait_for(server.receive)
    server.answer(who, m.Boxes(0, 1, np.zeros((0, 5), np.float32)))
    with pytest.raises(TransportError, match="expected boxes of frame 2"):
        wait_for(partial(client.receive, request(0, 2)))


def test_another_message_is_refused(parts: Parts) -> None:
    (server, _), (client, _) = parts
    client.sockets[0].send(encode(m.Exit()))
    with pytest.raises(TransportError, match="expected DetectRequest, got Exit"):
        wait_for(server.receive)


def test_the_one_who_asked_is_gone(parts: Parts) -> None:
    (server, _), _ = parts
    with pytest.raises(TransportError, match="is gone"):
        server.answer(b"nobody", m.Boxes(0, 1, np.zeros((0, 5), np.float32)))
