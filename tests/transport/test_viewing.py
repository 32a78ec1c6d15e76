"""What sinks show to the page: only what somebody looks at, bounded, and nobody waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
import zmq

from auflow.transport import viewing
from auflow.transport.bus import topic
from auflow.transport.rundir import endpoint
from auflow.transport.viewing import Shown, ShownReceiver, ShownSender, encode_picture

PICTURE = np.full((48, 64, 3), (200, 100, 50), np.uint8)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return endpoint(tmp_path, "web") if len(str(tmp_path)) < 90 else f"ipc:///tmp/auflow-t-{time.monotonic_ns()}"


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.term()


@pytest.fixture
def ends(context: zmq.Context[zmq.Socket[bytes]], place: str) -> Iterator[tuple[ShownSender, ShownReceiver]]:
    sender, receiver = ShownSender(context, place), ShownReceiver(context, place)
    yield sender, receiver
    sender.close()
    receiver.close()


def until(condition: Callable[[], Any], limit_s: float = 10.0) -> Any:
    deadline_s = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return found


def come(receiver: ShownReceiver, count: int) -> list[Shown]:
    found: list[Shown] = []
    until(lambda: found.extend(receiver.receive()) or len(found) >= count)
    return found


def test_nobody_looks_and_nothing_is_wanted(ends: tuple[ShownSender, ShownReceiver]) -> None:
    sender, receiver = ends
    time.sleep(0.2)
    assert not sender.wants("door")
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    assert not sender.wants("doo")
    assert not sender.wants("door2")
    receiver.want(frozenset({"hall"}))
    until(lambda: not receiver.receive() and sender.wants("hall"))
    assert not sender.wants("door")


def test_a_frame_comes_whole(ends: tuple[ShownSender, ShownReceiver]) -> None:
    sender, receiver = ends
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    camera = (500.0, 501.0, 320.0, 240.0)
    assert sender.show("hall", [b"x"], PICTURE)  # for nobody
    assert sender.show("door", [b"one", b"two"], PICTURE, camera)
    (shown,) = come(receiver, 1)
    assert (shown.stream, shown.width_px, shown.height_px, shown.camera) == ("door", 64, 48, camera)
    assert shown.results == (b"one", b"two")
    found = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    assert np.abs(found.astype(int) - PICTURE).max() < 8


def test_pictures_come_at_a_measured_pace_and_results_all(
    ends: tuple[ShownSender, ShownReceiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, receiver = ends
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    now = 100.0
    monkeypatch.setattr(viewing.time, "monotonic", lambda: now)
    shown: list[Shown] = []
    for _ in range(120):  # two seconds of 60 frames
        assert sender.show("door", [b"r"], PICTURE)
        now += 1 / 60
        assert receiver.socket.poll(5000)
        shown += receiver.receive()
    assert len(shown) == 120
    assert 29 <= sum(bool(each.jpeg) for each in shown) <= 31


def test_uneven_pictures_of_15_a_second_are_all_shown(
    ends: tuple[ShownSender, ShownReceiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, receiver = ends
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    moments = [100 + (number + 0.3 * (number % 2)) / 15 for number in range(30)]
    with monkeypatch.context() as patch:
        for moment in moments:
            patch.setattr(viewing.time, "monotonic", lambda moment=moment: moment)
            sender.show("door", [], PICTURE)
    assert sum(bool(each.jpeg) for each in come(receiver, 30)) >= 28


def test_a_page_that_takes_nothing_costs_frames_and_no_time(ends: tuple[ShownSender, ShownReceiver]) -> None:
    sender, receiver = ends
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    results = [b"x" * 20_000]
    began = time.monotonic()
    sent = [sender.show("door", results, PICTURE) for _ in range(2000)]
    assert time.monotonic() - began < 5
    assert sender.dropped == sent.count(False) > 1000
    assert sender.sent == sent.count(True) < 1000
    while receiver.receive():
        pass
    until(lambda: sender.show("door", results, PICTURE))


def test_a_page_that_dies_wants_nothing_and_the_next_one_is_heard(
    context: zmq.Context[zmq.Socket[bytes]], place: str
) -> None:
    sender, receiver = ShownSender(context, place), ShownReceiver(context, place)
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    receiver.close()
    until(lambda: not sender.wants("door"))
    receiver = ShownReceiver(context, place)
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    sender.show("door", [b"r"], PICTURE)
    assert come(receiver, 1)[0].results == (b"r",)
    sender.close()
    receiver.close()


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"", b""],
        [b"rubbish", b""],
        [msgpack.packb([2, 64, 48, None, []]), b""],
        [msgpack.packb([1, "64", 48, None, []]), b""],
        [msgpack.packb([1, 64, 48, None, ["text"]]), b""],
        [msgpack.packb([1, 64, 48, None]), b""],
        [msgpack.packb([1, 64, 48, None, [b"r"] * 1000]), b""],
    ],
)
def test_what_is_no_frame_is_counted_and_dropped(ends: tuple[ShownSender, ShownReceiver], parts: list[bytes]) -> None:
    sender, receiver = ends
    receiver.want(frozenset({"door"}))
    until(lambda: not receiver.receive() and sender.wants("door"))
    sender.socket.send_multipart([topic("door"), *parts])
    sender.show("door", [b"r"], PICTURE)
    assert [each.results for each in come(receiver, 1)] == [(b"r",)]
    assert receiver.refused == 1


def test_wide_pictures_are_made_smaller() -> None:
    jpeg = encode_picture(np.zeros((1080, 1920, 3), np.uint8))
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    assert found.shape == (360, 640, 3)


def test_a_picture_that_jpeg_cannot_hold_is_left_out() -> None:
    assert encode_picture(np.zeros((70_000, 4, 3), np.uint8)) == b""
