"""Mailboxes that drop and never grow, and who is given what."""

from __future__ import annotations

import json
import struct
from collections import Counter
from typing import Any

import pytest

from auflow.web.hub import MAX_VIEWERS, Frame, Hub, Mailbox


def frame(number: int, picture: bool = True, stream: str = "door") -> Frame:
    return Frame(stream, json.dumps({"number": number}).encode(), f"jpeg {number}".encode() if picture else b"")


def opened(message: str | bytes) -> tuple[int, str]:
    """Number and picture of a message, as a page takes it apart."""
    assert isinstance(message, bytes)
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length])["number"], message[4 + length :].decode()


def test_a_viewer_that_keeps_up_gets_all_in_order() -> None:
    dropped: Counter[str] = Counter()
    mailbox = Mailbox(dropped)
    for number in range(3):
        mailbox.put(frame(number, picture=number == 1))
    mailbox.put_status("s")
    first, *rest = mailbox.take()
    assert first == "s"
    assert [opened(each) for each in rest] == [(0, ""), (1, "jpeg 1"), (2, "")]
    assert mailbox.take() == []
    assert not dropped


def test_the_newest_picture_wins_and_the_results_of_the_others_stay() -> None:
    dropped: Counter[str] = Counter()
    mailbox = Mailbox(dropped)
    for number in range(5):
        mailbox.put(frame(number, picture=number != 3))
    assert [opened(each) for each in mailbox.take()] == [(0, ""), (1, ""), (2, ""), (3, ""), (4, "jpeg 4")]
    assert dropped == {"picture": 3}


def test_results_are_bounded_and_the_oldest_go() -> None:
    dropped: Counter[str] = Counter()
    mailbox = Mailbox(dropped)
    mailbox.put(frame(0))
    for number in range(1, 1000):
        mailbox.put(frame(number, picture=False))
    kept = [opened(each)[0] for each in mailbox.take()]
    assert kept == list(range(1000 - 256, 1000))
    assert dropped == {"picture": 1, "result": 1000 - 256 - 1}


def test_the_newest_status_wins() -> None:
    dropped: Counter[str] = Counter()
    mailbox = Mailbox(dropped)
    mailbox.put_status("old")
    mailbox.put_status("new")
    assert mailbox.take() == ["new"]
    assert dropped == {"status": 1}


def test_viewers_get_the_stream_that_they_watch_and_wake_for_it() -> None:
    woken: list[str] = []
    hub = Hub()
    a, b = (hub.join(lambda name=name: woken.append(name)) for name in "ab")  # type: ignore[misc]
    assert a is not None
    assert b is not None
    hub.watch(a, "door")
    hub.show(frame(1))
    hub.show(frame(2, stream="hall"))
    assert woken == ["a"]
    assert [opened(each)[0] for each in a.mailbox.take()] == [1]
    assert b.mailbox.take() == []
    hub.tell_status("s")
    assert woken == ["a", "a", "b"]
    assert (a.mailbox.take(), b.mailbox.take()) == (["s"], ["s"])


def test_what_is_wanted_follows_the_viewers() -> None:
    told: list[set[str]] = []
    hub = Hub(lambda wanted: told.append(set(wanted)))
    a, b = hub.join(lambda: None), hub.join(lambda: None)
    assert a is not None
    assert b is not None
    hub.watch(a, "door")
    hub.watch(b, "door")  # no change
    hub.watch(a, "hall")
    hub.watch(b, None)
    hub.leave(a)
    hub.leave(b)
    assert told == [{"door"}, {"door", "hall"}, {"hall"}, set()]


def test_a_viewer_that_turns_to_another_stream_gets_nothing_of_the_former() -> None:
    hub = Hub()
    viewer = hub.join(lambda: None)
    assert viewer is not None
    hub.watch(viewer, "door")
    hub.show(frame(1))
    hub.watch(viewer, "hall")
    assert viewer.mailbox.take() == []


def test_who_comes_late_hears_the_status_at_once_and_there_are_so_many_at_most() -> None:
    hub = Hub()
    hub.tell_status("s")
    woken: list[int] = []
    viewers = [hub.join(lambda: woken.append(1)) for _ in range(MAX_VIEWERS + 1)]
    assert viewers[-1] is None
    assert len(woken) == hub.viewers == MAX_VIEWERS
    assert viewers[0] is not None
    assert viewers[0].mailbox.take() == ["s"]
    hub.leave(viewers[0], closed=True)
    assert hub.dropped == {"picture": 0, "result": 0, "status": 0, "closed": 1}
    assert hub.join(lambda: None) is not None


@pytest.mark.parametrize("name", ["", "x" * 65, "a\0b"])
def test_what_can_be_no_stream_is_refused(name: Any) -> None:
    hub = Hub()
    viewer = hub.join(lambda: None)
    assert viewer is not None
    with pytest.raises(ValueError, match="expected the name of a stream"):
        hub.watch(viewer, name)
    assert hub.wanted == frozenset()
