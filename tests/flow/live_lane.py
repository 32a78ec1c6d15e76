"""The ends of a live lane without processes: a feed and what comes down its edge, an output and what it tells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from auflow.flow.job import LiveJob, StreamJob
from auflow.flow.live_feed import LiveFeed
from auflow.flow.live_output import LiveOutput
from auflow.flow.outlet import Outlet
from auflow.stages.decode.live import LiveSpec
from auflow.stages.records import AuFrame, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.telemetry.probe import Probe
from auflow.tests.serve.live_kit import FakeReader
from auflow.transport import messages as m
from auflow.transport.edge import EdgeReceiver, EdgeSender
from auflow.transport.link import memory_links
from auflow.transport.ring import FrameRing, Owner, Slot, Tally, create_ring

SETTINGS = StageSettings(live=True, keep_series=True)


def live_job(name: str = "door", *, output: str = "", jsonl: str = "", state: str = "state", **more: Any) -> StreamJob:
    """A live stream's job; of `more`, what is no field of `LiveJob` is one of `StreamJob`."""
    live = {"seat": 0, "max_age_s": 5.0, "rotate_s": 0.0, "checkpoint_s": 1000.0, "paused": False}
    live |= {key: more.pop(key) for key in list(more) if key in live}
    job = LiveJob(spec=asdict(LiveSpec(name, "rtsp://192.0.2.1/1")), jsonl=jsonl, **live)  # type: ignore[arg-type]
    return StreamJob(
        name, "rtsp://192.0.2.1/1", output, state, more.pop("settings", SETTINGS), "models", live=job, **more
    )


class FakeShell:
    """What a role's shell is to feeds and outputs."""

    def __init__(self, ring: FrameRing, name: str) -> None:
        self.ring, self.name = ring, name
        self.told: list[Any] = []
        self.stream = self.frames = self.progress = 0
        self.config = SimpleNamespace(bus=None)
        self.probe = Probe()

    def tell(self, record: object) -> None:
        self.told.append(record)

    def note(self, stream: int, frame: int) -> None:
        self.ring.mark(stream, frame)

    def of(self, kind: type) -> list[Any]:
        """What was told of a kind."""
        return [record for record in self.told if isinstance(record, kind)]


class Lane:
    """A ring, the feeds of a decoder before it, and stages that do what the test says."""

    def __init__(self, slots: int = 4) -> None:
        self.fd = create_ring(slots, 64 * 48 * 3)
        self.ring, self.behind = FrameRing(self.fd, Owner.DECODE), FrameRing(self.fd, Owner.CLNF)
        self.feeds: list[LiveFeed] = []
        self.readers: list[FakeReader] = []
        self.checkpoint: m.StreamState | str | None = None
        self.born()

    def born(self) -> None:
        """The processes of the lane are made."""
        up, down = memory_links()
        self.shell = FakeShell(self.ring, "decode-0")
        self.sender: EdgeSender[m.FrameReady] = EdgeSender(up, "decode")
        self.receiver: EdgeReceiver[m.FrameReady] = EdgeReceiver(down, "clnf", 4, m.FrameReady)
        self.receiver.open()
        self.sender.pump()
        self.outlet = Outlet(self.shell, self.sender)  # type: ignore[arg-type]
        self.under_way: list[m.FrameReady] = []
        self.came: list[Any] = []

    def die(self) -> None:
        """All four processes are killed."""
        self.close_feeds()
        self.ring.reclaim()
        self.born()

    def feed(self, job: StreamJob | None = None) -> LiveFeed:
        """Another stream."""
        job = job or live_job()
        kit = SimpleNamespace(open_live=self._open, read_checkpoint=lambda _job: self.checkpoint)
        self.feeds.append(LiveFeed(self.outlet, kit, len(self.feeds), job))
        return self.feeds[-1]

    def _open(self, _job: StreamJob, first_index: int) -> FakeReader:
        self.readers.append(FakeReader(first_index))
        return self.readers[-1]

    @property
    def reader(self) -> FakeReader:
        """The last that was opened."""
        return self.readers[-1]

    def arrive(self) -> list[Any]:
        """What has come down the edge since the last call."""
        new = []
        while (record := self.receiver.receive()) is not None:
            new.append(record)
            if isinstance(record, m.FrameReady):
                self.under_way.append(record)
            elif isinstance(record, m.StreamEnd):
                self.receiver.acknowledge()
        self.sender.pump()
        self.came += new
        return new

    def frames(self) -> list[int]:
        """The numbers of the frames that have come since the last call."""
        return [record.index for record in self.arrive() if isinstance(record, m.FrameReady)]

    def finish_one(self, seat: int = 0) -> None:
        """The stages have done with the oldest picture."""
        frame = self.under_way.pop(0)
        slot = Slot(frame.slot, frame.generation)
        self.behind.hand_over(slot, Owner.FREE)
        self.outlet.released(slot)
        self.receiver.done()
        self.sender.pump()
        self.ring.count(seat, done=self.ring.tally(seat).done + 1)

    def tally(self, seat: int = 0) -> Tally:
        """The counts, which add up."""
        tally = self.ring.tally(seat)
        assert tally.under_way >= 0
        assert tally.decoded == tally.done + tally.dropped + tally.failed + tally.under_way
        return tally

    def states(self) -> list[str]:
        """Of the sources, in the order in which they were told."""
        return [event.state for event in self.shell.of(m.SourceChanged) if event.transition]

    def close_feeds(self) -> None:
        for reader in self.readers:
            reader.close()

    def close(self) -> None:
        self.close_feeds()
        os.close(self.fd)


class FakePublisher:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []

    def publish(self, topic: bytes, payload: bytes) -> bool:
        self.sent.append((topic, payload))
        return True


class Out:
    """Outputs of one stream, one after the other, over the same ring."""

    def __init__(self, kit: Any, job: StreamJob) -> None:
        self.fd = create_ring(2, 64 * 48 * 3)
        self.ring = FrameRing(self.fd, Owner.SINK)
        self.kit, self.job = kit, job
        self.shell = FakeShell(self.ring, "sink-0")
        self.publisher = FakePublisher()
        self.outputs: list[LiveOutput] = []
        self.info = SourceInfo(job.name, "live", 64, 48, 0.0, None)

    def start(self, segment: int = 0, resume: m.StreamState | None = None) -> LiveOutput:
        """A segment begins."""
        start = m.StreamStart(0, self.info, self.job.to_json(), segment, resume)
        output = LiveOutput(self.shell, self.kit, start, self.job, self.publisher)  # type: ignore[arg-type]
        self.outputs.append(output)
        return output

    def notes(self) -> list[str]:
        return [note.text for note in self.shell.of(m.Note)]

    def close(self) -> None:
        for output in self.outputs:
            output.suspend()
        os.close(self.fd)


def result_of(index: int, online: float = 1.0) -> tuple[m.AuReady, Frame]:
    """What comes to a sink of one frame."""
    ramp = np.arange(204, dtype=np.float32)
    fit = FaceFit(
        index=index,
        timestamp_s=index / 25,
        face_id=0,
        success=True,
        accepted=True,
        confidence=0.5,
        params_global=ramp[:6],
        params_local=ramp[:34],
        landmarks_px=ramp[:136],
        landmarks_mm=ramp,
        pose=np.zeros(6),
    )
    au = AuFrame(index, 0, np.full(17, float(index)), np.zeros(18), online=np.full(17, online))
    ready = m.FrameReady(0, index, index / 25, 0, 1, 48, 64, time.monotonic(), captured_s=1e9 + index, clock="arrival")
    return m.AuReady(ready, (fit,), (au,)), Frame(index, index / 25, np.zeros((48, 64, 3), np.uint8))


def end_of(frames: int, **more: Any) -> m.StreamEnd:
    """The end of a segment."""
    end = m.StreamEnd(
        stream=0,
        sent=frames,
        decoded=frames,
        dropped=0,
        failed=0,
        corrupt=0,
        interrupted=False,
        kept=False,
        last=True,
        error=None,
        table=None,
    )
    return replace(end, **more)


def until(done: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline_s, f"not within {limit_s} s"
        time.sleep(0.02)


def read_rows(path: Path) -> list[int]:
    """The frame numbers of a CSV."""
    return [int(line.split(",")[0]) for line in path.read_text().splitlines()[1:]]
