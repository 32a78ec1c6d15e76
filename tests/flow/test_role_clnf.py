"""Which frames the CLNF worker fits together, and that each is handed over as if it had come alone."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auflow.flow.role_clnf import ClnfRole
from auflow.transport import messages as m


def ready(stream: int, index: int = 1, *, failed: bool = False) -> m.FrameReady:
    return m.FrameReady(
        stream, index, 0.0, slot=stream, generation=1, height_px=4, width_px=6, taken_s=0.0, failed=failed
    )


class Stage:
    """Of one stream."""

    def __init__(self, log: list[tuple[str, Any]], stream: int, gains: bool) -> None:
        self.log, self.stream, self.gains_by_company = log, stream, gains

    def process(self, frame: Any, detect: Any) -> tuple[Any, ...]:
        self.log.append(("worked", self.stream))
        return ()


class Role(ClnfRole):
    """With streams 0 to 5, of which those from 4 on are files; what waits is a queue."""

    def __init__(self, *waiting: Any, gains: bool = True, alone: bool = False, credit: int = 8) -> None:
        self.log: list[tuple[str, Any]] = []
        self.waiting = deque(waiting)
        self.free = credit
        self._alone = alone
        self.noted: list[tuple[int, int]] = []
        self.kit = SimpleNamespace(fit_together=self.together)
        self.shell: Any = SimpleNamespace(
            ring=SimpleNamespace(array=lambda slot, height, width: np.zeros((height, width, 3), np.uint8)),
            note=lambda stream, index: self.noted.append((stream, index)),
            config=SimpleNamespace(number=0),
            stream=-1,
        )
        self._stages = {stream: Stage(self.log, stream, gains) for stream in range(6)}
        settings = SimpleNamespace(faces="widest")
        self._jobs: Any = {
            stream: SimpleNamespace(live=None if stream > 3 else object(), settings=settings) for stream in range(6)
        }
        self.times: list[tuple[float, float]] = []

    def together(self, work: Any) -> None:
        self.log.append(("together", [stage.stream for stage, _ in work]))
        self.note_then = self.noted[-1]

    @property
    def credit(self) -> int:
        return self.free

    def receive(self) -> Any:
        return self.waiting.popleft() if self.waiting else None

    def handle(self, record: Any) -> None:
        if isinstance(record, m.FrameReady):
            self.pass_on(record)
        else:
            self.log.append(("handled", record.stream))

    def sent(self, record: Any, out: m.FitReady, began_s: float, ended_s: float, batch: int = 1) -> None:
        assert out.frame is record
        self.log.append(("sent", record.stream))
        self.times.append((began_s, ended_s))


def each(*streams: int) -> list[tuple[str, Any]]:
    return [(what, stream) for stream in streams for what in ("worked", "sent")]


def test_live_frames_that_wait_are_fitted_together_and_passed_on_one_by_one() -> None:
    role = Role(ready(1), ready(2))
    role.handle(ready(0))
    assert role.log == [("together", [0, 1, 2]), *each(0, 1, 2)]
    assert role.note_then == (-1, -1)  # a death there is at nobody's door
    assert role.noted[1:] == [(0, 1), (1, 1), (2, 1)]
    assert all(began < ended for began, ended in role.times)


def test_where_nothing_is_gained_each_goes_alone() -> None:
    role = Role(ready(1), gains=False)
    role.handle(ready(0))
    assert role.log == each(0)
    assert len(role.waiting) == 1


def test_after_a_death_each_goes_alone() -> None:
    role = Role(ready(1), alone=True)
    role.handle(ready(0))
    assert role.log == each(0)


def test_files_and_second_frames_of_a_stream_go_alone() -> None:
    role = Role(ready(5))
    role.handle(ready(4))
    assert role.log == each(4)
    role = Role(ready(0, 2))
    role.handle(ready(0, 1))
    assert role.log == [*each(0), *each(0)]


def test_what_is_behind_them_is_done_after_them() -> None:
    role = Role(ready(1), m.Snapshot(1, 1, b"", b""))
    role.handle(ready(0))
    assert role.log == [("together", [0, 1]), *each(0, 1), ("handled", 1)]


def test_a_frame_that_no_stage_may_look_at_is_not_fitted() -> None:
    role = Role(ready(1, failed=True), ready(2))
    role.handle(ready(0))
    assert role.log[0] == ("together", [0, 2])
    assert ("worked", 1) not in role.log
    assert ("sent", 1) in role.log


@pytest.mark.parametrize("credit", [1, 2, 3])
def test_no_more_than_may_go_on(credit: int) -> None:
    role = Role(ready(1), ready(2), ready(3), credit=credit)
    role.handle(ready(0))
    assert len(role.waiting) == 4 - max(credit, 1)
