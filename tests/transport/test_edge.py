"""The contract of an edge, over ZeroMQ and over its twin in memory: credits, order, ends that count and are heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from auflow.stages.records import SourceInfo
from auflow.transport import messages as m
from auflow.transport.codec import decode, encode
from auflow.transport.edge import EdgeReceiver, EdgeSender
from auflow.transport.faults import TransportError
from auflow.transport.link import DealerLink, Link, RouterLink, memory_links, new_context
from auflow.transport.rundir import endpoint

INFO = SourceInfo("a.mp4", "video", 8, 6, 25.0, None)
WINDOW = 3
T = TypeVar("T")


@dataclass
class Pair:
    """Both ends of an edge and of its link."""

    up: Link
    down: Link
    sender: EdgeSender[m.FrameReady]
    receiver: EdgeReceiver[m.FrameReady]

    def greet(self) -> None:
        self.receiver.open()
        pumped(self.sender, lambda: self.sender.connected)

    def next(self) -> object:
        return first(self.receiver.receive)

    def raw_down(self, record: object) -> None:
        """A message that the sender's own rules would not let through."""
        self.up.send(encode(record))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "nothing came within 5 s"
        time.sleep(0.001)


def first(poll: Callable[[], T | None]) -> T:
    """What `poll` gives once there is something."""
    deadline = time.monotonic() + 5
    while (got := poll()) is None:
        assert time.monotonic() < deadline, "nothing came within 5 s"
        time.sleep(0.001)
    return got


def pumped(sender: EdgeSender[m.FrameReady], condition: Callable[[], bool]) -> None:
    """Let the sender take in what comes until the condition holds."""

    def pump() -> bool:
        sender.pump()
        return condition()

    until(pump)


def sent_until_refused(link: Link) -> None:
    """ZeroMQ hears of a closed connection a moment later."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        link.send(b"anyone?")
        time.sleep(0.001)


@pytest.fixture(params=["zmq", "memory"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    up: Link
    down: Link
    if request.param == "memory":
        up, down = memory_links()
        yield Pair(up, down, EdgeSender(up, "edge"), EdgeReceiver(down, "edge", WINDOW, m.FrameReady))
        return
    context = new_context()
    address = endpoint(tmp_path, "e")
    down = DealerLink(context, address, "clnf-0")  # before the other end binds: it must try again
    up = RouterLink(context, address)
    assert down.socket.poll(5000, 2)
    yield Pair(up, down, EdgeSender(up, "edge"), EdgeReceiver(down, "edge", WINDOW, m.FrameReady))
    up.close()
    down.close()
    context.term()


def start(stream: int = 0) -> m.StreamStart:
    return m.StreamStart(stream, INFO, "a.csv")


def frame(index: int, stream: int = 0) -> m.FrameReady:
    return m.FrameReady(stream, index, index / 25, 0, 1, 6, 8, 0.0)


def end(frames: int, stream: int = 0) -> m.StreamEnd:
    return m.StreamEnd(stream, frames, frames, 0, 0, 0, False, None, None)


def test_a_stream_in_order_with_its_end(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    for index in (1, 2, 3):
        pair.sender.send(frame(index))
    pair.sender.end(end(3))
    assert [pair.next() for _ in range(5)] == [start(), frame(1), frame(2), frame(3), end(3)]
    pair.receiver.acknowledge()
    pumped(pair.sender, lambda: pair.sender.can_start)


def test_nothing_is_sent_before_the_greeting(pair: Pair) -> None:
    assert not pair.sender.can_start
    with pytest.raises(TransportError, match="may not start"):
        pair.sender.start(start())
    with pytest.raises(TransportError, match="expected credit"):
        pair.sender.send(frame(1))


def test_never_beyond_the_credit(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    for index in range(1, WINDOW + 1):
        pair.sender.send(frame(index))
    assert pair.sender.credit == 0
    with pytest.raises(TransportError, match="expected credit for a frame, got none"):
        pair.sender.send(frame(WINDOW + 1))


def test_credit_comes_back_with_the_work_and_only_then(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    sent = 0
    for done in range(20):
        while pair.sender.credit:
            sent += 1
            pair.sender.send(frame(sent))
        assert sent - done <= WINDOW
        while not isinstance(pair.next(), m.FrameReady):
            pass
        pair.receiver.done()
        time.sleep(0.002)
        pair.sender.pump()
    assert sent > WINDOW


def test_a_frame_beyond_the_credit_is_caught_below_too(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    pair.next()
    for index in range(1, WINDOW + 2):
        pair.raw_down(frame(index))
    for _ in range(WINDOW):
        pair.next()
    with pytest.raises(TransportError, match="beyond the credit, got frame 4"):
        pair.next()


def test_a_lost_frame_shows_in_the_count(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    pair.sender.send(frame(1))
    with pytest.raises(TransportError, match="sent 1 frames, got 2 decoded = 2 done"):
        pair.sender.end(end(2))
    pair.raw_down(end(2))
    pair.next()
    pair.next()
    with pytest.raises(TransportError, match="received 1 frames, but its end says 2 decoded"):
        pair.next()


def test_in_equals_done_dropped_and_failed(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    pair.sender.send(frame(1))
    off = replace(end(1), decoded=4, dropped=1, failed=1)
    with pytest.raises(TransportError, match="4 decoded = 1 done \\+ 1 dropped \\+ 1 failed"):
        pair.sender.end(off)
    pair.sender.end(replace(off, decoded=3))
    pair.next()
    pair.next()
    assert pair.next() == replace(off, decoded=3)


@pytest.mark.parametrize(
    "wrong", [frame(1, stream=1), start(1), end(0, stream=1), m.Credit(1), m.FrameReady], ids=lambda w: str(w)[:12]
)
def test_what_does_not_fit_is_refused(pair: Pair, wrong: object) -> None:
    pair.greet()
    pair.sender.start(start())
    assert pair.next() == start()
    if isinstance(wrong, type):
        pair.up.send(b"\xc1 no message")
    else:
        pair.raw_down(wrong)
    with pytest.raises(TransportError):
        pair.next()


def test_a_frame_outside_of_a_stream_is_refused(pair: Pair) -> None:
    pair.greet()
    with pytest.raises(TransportError, match="outside of one"):
        pair.sender.send(frame(1))
    pair.raw_down(frame(1))
    with pytest.raises(TransportError, match="expected a frame of stream None"):
        pair.next()


def test_the_next_stream_may_start_early_but_only_one(pair: Pair) -> None:
    pair.greet()
    for stream in (0, 1):
        pair.sender.start(start(stream))
        pair.sender.end(end(0, stream))
    assert not pair.sender.can_start
    assert [pair.next() for _ in range(2)] == [start(0), end(0, 0)]
    with pytest.raises(TransportError, match="does not fit"):  # this one is not finished here
        pair.next()


def test_a_wrong_acknowledgement_is_refused(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    pair.sender.end(end(0))
    pair.down.send(encode(m.Ack(0, 1)))
    with pytest.raises(TransportError, match="expected an acknowledgement"):
        pumped(pair.sender, lambda: False)


def test_acknowledging_nothing_is_refused(pair: Pair) -> None:
    pair.greet()
    with pytest.raises(TransportError, match="expected an ended stream"):
        pair.receiver.acknowledge()


@pytest.mark.parametrize("wrong", [m.Credit(0), m.Credit(-3), m.Released(0, 1)], ids=str)
def test_upward_nonsense_is_refused(pair: Pair, wrong: object) -> None:
    pair.greet()
    pair.down.send(encode(wrong))
    with pytest.raises(TransportError, match="expected Credit or Ack"):
        pumped(pair.sender, lambda: False)


def test_sending_to_nobody_raises(pair: Pair) -> None:
    with pytest.raises(TransportError, match="expected a peer before the first message"):
        pair.up.send(encode(m.Credit(1)))


def test_zmq_tells_when_the_peer_is_gone_or_a_second_one_comes(tmp_path: Path) -> None:
    context = new_context()
    address = endpoint(tmp_path, "e")
    up = RouterLink(context, address)
    one, two = DealerLink(context, address, "first"), DealerLink(context, address, "second")
    try:
        assert one.socket.poll(5000, 2)
        assert two.socket.poll(5000, 2)
        one.send(encode(m.Credit(1)))
        assert decode(first(up.receive)) == m.Credit(1)
        two.send(encode(m.Credit(1)))
        with pytest.raises(TransportError, match="a second peer"):
            first(up.receive)
        one.close()
        with pytest.raises(TransportError, match="the peer is gone"):
            sent_until_refused(up)
    finally:
        up.close()
        one.close()
        two.close()
        context.term()
