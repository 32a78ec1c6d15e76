"""What a subscriber has missed, from the numbers."""

from __future__ import annotations

from auflow.live import gaps as gaps_module
from auflow.live.gaps import Gaps


def message(stream: str, seq: int) -> dict[str, object]:
    return {"stream": stream, "seq": seq}


def test_gaps_are_told_per_stream() -> None:
    gaps = Gaps()
    events = [("a", 5), ("b", 1), ("a", 6), ("b", 2), ("a", 9), ("b", 3), ("a", 1), ("a", 2), ("a", 4)]
    told = [gaps.take(message(stream, seq)) for stream, seq in events]
    assert told == [
        *[None] * 4,
        "a: missed 2 messages, 7 to 8",
        None,
        "a: began anew at 1 after 9",
        None,
        "a: missed 1 messages, 3 to 3",
    ]
    assert gaps.missed == 3


def test_names_without_end_take_no_memory_without_end(monkeypatch) -> None:
    monkeypatch.setattr(gaps_module, "_MAX_STREAMS", 10)
    gaps = Gaps()
    for number in range(1000):
        assert gaps.take(message(f"s{number}", 1)) is None
    assert len(gaps._last) <= 10
