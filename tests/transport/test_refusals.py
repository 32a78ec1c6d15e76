"""Refusals are counted always and told now and then."""

from __future__ import annotations

from auflow.transport.refusals import Refusals


def test_counted_always_and_told_now_and_then() -> None:
    said: list[str] = []
    now_s = 0.0
    refusals = Refusals("edge", said.append, every_s=10, now=lambda: now_s)
    for second in range(25):
        now_s = float(second)
        refusals.add("rubbish")
        refusals.add("rubbish")
    assert refusals.count == 50
    assert said == [
        "edge: refused rubbish",
        "edge: refused rubbish (20 since the last word)",
        "edge: refused rubbish (20 since the last word)",
    ]


def test_other_news_share_the_measure() -> None:
    said: list[str] = []
    now_s = 0.0
    refusals = Refusals("keys", said.append, every_s=10, now=lambda: now_s)
    refusals.say("a file is damaged")
    refusals.add("rubbish")
    now_s = 10.0
    refusals.add("rubbish")
    assert said == ["keys: a file is damaged", "keys: refused rubbish (2 since the last word)"]


def test_silence() -> None:
    refusals = Refusals("edge")
    refusals.add("rubbish")
    refusals.say("nothing")
    assert refusals.count == 1
