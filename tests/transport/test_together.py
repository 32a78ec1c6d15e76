"""Which detection requests share the networks' calls: tables of who waits, and of how long pictures have taken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from auflow.transport import messages as m
from auflow.transport import together as module
from auflow.transport.together import MOST, Together

SMALL, LARGE = (240, 320), (480, 640)
Request = tuple[bytes, m.DetectRequest]


def request(
    client: str, index: int = 1, size: tuple[int, int] = SMALL, clock: str = "arrival", lane: int = 0
) -> Request:
    frame = m.FrameReady(lane, index, 0.0, 0, 1, *size, 0.0, clock=clock)
    return client.encode(), m.DetectRequest(lane, frame)


class Queue:
    """What waits, and how often it was looked at."""

    def __init__(self, *requests: Request) -> None:
        self.left = list(requests)

    def receive(self) -> Request | None:
        return self.left.pop(0) if self.left else None


def names(sets: Sequence[Sequence[Request]]) -> list[str]:
    return [" ".join(client.decode() for client, _ in requests) for requests in sets]


def taken(together: Together, *requests: Request) -> list[str]:
    return names(together.take(Queue(*requests).receive))


def measured(small_s: float = 0.005, large_s: float = 0.010, **options: object) -> Together:
    together = Together(**options)  # type: ignore[arg-type]
    together.took([request("a")], small_s)
    together.took([request("a", size=LARGE)], large_s)
    return together


def live(letters: str, size: tuple[int, int] = SMALL) -> list[Request]:
    return [request(letter, size=size) for letter in letters]


def test_nobody_waits_for_more() -> None:
    assert taken(measured()) == []
    assert taken(measured(), request("a")) == ["a"]


@pytest.mark.parametrize(
    ("picture_s", "sets"),
    [
        (0.001, ["a b c d e f g h"]),
        (0.0049, ["a b c d e f", "g h"]),  # the first waits for five others: 24.5 ms
        (0.0051, ["a b c d e", "f g h"]),
        (0.0124, ["a b c", "d e f", "g h"]),
        (0.025, ["a b", "c d", "e f", "g h"]),
        (0.026, ["a", "b", "c", "d", "e", "f", "g", "h"]),
    ],
)
def test_the_first_waits_no_longer_than_the_budget(picture_s: float, sets: list[str]) -> None:
    assert taken(measured(picture_s), *live("abcdefgh")) == sets


def test_no_more_than_the_limit_are_taken() -> None:
    queue = Queue(*live("abcdefghijkl"))
    assert len(names(measured(1e-6).take(queue.receive))[0].split()) == MOST
    assert len(queue.left) == 12 - MOST


def test_a_size_that_was_not_seen_before_is_alone() -> None:
    together = Together()
    assert taken(together, *live("abc")) == ["a", "b", "c"]
    together.took([request("a")], 0.001)
    assert taken(together, *live("ab"), *live("c", LARGE), *live("d")) == ["a b d", "c"]


def test_each_size_has_its_own_time() -> None:
    assert taken(measured(0.005, 0.02), *live("ab"), *live("cd", LARGE), *live("e")) == ["a b c", "d e"]


def test_the_time_follows_what_is_measured() -> None:
    together = measured(0.0049)
    assert taken(together, *live("abcdef")) == ["a b c d e f"]
    for _ in range(30):  # the machine has become busy
        together.took(live("ab"), 0.05)
    assert taken(together, *live("abcdef")) == ["a b", "c d", "e f"]
    for _ in range(30):
        together.took(live("ab"), 0.002)
    assert taken(together, *live("abcdef")) == ["a b c d e f"]


def test_the_time_of_a_mixed_set_is_divided_by_what_was_expected() -> None:
    together = measured(0.004, 0.012)
    for _ in range(40):
        together.took([*live("a"), *live("b", LARGE)], 0.032)  # twice as much
    assert taken(together, *live("abcdefgh")) == ["a b c d", "e f g h"]  # 8 ms
    assert taken(together, *live("abc", LARGE)) == ["a b", "c"]  # 24 ms


def test_a_time_of_nothing_does_no_harm() -> None:
    together = Together()
    together.took([request("a")], 0.0)
    together.took(live("ab"), 0.0)
    assert taken(together, *live("ab")) == ["a b"]
    together.took(live("ab"), 0.02)


def test_a_file_shares_with_nobody_and_keeps_its_turn() -> None:
    requests = [*live("a"), request("f", clock="file"), *live("b"), request("g", clock="file"), *live("c")]
    assert taken(measured(0.001), *requests) == ["a b c", "f", "g"]
    assert taken(measured(0.001), *requests[1:]) == ["f", "b c", "g"]


def test_alone_is_alone() -> None:
    queue = Queue(*live("abc"))
    together = measured(0.001, alone=True)
    assert names(together.take(queue.receive)) == ["a"]
    assert len(queue.left) == 2


def test_of_a_client_that_asks_again_the_last_request_counts() -> None:
    requests = [request("a", 7), request("b", 1), request("a", 7), request("a", 8)]
    (found,) = measured(0.001).take(Queue(*requests).receive)
    assert [(client, asked.frame.index) for client, asked in found] == [(b"a", 8), (b"b", 1)]


def test_pictures_that_fill_the_memory_are_not_taken_together() -> None:
    size = (4000, 5000)  # 60 MB
    together = Together()
    together.took([request("a", size=size)], 0.001)
    queue = Queue(*live("abcd", size))
    assert names(together.take(queue.receive)) == ["a b"]
    assert len(queue.left) == 2


def test_sizes_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIZES", 2)
    together = Together()
    for side in (1, 2, 1, 3):
        together.took([request("a", size=(side, side))], 0.001)
    for side, sets in ((1, ["a b"]), (2, ["a", "b"]), (3, ["a b"])):
        assert taken(together, *live("ab", (side, side))) == sets, side
