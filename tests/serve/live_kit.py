"""Fake stages for services: those of the flow's tests, with what live streams need besides.

`file:NAME.json` is a source whose pictures depend on their number alone, {"fps": 50, "width": 64, "height": 48,
"hold": 30}: after picture `hold` it waits until there is a file NAME.go. Any other source has the real reader, which is
less patient here.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.flow.job import StreamJob
from auflow.flow.stagekit import keep_picture, make_jsonl, make_live_sink, read_checkpoint
from auflow.stages.decode.live import LiveSpec, Patience, SourceState
from auflow.stages.decode.live.clock import ClockSource
from auflow.stages.decode.live.mailbox import LiveCounts, Mailbox
from auflow.stages.decode.live.reader import LiveReader, SourceEvent
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame
from auflow.stages.settings import StageSettings
from auflow.tests.flow.fake_kit import (
    FakeAu,
    ensure_kernels,
    fit_together,
    make_clnf,
    make_detector,
    make_sink,
    open_source,
    preload,
    prepare,
    process_together,
    trouble,
)

__all__ = [
    "FakeReader",
    "LiveAu",
    "ensure_kernels",
    "fit_together",
    "keep_picture",
    "make_clnf",
    "make_detector",
    "make_jsonl",
    "make_live_sink",
    "make_sink",
    "open_source",
    "preload",
    "prepare",
    "process_together",
    "read_checkpoint",
]

PATIENCE = Patience(
    ladder_s=(0.1, 0.2, 0.4), jitter=0.0, stalled_after_s=0.4, picture_timeout_s=1.0, first_picture_timeout_s=3.0
)


@dataclass(frozen=True, slots=True)
class FakePicture:
    """A picture that its number alone decides."""

    index: int
    taken_s: float
    width_px: int = 64
    height_px: int = 48
    timestamp_s: float = 0.0
    captured_s: float = 0.0
    clock: ClockSource = "arrival"
    decoding_s: float = 0.0

    def write_into(self, out: NDArray[np.uint8]) -> None:
        """The pixels."""
        trouble("live", self.index)
        out[:] = np.random.default_rng(self.index).integers(0, 256, out.shape, np.uint8)
        out[0, 0] = self.index & 255, self.index >> 8, 0


class FakeReader:
    """What `LiveReader` is to its caller. Pictures come by `put`, or from a thread when it has frames per second."""

    def __init__(self, first_index: int = 1, fps: float = 0.0, hold: int = 0, gate: Path | None = None) -> None:
        self._box, self._lock = Mailbox(), threading.Lock()
        self._events: deque[SourceEvent] = deque()
        self._began_s = time.monotonic()
        self._fps, self._hold, self._gate = fps, hold, gate
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        self.state = SourceState.PAUSED
        self.index = first_index - 1
        self.size = 64, 48
        self.closed = False
        self.corrupt = 0

    def tell(self, state: SourceState, reason: str = "") -> None:
        """Be in another state."""
        self.state = state
        self._events.append(SourceEvent(time.monotonic(), state, reason))
        os.write(self._waker, b"\0")

    def put(self, age_s: float = 0.0) -> int:
        """A picture comes that is so old already; its number."""
        with self._lock:
            self.index += 1
            if self.state is not SourceState.STREAMING:
                self._box.refuse(paused=self.state is SourceState.PAUSED)
                return self.index
            taken_s = time.monotonic() - age_s
            width, height = self.size
            at_s = taken_s - self._began_s
            self._box.put(FakePicture(self.index, taken_s, width, height, at_s, time.time()))  # type: ignore[arg-type]
        os.write(self._waker, b"\0")
        return self.index

    def _run(self) -> None:
        while self.state is not SourceState.STOPPED:
            time.sleep(1 / self._fps)
            waits = self._hold and self.index >= self._hold and self._gate is not None and not self._gate.exists()
            if self.state is SourceState.STREAMING and not waits:
                self.put()

    # As `LiveReader`

    @property
    def counts(self) -> LiveCounts:
        with self._lock:
            box = self._box
            drops = {"superseded": box.superseded, "too_old": box.too_old, "paused": box.paused}
            waiting = int(box.waiting)
            return LiveCounts(decoded=box.decoded, taken=box.taken, waiting=waiting, corrupt=self.corrupt, **drops)

    def fileno(self) -> int:
        return self._wake

    def start(self) -> None:
        self.tell(SourceState.CONNECTING)
        self.tell(SourceState.STREAMING)
        if self._fps:
            threading.Thread(target=self._run, daemon=True).start()

    def take(self, max_age_s: float | None = None) -> object | None:
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
            return self._box.take(time.monotonic(), max_age_s)

    def events(self) -> list[SourceEvent]:
        happened = list(self._events)
        self._events.clear()
        return happened

    def pause(self) -> None:
        with self._lock:
            self._box.pause()
        self.tell(SourceState.PAUSED, "on request")

    def resume(self) -> None:
        self.tell(SourceState.STREAMING)

    def stop(self, timeout_s: float) -> bool:
        if self.state is not SourceState.STOPPED:
            self.tell(SourceState.STOPPED, "on request")
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self._wake)
            os.close(self._waker)
        self.closed = True


def open_live(job: StreamJob, first_index: int) -> FakeReader | LiveReader:
    """A fake source, or a real one."""
    assert job.live is not None
    trouble(f"open {job.name}", 0)
    path = Path(job.live.spec["url"].removeprefix("file:"))
    if path.suffix != ".json":
        return LiveReader(LiveSpec(**job.live.spec), first_index=first_index, patience=PATIENCE)
    spec = json.loads(path.read_text())
    reader = FakeReader(first_index, spec["fps"], spec.get("hold", 0), path.with_suffix(".go"))
    reader.size = spec["width"], spec["height"]
    return reader


class LiveAu(FakeAu):
    """Online values that depend on every frame so far, also on those of former segments."""

    def reset(self) -> None:
        """Forget."""
        super().reset()
        self._frames, self._mean = 0, 0.0

    def next_segment(self) -> None:
        """Go on with what is known."""
        frames, mean = self._frames, self._mean
        self.reset()
        self._frames, self._mean = frames, mean

    def snapshot(self) -> bytes:
        """All rows, and the mean."""
        return json.dumps([self._frames, self._mean]).encode() + b"\n" + super().snapshot()

    def restore(self, state: bytes) -> None:
        """Go on from there."""
        head, _, rows = state.partition(b"\n")
        super().restore(rows)
        self._frames, self._mean = json.loads(head)

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        """The online values."""
        au = super().process(frame, fit)
        self._frames += 1
        self._mean += (float(frame.bgr.mean()) - self._mean) / self._frames
        online = np.full(17, (self._mean + float(fit.params_local[0])) % 5)
        return AuFrame(au.index, au.face_id, au.intensities, au.presences, online=online)

    def finish(self) -> AuTable:
        """The values of the segment."""
        table = super().finish()
        return AuTable(table.intensities, table.presences, np.full(17, 0.25))


def make_au(models_root: Path, settings: StageSettings) -> LiveAu:
    """A fake predictor."""
    return LiveAu()
