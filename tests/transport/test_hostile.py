"""Strangers at every open door: nothing crashes, memory stays bounded, honest peers go on."""

from __future__ import annotations

import os
import random
import socket as sockets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
from bus_kit import Bus, Publisher, Subscriber, heard, rss_kb, until

from auflow.transport.bus import topic
from auflow.transport.codec import encode
from auflow.transport.curve import Gatekeeper, secure_client
from auflow.transport.keys import ClientKeys, load_client_keys, load_server_keys, new_keys
from auflow.transport.link import DealerLink, RouterLink
from auflow.transport.messages import Credit
from auflow.transport.rundir import endpoint
from auflow.transport.schema import pack_segment

GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\3\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32  # of ZMTP 3.0
CURVE_GREETING = GREETING.replace(b"NULL\0", b"CURVE")
READY = b"\4\x26\5READY\x0bSocket-Type\0\0\0\6DEALER\x08Identity\0\0\0\0"
HUGE = GREETING + READY + b"\2" + struct.pack(">Q", 1 << 62)  # a long frame of 4 EB announced
rng = random.Random(5)
RUBBISH = {
    "nothing": b"",
    "random": rng.randbytes(100_000),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    "half a greeting": GREETING[:11],
    "greeting and silence": GREETING,
    "greeting of another version": GREETING.replace(b"\x7f\3", b"\x7f\x63"),
    "another mechanism": GREETING.replace(b"NULL", b"EVIL"),
    "curve and rubbish": CURVE_GREETING + b"\4\xc8\5HELLO" + rng.randbytes(194),
    "huge frame": HUGE,
    "endless handshake": GREETING + b"\4\xff" + b"\xff" * 255 * 40,
    "frames of rubbish": GREETING + READY + rng.randbytes(50_000),
}


def knock(address: str, data: bytes, linger_s: float = 0.05) -> None:
    """Send raw bytes to a ZeroMQ address, wait a little, and hang up."""
    if address.startswith("ipc://"):
        raw, where = sockets.socket(sockets.AF_UNIX), address.removeprefix("ipc://")
    else:
        host, port = address.removeprefix("tcp://").split(":")
        raw, where = sockets.socket(), (host, int(port))  # type: ignore[assignment]
    with raw:
        raw.settimeout(5)
        raw.connect(where)
        with suppress(OSError):  # it hangs up on us: its right
            raw.sendall(data)
            time.sleep(linger_s)


class Links:
    """A binding and a connecting end that know each other, with keys or without."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.context: Any = zmq.Context(1)
        self.gate: Gatekeeper | None = None
        self.keys: ClientKeys | None = None
        self.said: list[str] = []
        if kind == "curve":
            self.keys = load_client_keys(new_keys(folder / "keys"))
            self.gate = Gatekeeper(self.context, load_server_keys(folder / "keys"), self.said.append)
        address = endpoint(folder, "e") if kind == "ipc" else "tcp://127.0.0.1:*"
        self.up = RouterLink(self.context, address, gate=self.gate, warn=self.said.append, max_message_bytes=100_000)
        self.down = DealerLink(self.context, self.up.endpoint, "clnf-0", keys=self.keys)
        until(lambda: self.received() is None and self.down.socket.poll(1, zmq.POLLOUT))
        self.goes_on()

    def received(self) -> bytes | None:
        return self.up.receive()

    def goes_on(self) -> None:
        """A message each way."""
        self.down.send(encode(Credit(1)))
        got: list[bytes] = []
        until(lambda: got.append(payload) or True if (payload := self.received()) else False)
        assert got == [encode(Credit(1))]
        self.up.send(b"down")
        assert self.down.socket.poll(10_000)
        assert self.down.receive() == b"down"

    def stranger(self, keys: ClientKeys | None = None, identity: bytes = b"stranger") -> Any:
        dealer = self.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.IDENTITY, identity)
        dealer.setsockopt(zmq.HANDSHAKE_IVL, 500)
        if keys is not None:
            secure_client(dealer, keys)
        dealer.connect(self.up.endpoint)
        return dealer

    def close(self) -> None:
        self.up.close()
        self.down.close()
        if self.gate is not None:
            self.gate.close()
        self.context.term()


@pytest.fixture(params=["ipc", "tcp", "curve"])
def links(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Links]:
    links = Links(request.param, tmp_path)
    yield links
    links.close()


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_on_the_port_of_a_link(links: Links, rubbish: bytes) -> None:
    for _ in range(2):
        knock(links.up.endpoint, rubbish)
        assert links.received() is None
    links.goes_on()


def test_a_message_beyond_the_limit_costs_its_sender_the_connection(links: Links) -> None:
    if links.gate is not None:
        pytest.skip("nobody gets as far without keys")
    stranger = links.stranger()
    before_kb = rss_kb()
    stranger.send(b"x" * 100_001)
    stranger.send(b"small")
    until(lambda: links.received() is None and links.up.refused)  # the small one, over a new connection
    assert links.up.refused == 1
    assert rss_kb() - before_kb < 20_000
    stranger.close()
    links.goes_on()


def test_a_flood_of_a_second_peer(links: Links) -> None:
    if links.gate is not None:
        pytest.skip("nobody gets as far without keys")
    stranger = links.stranger()
    for _ in range(20_000):
        stranger.send(b"x" * 50)
    until(lambda: links.received() is None and links.up.refused == 20_000)
    assert len(links.said) == 1
    stranger.close()
    links.goes_on()


def other_keys(folder: Path) -> ClientKeys:
    """Keys that the server of `folder` does not know, with its true public key."""
    stranger = load_client_keys(new_keys(folder / "others"))
    return ClientKeys(load_server_keys(folder / "keys").public, stranger.public, stranger.secret)


def wrong_server(folder: Path) -> ClientKeys:
    """The right pair, for another server."""
    right = load_client_keys(folder / "keys/clients/client")
    return ClientKeys(load_client_keys(new_keys(folder / "others")).server, right.public, right.secret)


@pytest.mark.parametrize("keys", [lambda folder: None, other_keys, wrong_server], ids=["none", "unknown", "server"])
def test_who_has_no_right_keys_gets_nowhere(tmp_path: Path, keys: Callable[[Path], ClientKeys | None]) -> None:
    links = Links("curve", tmp_path)
    stranger = links.stranger(keys(tmp_path), b"clnf-0")  # under the honest peer's name
    try:
        for _ in range(20):
            with suppress(zmq.Again):  # libzmq gives up once it was refused
                stranger.send(encode(Credit(100)), zmq.NOBLOCK)
            links.goes_on()
            time.sleep(0.02)
        assert links.up.refused == 0  # nothing of it has arrived
        if keys is other_keys:
            assert links.gate is not None
            assert links.gate.refused > 0
            assert "unknown key from 127.0.0.1" in links.said[0]
    finally:
        stranger.close()
        links.close()


def test_a_client_can_be_added_and_shut_out_while_the_server_runs(tmp_path: Path) -> None:
    links = Links("curve", tmp_path)
    try:
        folder = new_keys(tmp_path / "keys", "second")
        time.sleep(0.1)
        second = links.stranger(load_client_keys(folder))
        second.send(b"hello")
        until(lambda: links.received() is None and links.up.refused == 1)  # it is in, and a second peer
        second.close()
        keys = load_client_keys(folder)
        (folder / "client.public").unlink()
        time.sleep(1.1)
        again = links.stranger(keys)
        again.send(b"hello")
        assert links.gate is not None
        until(lambda: links.received() is None and links.gate.refused)
        assert links.up.refused == 1
        again.close()
    finally:
        links.close()


@pytest.fixture(params=["plain", "curve"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    keys = None
    if request.param == "curve":
        new_keys(tmp_path / "keys")
        keys = load_server_keys(tmp_path / "keys")
    with Bus(endpoint(tmp_path, "bus"), keys=keys) as bus:
        yield bus


class Honest(Subscriber):
    """A subscriber with the keys, where there are any."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        super().__init__(bus.address)
        if bus.gate is not None:
            self.socket.disconnect(bus.address)
            secure_client(self.socket, load_client_keys(folder / "keys/clients/client"))
            self.socket.connect(bus.address)


def test_rubbish_on_the_port_of_the_bus(bus: Bus, tmp_path: Path) -> None:
    with Publisher(endpoint(tmp_path, "bus")) as publisher, Honest(bus, tmp_path) as honest:
        heard(publisher, honest)
        for rubbish in RUBBISH.values():
            knock(bus.address, rubbish)
            publisher.publish(topic("a", "result"), b"still here")
            assert honest.next()[1] == b"still here"


def test_nobody_hears_the_bus_without_keys(tmp_path: Path) -> None:
    new_keys(tmp_path / "keys")
    inner = endpoint(tmp_path, "bus")
    with (
        Bus(inner, keys=load_server_keys(tmp_path / "keys")) as bus,
        Publisher(inner) as publisher,
        Honest(bus, tmp_path) as honest,
        Subscriber(bus.address) as stranger,
    ):
        heard(publisher, honest)
        for _ in range(20):
            publisher.publish(topic("a", "result"), pack_segment("a", 1, 0.0, {}))
            honest.next()
        assert not stranger.socket.poll(300)


def test_a_hundred_connections_that_say_nothing(bus: Bus, tmp_path: Path) -> None:
    with Publisher(endpoint(tmp_path, "bus")) as publisher, Honest(bus, tmp_path) as honest:
        heard(publisher, honest)
        host, port = bus.address.removeprefix("tcp://").split(":")
        before = len(os.listdir("/proc/self/fd"))
        idle = [sockets.create_connection((host, int(port))) for _ in range(100)]
        publisher.publish(topic("a", "result"), b"still here")
        assert honest.next()[1] == b"still here"
        for raw in idle:
            raw.close()
        until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)
