"""The contract of a link, over its twin in memory, a path, TCP, and TCP with keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zmq

from auflow.transport.curve import Gatekeeper
from auflow.transport.faults import PeerGoneError, TransportError
from auflow.transport.keys import load_client_keys, load_server_keys, new_keys
from auflow.transport.link import DealerLink, RouterLink, new_context
from auflow.transport.memory import MemoryNetwork
from auflow.transport.rundir import endpoint

T = TypeVar("T")
PIXELS = bytes(range(256)) * 1200  # 307,200 bytes: travels without a copy


def first(poll: Callable[[], T | None], limit_s: float = 10.0) -> T:
    """What `poll` gives once there is something."""
    deadline = time.monotonic() + limit_s
    while (got := poll()) is None:
        assert time.monotonic() < deadline, f"nothing came within {limit_s} s"
        time.sleep(0.001)
    return got


class Net:
    """Makes links of one kind, and closes them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._memory = MemoryNetwork()
        self._links: list[Any] = []
        self.gate: Gatekeeper | None = None
        if kind == "memory":
            return
        self.context = new_context()
        self.address = endpoint(folder, "e") if kind == "ipc" else "tcp://127.0.0.1:*"
        self.keys = None
        if kind == "curve":
            self.keys = load_client_keys(new_keys(folder / "keys"))
            self.gate = Gatekeeper(self.context, load_server_keys(folder / "keys"))

    def router(self, **options: Any) -> Any:
        if self.kind == "memory":
            link: Any = self._memory.router("e", **options)
        else:
            link = RouterLink(self.context, self.address, gate=self.gate, **options)
            self.address = link.endpoint  # a second one of a test binds where the first did
        self._links.append(link)
        return link

    def dealer(self, identity: str = "") -> Any:
        if self.kind == "memory":
            link: Any = self._memory.dealer("e", identity)
        else:
            link = DealerLink(self.context, self.address, identity, keys=self.keys)
        self._links.append(link)
        if self.kind != "memory":
            self.connected(link)
        return link

    def connected(self, dealer: Any) -> None:
        """Wait until the dealer may send; whoever is asked about keys answers meanwhile."""
        first(lambda: self.answer() or dealer.socket.poll(1, zmq.POLLOUT) or None)

    def answer(self) -> None:
        if self.gate is not None:
            self.gate.answer()

    def raw(self, dealer: Any, *parts: bytes) -> None:
        """A message of any form."""
        if self.kind == "memory":
            dealer.send_raw(parts)
        else:
            dealer.socket.send_multipart(parts)

    def close(self) -> None:
        for link in self._links:
            link.close()
        if self.kind != "memory":
            if self.gate is not None:
                self.gate.close()
            self.context.term()


@pytest.fixture(params=["memory", "ipc", "tcp", "curve"])
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Net]:
    net = Net(request.param, tmp_path)
    yield net
    net.close()


def greeted(net: Net, identity: str = "clnf-0") -> tuple[Any, Any]:
    """A router and a dealer that know each other."""
    up = net.router()
    down = net.dealer(identity)
    down.send(b"hello")
    assert first(up.receive) == b"hello"
    return up, down


def refused(link: Any, count: int) -> None:
    """Wait until `count` messages were refused, and nothing else came."""

    def look() -> bool | None:
        assert link.receive_parts() is None
        return True if link.refused >= count else None

    first(look)
    assert link.refused == count


def sent_until_refused(net: Net, link: Any) -> None:
    """ZeroMQ hears of a closed connection a moment later."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        net.answer()
        link.send(b"anyone?")
        time.sleep(0.001)


def test_messages_come_in_order_both_ways(net: Net) -> None:
    up, down = greeted(net)
    for number in range(200):
        up.send(b"down %d" % number)
        down.send(b"up %d" % number)
    assert [first(down.receive) for _ in range(200)] == [b"down %d" % n for n in range(200)]
    assert [first(up.receive) for _ in range(200)] == [b"up %d" % n for n in range(200)]
    assert up.receive() is None
    assert down.receive() is None


def test_the_binding_end_needs_a_greeting_first(net: Net) -> None:
    up = net.router()
    net.dealer()
    with pytest.raises(TransportError, match="expected a peer before the first message"):
        up.send(b"too early")


@pytest.mark.parametrize("size", [0, 1, 60_000, len(PIXELS)])
def test_pixels_arrive_as_they_were(net: Net, size: int) -> None:
    up, down = greeted(net)
    pixels = memoryview(PIXELS[:size])
    for sender, receiver in ((up, down), (down, up)):
        delivery = sender.send(b"frame", pixels)
        payload, got = first(receiver.receive_parts)
        assert payload == b"frame"
        assert got is not None
        assert got.readonly
        assert bytes(got) == PIXELS[:size]
        first(lambda delivery=delivery: delivery.done or None)  # may be written over from here on


def test_pixels_may_be_an_array_of_several_dimensions(net: Net) -> None:
    import numpy as np

    up, down = greeted(net)
    picture = np.arange(64 * 480 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 480, 3)
    up.send(b"frame", memoryview(picture))
    _, got = first(down.receive_parts)
    assert np.array_equal(np.frombuffer(got, np.uint8).reshape(picture.shape), picture)


def test_a_message_without_pixels_has_none(net: Net) -> None:
    up, down = greeted(net)
    assert up.send(b"plain") is None
    assert first(down.receive_parts) == (b"plain", None)


def test_pixels_where_none_are_taken_are_refused(net: Net) -> None:
    up, down = greeted(net)
    for sender, receiver in ((up, down), (down, up)):
        sender.send(b"frame", memoryview(b"pixels"))
        sender.send(b"plain")
        assert first(receiver.receive) == b"plain"
        assert receiver.refused == 1


def test_sending_to_one_who_left_is_an_error(net: Net) -> None:
    up, down = greeted(net)
    down.close()
    with pytest.raises(PeerGoneError, match="the peer is gone"):
        sent_until_refused(net, up)


def test_sending_when_nobody_is_bound_is_an_error(net: Net) -> None:
    up, down = greeted(net)
    up.close()
    with pytest.raises(PeerGoneError, match="not connected"):
        sent_until_refused(net, down)


def test_what_was_sent_before_closing_arrives(net: Net) -> None:
    up, down = greeted(net)
    for number in range(50):
        down.send(b"up %d" % number)
    down.close()
    assert [first(up.receive) for _ in range(50)] == [b"up %d" % n for n in range(50)]


def test_a_second_peer_is_refused_and_the_first_goes_on(net: Net) -> None:
    up, down = greeted(net)
    stranger = net.dealer("stranger")
    stranger.send(b"let me in")
    refused(up, 1)
    up.send(b"for the first")
    assert first(down.receive) == b"for the first"
    assert stranger.receive() is None
    down.send(b"still here")
    assert first(up.receive) == b"still here"


def test_only_the_expected_peer_is_taken(net: Net) -> None:
    up = net.router(peer="clnf-0")
    net.dealer("stranger").send(b"me first")
    refused(up, 1)
    net.dealer("clnf-0").send(b"hello")
    assert first(up.receive) == b"hello"


def test_who_comes_again_under_its_name_takes_over(net: Net) -> None:
    up, down = greeted(net)
    down.close()
    again = net.dealer("clnf-0")
    again.send(b"here again")
    assert first(up.receive) == b"here again"
    up.send(b"welcome")
    assert first(again.receive) == b"welcome"
    assert up.refused == 0


def test_a_restarted_binding_end_is_found_again(net: Net) -> None:
    up, down = greeted(net)
    up.close()
    with pytest.raises(PeerGoneError):
        sent_until_refused(net, down)
    up = first(lambda: bound(net))
    if net.kind != "memory":
        net.connected(down)
    down.send(b"hello again")
    assert first(up.receive) == b"hello again"
    up.send(b"and you")
    assert first(down.receive) == b"and you"


def bound(net: Net) -> Any:
    """A router where there was one a moment ago; None while the port is not free yet."""
    try:
        return net.router()
    except TransportError:
        return None


def test_messages_of_another_form_are_refused_at_the_binding_end(net: Net) -> None:
    up, down = greeted(net)
    net.raw(down, b"one", b"two", b"three")
    net.raw(down, *[b"x"] * 1000)
    down.send(b"good")
    assert first(up.receive) == b"good"
    assert up.refused == 2


def test_messages_of_another_form_are_refused_at_the_connecting_end(net: Net) -> None:
    up, down = greeted(net)
    if net.kind == "memory":
        up.send_raw((b"one", b"two", b"three"))
    else:
        up.socket.send_multipart((b"clnf-0", b"one", b"two", b"three"))
    up.send(b"good")
    assert first(down.receive) == b"good"
    assert down.refused == 1


def test_a_refused_greeting_makes_nobody_the_peer(net: Net) -> None:
    up = net.router()
    net.raw(net.dealer("stranger"), b"one", b"two", b"three")
    refused(up, 1)
    with pytest.raises(TransportError, match="expected a peer"):
        up.send(b"to whom?")


def test_refusals_are_told_but_not_each(tmp_path: Path) -> None:
    context = new_context()
    said: list[str] = []
    up = RouterLink(context, endpoint(tmp_path, "e"), warn=said.append)
    down = DealerLink(context, endpoint(tmp_path, "e"))
    try:
        assert down.socket.poll(5000, zmq.POLLOUT)
        for _ in range(20):
            down.socket.send_multipart([b"1", b"2", b"3"])
        refused(up, 20)
        assert len(said) == 1
        assert "refused a message of 3 parts" in said[0]
    finally:
        up.close()
        down.close()
        context.term()
