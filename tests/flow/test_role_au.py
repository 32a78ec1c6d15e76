"""Which frames the AU worker takes together, and that each is handed over as if it had come alone."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auflow.flow.role_au import AuRole
from auflow.tests.flow import fake_kit
from auflow.transport import messages as m


def fit_ready(stream: int, index: int = 1) -> m.FitReady:
    header = m.FrameReady(stream, index, 0.0, slot=stream, generation=1, height_px=4, width_px=6, taken_s=0.0)
    return m.FitReady(header, (), detections=stream)


class Stage:
    """Of one stream; raises at a frame of index 13."""

    def __init__(self, log: list[tuple[str, int]], stream: int) -> None:
        self.log, self.stream = log, stream

    def process_faces(self, frame: Any, fits: Any) -> tuple[Any, Any]:
        if frame.index == 13:
            raise ValueError("no good")
        self.log.append(("worked", self.stream))
        return fits, ()


class Role(AuRole):
    """With streams 0 to 5, of which those from 4 on are files; what waits is a queue."""

    def __init__(self, *waiting: Any, credit: int = 8) -> None:
        self.log: list[tuple[str, int]] = []
        self.waiting = deque(waiting)
        self.free = credit
        self.kit = fake_kit
        self._each_s = 0.0002
        self.noted: list[tuple[int, int]] = []
        self.shell: Any = SimpleNamespace(
            ring=SimpleNamespace(array=lambda slot, height, width: np.zeros((height, width, 3), np.uint8)),
            note=lambda stream, index: self.noted.append((stream, index)),
            stream=-1,
        )
        self._stages = {stream: Stage(self.log, stream) for stream in range(6)}
        self._jobs: Any = {stream: SimpleNamespace(live=None if stream > 3 else object()) for stream in range(6)}
        self.times: list[tuple[float, float]] = []
        self.batches: list[int] = []

    @property
    def credit(self) -> int:
        return self.free

    def receive(self) -> Any:
        return self.waiting.popleft() if self.waiting else None

    def handle(self, record: Any) -> None:
        if isinstance(record, m.FitReady):
            self.pass_on(record)
        else:
            self.log.append(("handled", record.stream))

    def sent(self, record: Any, out: m.AuReady, began_s: float, ended_s: float, batch: int = 1) -> None:
        self.batches.append(batch)
        assert out.frame is record.frame
        assert out.detections == record.detections
        self.log.append(("sent", record.frame.stream))
        self.times.append((began_s, ended_s))


def snapshot(stream: int) -> m.Snapshot:
    return m.Snapshot(stream, 1, b"", b"")


def worked_then_sent(*streams: int) -> list[tuple[str, int]]:
    return [("worked", stream) for stream in streams] + [("sent", stream) for stream in streams]


def test_live_frames_that_wait_go_together() -> None:
    role = Role(fit_ready(1), fit_ready(2))
    role.handle(fit_ready(0))
    assert role.log == worked_then_sent(0, 1, 2)
    assert role.noted == [(0, 1), (1, 1), (2, 1)]
    assert role.batches == [3, 3, 3]
    assert all(a[1] == pytest.approx(b[0]) for a, b in zip(role.times, role.times[1:], strict=False))


def test_files_go_alone() -> None:
    role = Role(fit_ready(5))
    role.handle(fit_ready(4))
    assert role.log == worked_then_sent(4)
    assert role.batches == [1]
    role = Role(fit_ready(4))
    role.handle(fit_ready(0))
    assert role.log == [*worked_then_sent(0), *worked_then_sent(4)]


def test_what_is_no_frame_is_done_after_those_before_it() -> None:
    role = Role(fit_ready(1), snapshot(1), fit_ready(2))
    role.handle(fit_ready(0))
    assert role.log == [*worked_then_sent(0, 1), ("handled", 1)]
    assert len(role.waiting) == 1  # for the next turn


def test_two_frames_of_a_stream_go_one_after_the_other() -> None:
    role = Role(fit_ready(0, 2))
    role.handle(fit_ready(0, 1))
    assert role.noted == [(0, 1), (0, 2)]
    assert role.log == [*worked_then_sent(0), *worked_then_sent(0)]


@pytest.mark.parametrize(("each_s", "credit", "together"), [(0.0002, 2, 2), (0.0015, 8, 2), (0.1, 8, 1), (1e-6, 8, 4)])
def test_credit_and_time_bound_their_number(each_s: float, credit: int, together: int) -> None:
    role = Role(fit_ready(1), fit_ready(2), fit_ready(3), credit=credit)
    role._each_s = each_s
    role.handle(fit_ready(0))
    assert role.log[: 2 * together] == worked_then_sent(*range(together))


def test_the_frame_that_fails_is_the_one_that_was_noted() -> None:
    role = Role(fit_ready(1, 13), fit_ready(2))
    with pytest.raises(ValueError, match="no good"):
        role.handle(fit_ready(0))
    assert role.noted[-1] == (1, 13)


def test_the_time_of_a_frame_is_learned() -> None:
    role = Role()
    out = m.AuReady(fit_ready(0).frame, (), ())
    for _ in range(200):
        role.told(out, 0.004)
    assert role._each_s == pytest.approx(0.004, rel=0.01)
