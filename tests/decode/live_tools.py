"""What tests of live readers share: a reader with short waits, and its story."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator

from auflow.stages.decode.live import LiveSpec, Patience, SourceState
from auflow.stages.decode.live.mailbox import LivePicture
from auflow.stages.decode.live.reader import LiveReader, SourceEvent

# The states and their order are tested, not the waits: those are the state machine's own tests.
PATIENCE = Patience(
    ladder_s=(0.1, 0.2, 0.3, 1000.0),
    jitter=0.0,
    stalled_after_s=0.3,
    picture_timeout_s=0.8,
    first_picture_timeout_s=3.0,
)


class Watched:
    """A started reader with all that it has told so far."""

    def __init__(self, reader: LiveReader) -> None:
        self.reader = reader
        self.pictures: list[LivePicture] = []
        self.story: list[SourceEvent] = []

    @property
    def states(self) -> list[str]:
        """The states in the order in which they were entered."""
        return [event.state.value for event in self.story if event.transition]

    @property
    def text(self) -> str:
        """All reasons and facts."""
        return "\n".join(event.reason for event in self.story)

    def until(self, done: Callable[[Watched], object], limit_s: float = 20.0) -> Watched:
        """Take pictures and events until `done`."""
        end_s = time.monotonic() + limit_s
        while not done(self):
            assert time.monotonic() < end_s, (self.states, self.text, self.reader.counts)
            if self.reader.state is not SourceState.STOPPED:
                select.select([self.reader], [], [], 0.1)
            self.story += self.reader.events()
            if (picture := self.reader.take()) is not None:
                self.pictures.append(picture)
        return self

    def has(self, *states: str) -> bool:
        """Whether the last states are these."""
        return self.states[-len(states) :] == list(states)


@contextlib.contextmanager
def watch(url: str, *, patience: Patience | None = PATIENCE, **settings: object) -> Iterator[Watched]:
    """A started reader of `url`; at the end it is stopped, and its threads are gone."""
    limits = {"open_timeout_s": 2.0, "read_timeout_s": 0.7} | settings
    reader = LiveReader(LiveSpec("test", url, **limits), patience=patience, random_unit=lambda: 0.5)
    reader.start()
    try:
        yield Watched(reader)
    finally:
        assert reader.stop(10.0)
        reader.close()
        counts = reader.counts
        dropped = counts.superseded + counts.too_old + counts.paused
        assert counts.decoded == counts.taken + dropped + counts.waiting
