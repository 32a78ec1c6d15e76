"""Keys, as terminals send them."""

from __future__ import annotations

import pytest

from auflow.serve.top.frame import Screen
from auflow.serve.top.keys import KeyReader, pressed
from auflow.serve.top.sections import SORTS

STREAM = b"q\x1b[A\x1bOB\x1b[5~s\x1b[6~\x1b[1;5A?\x1b[200~\xc3\xa4\x01p\x1bOH\x1b[F"
KEYS = ["q", "up", "down", "page up", "s", "page down", "?", "p", "home", "end"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_sequences_may_come_in_pieces(size: int) -> None:
    reader = KeyReader()
    keys = [key for place in range(0, len(STREAM), size) for key in reader.feed(STREAM[place : place + size])]
    assert keys == KEYS


def test_escape_alone_and_endless_sequences_do_not_stop_it() -> None:
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.feed(b"q") == ["q"]
    assert "q" in reader.feed(b"\x1b[" + b"1;" * 50 + b"\rq")


def test_what_keys_do() -> None:
    screen = Screen()
    assert pressed("q", screen, 5, 5) is None
    assert pressed("p", screen, 5, 5) == Screen(paused=True)
    assert pressed("z", screen, 5, 5) == screen
    helping = pressed("?", screen, 5, 5)
    assert helping == Screen(helps=True)
    assert pressed("p", helping, 5, 5) == screen  # any key: back
    assert pressed("q", helping, 5, 5) is None
    seen = []
    for _ in SORTS:
        sorted_by = pressed("s", screen, 5, 5)
        assert sorted_by is not None
        screen = sorted_by
        seen.append(screen.sort)
    assert sorted(seen) == sorted(SORTS)


@pytest.mark.parametrize(
    ("keys", "scroll"),
    [
        (["down"], 1), (["j", "j", "k"], 1), (["up"], 0), (["page down"], 9), (["end"], 40), (["end", "home"], 0),
        (["end", "down"], 40), (["end", "page up"], 31),
    ],
)  # fmt: skip
def test_scrolling_stays_within_the_streams(keys: list[str], scroll: int) -> None:
    screen = Screen()
    for key in keys:
        changed = pressed(key, screen, 10, 50)
        assert changed is not None
        screen = changed
    assert screen.scroll == scroll


def test_nothing_to_scroll() -> None:
    assert pressed("end", Screen(), 10, 3) == Screen()
