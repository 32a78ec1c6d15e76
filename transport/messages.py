"""Every message that travels between the processes of a run, as a frozen record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.stages.records import AuFrame, AuTable, FaceFit, SourceInfo
from auflow.stages.statistics import StreamStatistics

__all__ = [
    "Ack",
    "Assign",
    "AuReady",
    "Beat",
    "Boxes",
    "Connected",
    "Credit",
    "DetectRequest",
    "Drain",
    "Exit",
    "Fault",
    "FitReady",
    "FrameReady",
    "Ready",
    "Released",
    "Skip",
    "StreamDecoded",
    "StreamEnd",
    "StreamFailed",
    "StreamOpened",
    "StreamRefused",
    "StreamStart",
    "StreamWritten",
]


# Down an edge


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The first message of a stream."""

    stream: int
    info: SourceInfo
    output: str  # path of the CSV


@dataclass(frozen=True, slots=True)
class FrameReady:
    """A frame lies in the ring."""

    stream: int
    index: int  # 1-based
    timestamp_s: float
    slot: int
    generation: int
    height_px: int
    width_px: int
    taken_s: float  # monotonic, the same clock for all processes of a machine: when the decoder had given it out


@dataclass(frozen=True, slots=True)
class FitReady:
    """A frame and the fits of its faces."""

    frame: FrameReady
    fits: tuple[FaceFit, ...]


@dataclass(frozen=True, slots=True)
class AuReady:
    """A frame, the fits of its faces and the online AU values of each."""

    frame: FrameReady
    fits: tuple[FaceFit, ...]
    aus: tuple[AuFrame, ...]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The last message of a stream. `decoded == frames + dropped + failed` on every edge."""

    stream: int
    frames: int  # messages of this stream that went over this edge
    decoded: int  # frames that left the decoder
    dropped: int
    failed: int
    corrupt: int  # pictures that the decoder could not decode
    interrupted: bool
    error: str | None  # what ended the input early; nothing of it is kept
    table: AuTable | None  # from the AU stage on


# Up an edge


@dataclass(frozen=True, slots=True)
class Credit:
    """The receiver can take `frames` more."""

    frames: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The receiver has passed on all of a stream, `frames` messages."""

    stream: int
    frames: int


@dataclass(frozen=True, slots=True)
class Released:
    """A slot is free again (its header already says so: this wakes the decoder)."""

    slot: int
    generation: int


# To the detection service and back


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Find the faces of a frame that the CLNF worker of `lane` owns."""

    lane: int
    frame: FrameReady


@dataclass(frozen=True, slots=True)
class Boxes:
    """The faces of a frame."""

    stream: int
    index: int
    boxes: NDArray[np.float32]  # (k, 5) x, y, w, h [px, top-left], score


# Worker to orchestrator


@dataclass(frozen=True, slots=True)
class Connected:
    """All peers of this worker are on its sockets."""

    worker: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker can work."""

    worker: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The work loop is alive; `progress` counts what it has done since it began, `frames` in this stream."""

    worker: str
    progress: int
    stream: int  # -1 before the first
    frames: int


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """Decode has opened an input."""

    worker: str
    stream: int
    info: SourceInfo


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """Decode could not open an input, or was drained before it began; nothing of it went down the edge."""

    worker: str
    stream: int
    error: str | None


@dataclass(frozen=True, slots=True)
class StreamDecoded:
    """Decode has sent all of a stream and is free for the next."""

    worker: str
    stream: int
    frames: int


@dataclass(frozen=True, slots=True)
class StreamWritten:
    """The sink has closed a stream's files, or has thrown them away (`output` is None)."""

    worker: str
    stream: int
    output: str | None
    frames: int
    successes: int
    corrupt: int
    interrupted: bool
    error: str | None
    exit_code: int  # of that error
    statistics: StreamStatistics


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The sink cannot write a stream; the rest of it is not worth the work."""

    worker: str
    stream: int


@dataclass(frozen=True, slots=True)
class Fault:
    """The worker cannot go on."""

    worker: str
    kind: str  # class name of the error
    text: str
    traceback: str
    stream: int  # that it worked on, -1 for none
    frame: int


# Orchestrator to worker


@dataclass(frozen=True, slots=True)
class Assign:
    """Decode this input next."""

    stream: int
    path: str
    output: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Decode nothing more: end the stream at hand as interrupted."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Decode no more of this stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave now; what is unfinished is thrown away."""
