"""The bus: whoever is slow, late, dead or made anew harms nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from bus_kit import Bus, Publisher, Subscriber, heard, rss_kb, until

from auflow.errors import UsageError
from auflow.transport import bus as bus_module
from auflow.transport.bus import BusForwarder, topic
from auflow.transport.faults import TransportError
from auflow.transport.rundir import endpoint

PAYLOAD = b"x" * 2000  # as long as a result


@pytest.fixture
def inner(tmp_path: Path) -> str:
    return endpoint(tmp_path, "bus")


@pytest.fixture(params=["tcp", "ipc"])
def bus(request: pytest.FixtureRequest, inner: str, tmp_path: Path) -> Iterator[Bus]:
    outer = "tcp://127.0.0.1:*" if request.param == "tcp" else endpoint(tmp_path, "outer")
    with Bus(inner, outer) as bus:
        yield bus


def test_what_is_published_is_heard_in_order(bus: Bus, inner: str) -> None:
    with Publisher(inner) as publisher, Subscriber(bus.address) as subscriber:
        heard(publisher, subscriber)
        for number in range(300):
            assert publisher.publish(topic("cam1", "result"), b"%d" % number)
        assert [subscriber.next() for _ in range(300)] == [[b"cam1\0result", b"%d" % n] for n in range(300)]
        assert (publisher.dropped, bus.forwarder.refused) == (0, 0)


def test_a_stream_whose_name_begins_as_another_is_not_confused_with_it(bus: Bus, inner: str) -> None:
    with Publisher(inner) as publisher, Subscriber(bus.address, topic("cam1")) as subscriber:
        heard(publisher, subscriber, "cam1")
        for name in ("cam10", "cam", "xcam1", "cam1"):
            publisher.publish(topic(name, "result"), name.encode())
        assert subscriber.next()[1] == b"cam1"
        assert not subscriber.socket.poll(100)


def test_one_type_of_one_stream(bus: Bus, inner: str) -> None:
    with Publisher(inner) as publisher, Subscriber(bus.address, topic("cam1", "stream")) as subscriber:
        heard(publisher, subscriber, "cam1")
        publisher.publish(topic("cam1", "result"), b"no")
        publisher.publish(topic("cam1", "stream"), b"yes")
        assert subscriber.next()[1] == b"yes"


def test_a_topic_cannot_be_forged_by_a_name() -> None:
    with pytest.raises(TransportError, match="without a zero byte"):
        topic("cam1\0result", "stream")


def test_several_publishers_and_a_late_listener(bus: Bus, inner: str) -> None:
    with Publisher(inner) as one, Publisher(inner) as two, Subscriber(bus.address) as early:
        heard(one, early)
        heard(two, early)
        with Subscriber(bus.address) as late:
            heard(one, late)
            two.publish(topic("b", "result"), b"both hear")
            for subscriber in (early, late):
                while subscriber.next()[1] != b"both hear":
                    pass


def test_publishing_to_nobody_never_blocks(inner: str) -> None:
    with Publisher(inner) as publisher:
        started = time.monotonic()
        for _ in range(20_000):
            publisher.publish(topic("cam1", "result"), PAYLOAD)
        assert time.monotonic() - started < 20
        assert publisher.published == 20_000  # nobody has asked: nothing is lost


def test_a_listener_that_never_reads_slows_nobody_and_costs_bounded_memory(bus: Bus, inner: str) -> None:
    with Publisher(inner) as publisher, Subscriber(bus.address, hwm=1) as frozen, Subscriber(bus.address) as awake:
        heard(publisher, awake)
        until(lambda: frozen.socket.poll(10))
        after_first = 0
        for burst in range(300):
            for _ in range(100):
                publisher.publish(topic("cam1", "result"), PAYLOAD)
            for _ in range(100):
                awake.next()
            if burst == 50:
                after_first = rss_kb()
        # 30,000 messages of 2 kB are 60 MB; what waits for the frozen one is 1,000 of them and the kernel's buffers.
        assert rss_kb() - after_first < 15_000
        assert publisher.dropped == 0


def test_a_forwarder_that_hangs_costs_messages_which_are_counted(inner: str) -> None:
    context = zmq.Context(1)
    forwarder = BusForwarder(context, inner, "tcp://127.0.0.1:*")
    try:
        with Publisher(inner) as publisher, Subscriber(forwarder.address) as subscriber:
            # The way is open from end to end before anything hangs: what goes nowhere is no loss.
            until(lambda: publisher.publish(topic("a", "result"), b"first") and forwarder.forward())
            started = time.monotonic()
            while not publisher.dropped:  # from here on nobody forwards
                publisher.publish(topic("a", "result"), b"x" * 100_000)
                assert time.monotonic() - started < 20
            lost = publisher.dropped
            until(lambda: not forwarder.forward() and not time.sleep(0.05))
            while subscriber.socket.poll(500):  # what had waited fills the listener's own queue to its limit
                subscriber.next()
            publisher.publish(topic("a", "result"), b"goes on")

            def goes_on() -> bool:
                forwarder.forward()  # some of what had waited may come only now
                return bool(subscriber.socket.poll(0)) and subscriber.next()[1] == b"goes on"

            until(goes_on)
            assert publisher.dropped == lost
    finally:
        forwarder.close()
        context.term()


def test_a_killed_listener_is_forgotten(bus: Bus, inner: str) -> None:
    with Publisher(inner) as publisher:
        with Subscriber(bus.address, topic("cam1")) as subscriber:
            heard(publisher, subscriber, "cam1")
            assert bus.forwarder.topics == 1
        until(lambda: bus.forwarder.topics == 0)
        assert publisher.publish(topic("cam1", "result"), PAYLOAD)


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_a_bus_made_anew_is_found_by_both_sides(inner: str, tmp_path: Path, scheme: str) -> None:
    outer = "tcp://127.0.0.1:*" if scheme == "tcp" else endpoint(tmp_path, "outer")
    first = Bus(inner, outer)
    with Publisher(inner) as publisher, Subscriber(first.address, topic("cam1")) as subscriber:
        try:
            heard(publisher, subscriber, "cam1")
        finally:
            first.close()
        with Bus(inner, first.address) as second:
            heard(publisher, subscriber, "cam1")
            assert second.forwarder.forwarded > 0


def test_too_many_topics_cost_all_listeners_their_connection_and_honest_ones_come_back(
    bus: Bus, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "_MAX_TOPICS", 500)
    with Publisher(inner) as publisher, Subscriber(bus.address, topic("cam1")) as honest:
        heard(publisher, honest, "cam1")
        with Subscriber(bus.address) as greedy:
            for number in range(600):
                greedy.socket.subscribe(b"topic %d" % number)
            until(lambda: bus.forwarder.refused)
        until(lambda: bus.forwarder.topics <= 2)
        heard(publisher, honest, "cam1")
    assert "all listeners have to connect again" in bus.said[0]


def test_what_is_no_message_is_refused_on_both_sides(bus: Bus, inner: str) -> None:
    with Publisher(inner) as publisher, Subscriber(bus.address) as subscriber:
        heard(publisher, subscriber)
        publisher.socket.send(b"alone")
        publisher.socket.send_multipart([b"one", b"two", b"three"])
        context = zmq.Context(1)
        chatty = context.socket(zmq.XSUB)
        chatty.connect(bus.address)
        chatty.send(b"nonsense")
        until(lambda: bus.forwarder.refused == 3)
        publisher.publish(topic("a", "result"), b"goes on")
        assert subscriber.next()[1] == b"goes on"
        chatty.close(0)
        context.term()


def test_an_address_in_use_is_told_and_leaves_nothing_open(bus: Bus, tmp_path: Path) -> None:
    if bus.address.startswith("ipc"):
        pytest.skip("a path is taken over, as libzmq does")
    context = zmq.Context(1)
    with pytest.raises(TransportError, match="cannot be bound: Address already in use"):
        BusForwarder(context, endpoint(tmp_path, "other"), bus.address)
    context.term()


def test_nothing_beyond_loopback_without_keys(inner: str) -> None:
    context = zmq.Context(1)
    with pytest.raises(UsageError, match="auflow keys new"):
        BusForwarder(context, inner, "tcp://0.0.0.0:8718")
    context.term()
