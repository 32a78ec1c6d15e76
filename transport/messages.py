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
    "Note",
    "Pause",
    "Ready",
    "Released",
    "ServiceStatus",
    "SinkTally",
    "Skip",
    "Snapshot",
    "SourceChanged",
    "StreamDecoded",
    "StreamEnd",
    "StreamFailed",
    "StreamOpened",
    "StreamProgress",
    "StreamRefused",
    "StreamStart",
    "StreamState",
    "StreamWritten",
]


# Down an edge


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream goes on: what each stage knew after its first `frames` pictures."""

    frames: int
    clnf: bytes
    au: bytes
    sink: bytes
    tally: bytes  # the flow's own counts


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The first message of a stream, or of the next segment of an endless one."""

    stream: int
    info: SourceInfo
    job: str  # `auflow.flow.job.StreamJob` as JSON
    segment: int  # 0 for the first; in the later ones the stages go on with what they know of the person
    resume: StreamState | None


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
    captured_s: float = 0.0  # seconds since 1970 of a live picture
    clock: str = "file"  # what `captured_s` rests on: "rtcp", "arrival"; "file" where it means nothing
    failed: bool = False  # has ended a worker twice: no stage may look at it, its row says that there is no face
    trace: str = ""  # W3C traceparent of a frame that is traced


@dataclass(frozen=True, slots=True)
class FitReady:
    """A frame and the fits of its faces."""

    frame: FrameReady
    fits: tuple[FaceFit, ...]
    detections: int = 0  # times that faces were looked for in this frame
    sent_s: float = 0.0  # monotonic


@dataclass(frozen=True, slots=True)
class AuReady:
    """A frame, the fits of its faces and the online AU values of each."""

    frame: FrameReady
    fits: tuple[FaceFit, ...]
    aus: tuple[AuFrame, ...]
    detections: int = 0  # times that faces were looked for in this frame
    sent_s: float = 0.0  # monotonic


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Each stage adds what it knows after the frame before this message; the sink keeps it all as a checkpoint."""

    stream: int
    frames: int  # of the stream, so far
    clnf: bytes
    au: bytes


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The last message of a stream. `decoded == sent + dropped` and `failed <= sent` on every edge."""

    stream: int
    sent: int  # frames of this stream (since its last `StreamStart`) that went over this edge
    decoded: int  # frames that the source gave in that time
    dropped: int  # of them not sent
    failed: int  # of those sent, none of the stages worked on
    corrupt: int  # pictures that the decoder could not decode
    interrupted: bool
    kept: bool  # interrupted, and to be gone on with: no file is written, the checkpoint stays
    last: bool  # False: a further segment follows
    error: str | None  # what ended the input early; nothing of it is kept
    table: AuTable | None  # from the AU stage on


# Up an edge


@dataclass(frozen=True, slots=True)
class Credit:
    """The receiver can take `frames` more."""

    frames: int


@dataclass(frozen=True, slots=True)
class Ack:
    """The receiver has passed on all of a stream, `sent` frames."""

    stream: int
    sent: int


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
    asked_s: float = 0.0  # monotonic, of this machine


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
    metrics_port: int = 0  # of 127.0.0.1, where it tells its metrics; 0: nowhere


@dataclass(frozen=True, slots=True)
class Beat:
    """The work loop is alive; `progress` counts what it has done since it began, `frames` in this stream."""

    worker: str
    progress: int
    stream: int  # -1 before the first
    frames: int
    refused: int  # messages that were none, since it began


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """Decode has opened an input."""

    worker: str
    stream: int
    info: SourceInfo
    resumed_at: int  # frames that need not be done again


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """A live source is in another state, or there is something to say of it."""

    worker: str
    stream: int
    state: str
    reason: str
    transition: bool  # False: the state is as it was, and `reason` tells a fact


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
class StreamProgress:
    """What the sink has seen of a live stream of late."""

    worker: str
    stream: int
    faces: int  # in the last frame
    fps: float  # since the last message of this kind
    captured_s: float  # of the last frame
    clock: str
    statistics: StreamStatistics  # of the last one to two minutes
    published: int  # messages on the bus since the sink began


@dataclass(frozen=True, slots=True)
class StreamWritten:
    """The sink has closed a stream's files, or has thrown them away (`output` is None)."""

    worker: str
    stream: int
    segment: int
    last: bool  # False: a further segment follows
    output: str | None
    frames: int  # with rows
    failed: int  # of them
    dropped: int
    successes: int
    corrupt: int
    interrupted: bool
    error: str | None
    exit_code: int  # of that error
    statistics: StreamStatistics
    note: str  # what the user should know besides
    overlay_encoder: str | None = None  # of the annotated video, where there is one


@dataclass(frozen=True, slots=True)
class SinkTally:
    """What the sink has counted of a stream; part of its checkpoint, and never sent."""

    frames: int
    successes: int
    failed: int
    segment: int
    output: str
    statistics: StreamStatistics


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The sink cannot write a stream; the rest of it is not worth the work."""

    worker: str
    stream: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the user should know and that ends nothing."""

    worker: str
    stream: int
    text: str


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
    job: str  # `auflow.flow.job.StreamJob` as JSON


@dataclass(frozen=True, slots=True)
class Pause:
    """Take no pictures from a live source until told to go on."""

    stream: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """Decode nothing more: end the stream at hand as interrupted."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Decode no more of this stream: its sink has failed, or (`remove`) it is to end like one that is interrupted."""

    stream: int
    remove: bool = False


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How the service is, for the live page."""

    text: str  # the status (docs/serve.md) as JSON


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave now; what is unfinished is thrown away."""
