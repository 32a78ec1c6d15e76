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
    complaints: list[str]

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


def pair_of(up: Link, down: Link) -> Pair:
    complaints: list[str] = []
    tell = complaints.append
    sender: EdgeSender[m.FrameReady] = EdgeSender(up, "edge", tell)
    return Pair(up, down, sender, EdgeReceiver(down, "edge", WINDOW, m.FrameReady, tell), complaints)


@pytest.fixture(params=["zmq", "memory"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    up: Link
    down: Link
    if request.param == "memory":
        up, down = memory_links()
        yield pair_of(up, down)
        return
    context = new_context()
    address = endpoint(tmp_path, "e")
    down = DealerLink(context, address, "clnf-0")  # before the other end binds: it must try again
    up = RouterLink(context, address)
    assert down.socket.poll(5000, 2)
    yield pair_of(up, down)
    up.close()
    down.close()
    context.term()


def start(stream: int = 0, resume: m.StreamState | None = None) -> m.StreamStart:
    return m.StreamStart(stream, INFO, "{}", 0, resume)


def frame(index: int, stream: int = 0) -> m.FrameReady:
    return m.FrameReady(stream, index, index / 25, 0, 1, 6, 8, 0.0)


def end(frames: int, stream: int = 0) -> m.StreamEnd:
    return m.StreamEnd(stream, frames, frames, 0, 0, 0, False, False, True, None, None)


def marker(frames: int, stream: int = 0) -> m.Snapshot:
    return m.Snapshot(stream, frames, b"c", b"a")


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
    with pytest.raises(TransportError, match="sent 1 frames, got 2 decoded = 2 sent"):
        pair.sender.end(end(2))
    pair.raw_down(end(2))
    pair.next()
    pair.next()
    with pytest.raises(TransportError, match="received 1 frames, but its end says 2 decoded"):
        pair.next()


@pytest.mark.parametrize("changes", [{"decoded": 4}, {"decoded": 2, "failed": 3}, {"failed": -1}], ids=str)
def test_in_equals_done_dropped_and_failed(pair: Pair, changes: dict[str, int]) -> None:
    pair.greet()
    pair.sender.start(start())
    for index in (1, 2):
        pair.sender.send(frame(index))
    right = replace(end(2), decoded=3, dropped=1, failed=1)
    with pytest.raises(TransportError, match=r"sent 2 frames, got .* sent \(.* of them failed\) \+ 1 dropped"):
        pair.sender.end(replace(right, **changes))
    pair.sender.end(right)
    assert [pair.next() for _ in range(4)][-1] == right


def test_a_stream_goes_on_where_it_was(pair: Pair) -> None:
    resumed = start(resume=m.StreamState(40, b"c", b"a", b"s", b"t"))
    pair.greet()
    pair.sender.start(resumed)
    pair.sender.send(frame(41))
    pair.sender.snapshot(marker(41))
    pair.sender.end(end(41))
    assert [pair.next() for _ in range(4)] == [resumed, frame(41), marker(41), end(41)]


def test_streams_are_interleaved_and_each_is_counted(pair: Pair) -> None:
    pair.greet()
    sent = [start(0), start(1), frame(1, 1), frame(1, 0), marker(1, 1), end(1, 1), frame(2, 0), end(2, 0)]
    for record in sent[:2]:
        pair.sender.start(record)
    for record in (sent[2], sent[3]):
        pair.sender.send(record)
    pair.sender.snapshot(sent[4])
    pair.sender.end(sent[5])
    pair.sender.send(sent[6])
    pair.sender.end(sent[7])
    assert [pair.next() for _ in sent] == sent
    pair.receiver.acknowledge()
    pair.receiver.acknowledge()
    pumped(pair.sender, lambda: pair.sender.can_start)


@pytest.mark.parametrize("wrong", [marker(1), marker(0, stream=1), marker(-1)], ids=str)
def test_a_marker_at_another_place_is_refused_at_both_ends(pair: Pair, wrong: m.Snapshot) -> None:
    pair.greet()
    pair.sender.start(start())
    with pytest.raises(TransportError, match="expected a snapshot after"):
        pair.sender.snapshot(wrong)
    pair.raw_down(wrong)
    pair.next()
    with pytest.raises(TransportError, match="got a Snapshot that does not fit"):
        pair.next()


def test_bytes_that_are_no_message_are_told_and_dropped(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    pair.up.send(b"\xc1 no message")
    pair.sender.end(end(0))
    pair.down.send(b"neither")
    assert [pair.next(), pair.next()] == [start(), end(0)]
    pair.receiver.acknowledge()
    pumped(pair.sender, lambda: len(pair.complaints) == 2)
    assert pair.sender.can_start


def test_a_frame_among_them_shows_in_the_count(pair: Pair) -> None:
    pair.greet()
    pair.sender.start(start())
    pair.up.send(b"this was frame 1")
    pair.raw_down(end(1))
    pair.next()
    with pytest.raises(TransportError, match="received 0 frames, but its end says 1 decoded"):
        pair.next()


@pytest.mark.parametrize(
    "wrong", [frame(1, stream=1), start(0), end(0, stream=1), m.Credit(1)], ids=lambda w: str(w)[:12]
)
def test_what_does_not_fit_is_refused(pair: Pair, wrong: object) -> None:
    pair.greet()
    pair.sender.start(start())
    assert pair.next() == start()
    pair.raw_down(wrong)
    with pytest.raises(TransportError):
        pair.next()


def test_a_frame_outside_of_a_stream_is_refused(pair: Pair) -> None:
    pair.greet()
    with pytest.raises(TransportError, match="expected a frame of an open stream, got one of 0"):
        pair.sender.send(frame(1))
    pair.raw_down(frame(1))
    with pytest.raises(TransportError, match=r"expected a frame of one of the streams \[\], got one of 0"):
        pair.next()


def test_the_next_stream_may_start_early_but_only_one(pair: Pair) -> None:
    pair.greet()
    for stream in (0, 1):
        pair.sender.start(start(stream))
        pair.sender.end(end(0, stream))
    assert not pair.sender.can_start
    with pytest.raises(TransportError, match="2 are not acknowledged"):
        pair.sender.start(start(2))
    assert [pair.next() for _ in range(4)] == [start(0), end(0, 0), start(1), end(0, 1)]
    pair.receiver.acknowledge()
    pumped(pair.sender, lambda: pair.sender.can_start)


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


def test_zmq_tells_when_the_peer_is_gone(tmp_path: Path) -> None:
    context = new_context()
    address = endpoint(tmp_path, "e")
    up, down = RouterLink(context, address), DealerLink(context, address, "first")
    try:
        assert down.socket.poll(5000, 2)
        down.send(encode(m.Credit(1)))
        assert decode(first(up.receive)) == m.Credit(1)
        down.close()
        with pytest.raises(TransportError, match="the peer is gone"):
            sent_until_refused(up)
    finally:
        up.close()
        down.close()
        context.term()
