"""All stages in one process, one picture after the other: the reference that the separate processes must equal."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from auflow.errors import AuflowError, StageError
from auflow.options import RunOptions, output_path
from auflow.report import Reporter, StreamSummary, cut_short_warning
from auflow.stages.decode import Source, open_source
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.statistics import StreamTally

__all__ = ["Stages", "load_stages", "run"]


class Detector(Protocol):
    """Finds faces in a picture (`auflow.stages.detect.MtcnnDetector`)."""

    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Boxes (k, 5): x, y, w, h in pixels, score."""


class Clnf(Protocol):
    """Fits the face of a picture (`auflow.stages.clnf.ClnfStage`)."""

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        """The fit of each face; `detect` is called only when tracking needs a box."""

    def reset(self, info: SourceInfo) -> None:
        """Forget the stream; `info` is of the next."""


class Au(Protocol):
    """Predicts Action Units (`auflow.stages.au.AuStage`)."""

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        """The fits of one frame, numbered by the person where there are identities, and the online values of each."""

    def finish(self) -> AuTable:
        """The values of all frames since `reset`, after the offline pass."""

    def reset(self) -> None:
        """Forget the stream."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What happens to a picture between its decoding and its row."""

    detector: Detector
    clnf: Clnf
    au: Au


def load_stages(models_root: Path, settings: StageSettings) -> Stages:
    """The real stages, from a complete model store."""
    # Numba and ONNX Runtime are loaded here and not before an input could be opened.
    from auflow.flow.stagekit import ensure_kernels
    from auflow.stages.au import AuStage
    from auflow.stages.clnf import ClnfStage
    from auflow.stages.detect import load_detector

    ensure_kernels(models_root, settings)
    return Stages(
        load_detector(models_root, settings), ClnfStage(models_root, settings), AuStage(models_root, settings)
    )


def run(
    options: RunOptions, reporter: Reporter, *, load: Callable[[Path, StageSettings], Stages] = load_stages
) -> list[StreamSummary]:
    """Work through the inputs of `options`, one after the other.

    An input that fails ends with its error in its summary and the next one is taken. The first Ctrl-C ends the run
    after the picture in hand, with what is finished written; a second one ends it at once, as KeyboardInterrupt.

    Returns
    -------
    one summary per input that was begun, in order
    """
    summaries: list[StreamSummary] = []
    stages: Stages | None = None
    with _interruptible() as interrupted:
        for path in options.inputs:
            stream = _Stream(path)
            try:
                with open_source(path) as source:
                    stages = stages or load(options.models_root, options.settings)
                    stream.began_s = time.monotonic()  # loading is not this input's time
                    reporter.stream_started(source.info)
                    _run_stream(stream, source, stages, options, reporter, interrupted)
            except AuflowError as error:
                stream.error = error
            except Exception as error:  # noqa: BLE001 - a fault of the program: told whole, as separate processes do
                reporter.warning(f"failed with\n{''.join(traceback.format_exception(error)).rstrip()}")
                where = f"at frame {stream.frames + 1} of {path}"
                stream.error = StageError(f"a stage failed {where}: {type(error).__name__}: {error}")
            summaries.append(stream.summary(options.began_s))
            reporter.stream_finished(summaries[-1])
            if interrupted.is_set():
                break
    return summaries


@dataclass(slots=True)
class _Stream:
    """What is known so far of the input being worked on."""

    path: Path
    began_s: float = field(default_factory=time.monotonic)
    output: Path | None = None
    frames: int = 0
    successes: int = 0
    corrupt_frames: int = 0
    interrupted: bool = False
    overlay_encoder: str | None = None
    error: AuflowError | None = None
    tally: StreamTally = field(default_factory=StreamTally)

    def summary(self, run_began_s: float) -> StreamSummary:
        statistics = self.tally.statistics()
        first_s = statistics.first_result_at_s
        return StreamSummary(
            path=str(self.path),
            output=None if self.output is None else str(self.output),
            frames=self.frames,
            successes=self.successes,
            corrupt_frames=self.corrupt_frames,
            seconds=time.monotonic() - self.began_s,
            interrupted=self.interrupted,
            error=None if self.error is None else str(self.error),
            exit_code=0 if self.error is None else self.error.exit_code,
            statistics=statistics,
            first_result_s=None if first_s is None else first_s - run_began_s,
            overlay_encoder=self.overlay_encoder,
        )


def _run_stream(
    stream: _Stream,
    source: Source,
    stages: Stages,
    options: RunOptions,
    reporter: Reporter,
    interrupted: threading.Event,
) -> None:
    output = output_path(options, stream.path)
    stages.clnf.reset(source.info)
    stages.au.reset()
    sink = ResultSink(output, options.settings, source.info)
    try:
        for frame in _pictures(source, interrupted):
            taken_s = time.monotonic()
            detect = _Counted(partial(stages.detector.detect, frame.bgr))
            fits, aus = stages.au.process_faces(frame, stages.clnf.process(frame, detect))
            stream.tally.result_came()
            sink.add(frame, fits, aus)
            stream.tally.written(taken_s, fits, aus, detect.calls)
            stream.frames += 1
            stream.successes += any(fit.success for fit in fits)
            stream.corrupt_frames = source.corrupt_frames
            reporter.advanced(str(stream.path), stream.frames)
        stream.corrupt_frames = source.corrupt_frames
        stream.interrupted = interrupted.is_set()
        if stream.frames or not stream.interrupted:
            stream.output = sink.finish(stages.au.finish(), interrupted=stream.interrupted)
            stream.overlay_encoder = sink.overlay_encoder
    finally:
        sink.discard()
        if sink.note:
            reporter.warning(sink.note)
    if not stream.interrupted and (text := cut_short_warning(source.info, stream.frames)):
        reporter.warning(text)


class _Counted:
    """Detection that counts how often it was asked for."""

    def __init__(self, detect: Callable[[], NDArray[np.float32]]) -> None:
        self._detect = detect
        self.calls = 0

    def __call__(self) -> NDArray[np.float32]:
        self.calls += 1
        return self._detect()


def _pictures(source: Source, interrupted: threading.Event) -> Iterator[Frame]:
    bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
    while not interrupted.is_set() and (read := source.read_into(bgr)) is not None:
        index, timestamp_s = read
        yield Frame(index, timestamp_s, bgr)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets: a stage that is cut off in the middle would lose its place."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals are the main thread's
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
