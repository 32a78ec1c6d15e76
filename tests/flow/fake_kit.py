"""Stages for the flow's tests: quick, deterministic, with memory (so that a missing reset or restore shows) and faults.

An input is a JSON file: {"frames": 20, "width": 64, "height": 48, "seed": 1}. The environment asks for trouble:
AUFLOW_FAKE_FAULT="clnf:7:raise,au:9:kill:1" (role, frame, raise | kill | hang | full, how many times, without that
always), AUFLOW_FAKE_HUNG (a file that appears when it hangs), AUFLOW_FAKE_DELAY_S (per frame, in CLNF) and
AUFLOW_FAKE_PRELOAD_S (in the nursery, for CLNF and for AU). Frame 0 is the place beside frames: of a decoder the
opening, of a sink the end. AUFLOW_FAKE_FORMATS="csv,jsonl" is what is written.
"""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, ModelError
from auflow.flow.job import StreamJob
from auflow.flow.stagekit import keep_picture, read_checkpoint
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo, blank_fit
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.sink.checkpoint import identity_of
from auflow.stages.sink.workspace import writing

__all__ = ["keep_picture", "read_checkpoint"]

DETECT_EVERY = 5
SETTINGS = StageSettings(
    precision="full",
    formats=tuple(os.environ.get("AUFLOW_FAKE_FORMATS", "csv").split(",")),  # type: ignore[arg-type]
)


def prepare(role: str) -> None:
    """Nothing to import."""


def preload(role: str, models_root: Path, settings: StageSettings) -> None:
    """Take as long as the test wants."""
    time.sleep(float(os.environ.get("AUFLOW_FAKE_PRELOAD_S", "0")))


def ensure_kernels(models_root: Path, settings: StageSettings) -> None:
    """Nothing to compile."""


def trouble(role: str, index: int) -> None:
    """Do what AUFLOW_FAKE_FAULT asks for, if this is the role and the frame."""
    for fault in os.environ.get("AUFLOW_FAKE_FAULT", "").split(","):
        where, _, what = fault.partition(f"{role}:{index}:")
        if not where and what:
            _be_in_trouble(f"{role} {index}", *what.split(":"))


def _be_in_trouble(where: str, what: str, times: str = "") -> None:
    if times:
        count = Path(tempfile.gettempdir()) / f"{where}.count"  # outlives the process
        with count.open("a+b") as file:
            if file.tell() >= int(times):
                return
            file.write(b"x")
    match what:
        case "raise":
            raise ValueError(f"no good: {where}")
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    if mark := os.environ.get("AUFLOW_FAKE_HUNG"):
        Path(mark).touch()
    time.sleep(60)


class FakeSource:
    """Pictures that differ from frame to frame and from input to input, and have their number in the first pixel."""

    def __init__(self, path: Path) -> None:
        try:
            spec = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a fake input, got {error}") from error
        self._spec = spec
        self._next = 0
        self.corrupt_frames = spec.get("corrupt", 0)
        self.info = SourceInfo(str(path), "video", spec["width"], spec["height"], 25.0, spec["frames"])
        trouble("decode", 0)

    def read_into(self, out: NDArray[np.uint8]) -> tuple[int, float] | None:
        """The next picture."""
        if self._next == self._spec.get("breaks_at"):
            raise InputError("the file breaks off")
        if self._next == self._spec["frames"]:
            return None
        self._next += 1
        trouble("decode", self._next)
        out[:] = np.random.default_rng([self._spec["seed"], self._next]).integers(0, 256, out.shape, np.uint8)
        out[0, 0] = self._next & 255, self._next >> 8, 0
        return self._next, self._next / 25.0

    def skip(self, frames: int) -> int:
        """Pass over pictures."""
        skipped = min(frames, self._spec["frames"] - self._next)
        self._next += skipped
        return skipped

    def close(self) -> None:
        """Nothing to close."""


def open_source(path: Path, *, stopped: Callable[[], bool] | None = None) -> FakeSource:
    """Open a fake input."""
    return FakeSource(path)


class FakeDetector:
    """A box from the pixels."""

    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One box."""
        trouble("detect", int(bgr[0, 0, 0]) + 256 * int(bgr[0, 0, 1]))
        assert not bgr.flags.writeable or bgr.base is None
        return np.array([[bgr[0, 0, 0], bgr[1, 1, 1], bgr[2, 2, 2], bgr.mean(), 1]], np.float32)

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """A box of each."""
        return [self.detect(bgr) for bgr in pictures]


def make_detector(models_root: Path, settings: StageSettings) -> FakeDetector:
    """A fake detector."""
    return FakeDetector()


def fit_together(work: object) -> None:
    """No fake stage gains by company."""
    raise AssertionError("nobody asked for company")


class FakeClnf:
    """Remembers the box and a running mean."""

    gains_by_company = False

    def __init__(self) -> None:
        self.reset()

    def reset(self, info: SourceInfo | None = None) -> None:
        """Forget."""
        self._frames = 0
        self._mean = 0.0
        self._box = np.zeros(5, np.float32)

    def snapshot(self) -> bytes:
        """All that the next frame needs."""
        return json.dumps([self._frames, self._mean, self._box.tolist()]).encode()

    def restore(self, state: bytes) -> None:
        """Go on from there."""
        self._frames, self._mean, box = json.loads(state)
        self._box = np.array(box, np.float32)

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        """A fit that depends on all frames so far."""
        trouble("clnf", frame.index)
        time.sleep(float(os.environ.get("AUFLOW_FAKE_DELAY_S", "0")))
        if self._frames % DETECT_EVERY == 0:
            self._box = detect()[0]
        self._frames += 1
        self._mean = 0.9 * self._mean + 0.1 * float(frame.bgr.mean())
        ramp = np.arange(204, dtype=np.float32)
        fit = FaceFit(
            index=frame.index,
            timestamp_s=frame.timestamp_s,
            face_id=0,
            success=frame.index % 3 != 0,
            accepted=frame.index % 3 != 0,
            confidence=0.5,
            params_global=np.resize(self._box, 6),
            params_local=np.full(34, self._mean, np.float32),
            landmarks_px=ramp[:136] + frame.bgr[3, 3, 0],
            landmarks_mm=ramp + np.float32(self._mean),
            pose=np.full(6, self._mean),
            optimisations=4,
            converged=4 if frame.index % 4 == 0 else 1,
            iterations=10 + frame.index % 2,
        )
        return (fit,)


def make_clnf(models_root: Path, settings: StageSettings) -> FakeClnf:
    """A fake fitter; a store that is named "broken" has no models."""
    if models_root.name == "broken":
        raise ModelError(f"{models_root}: there are no models")
    return FakeClnf()


class FakeAu:
    """Values from the fit; the offline pass adds their mean over the stream."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget."""
        self._intensities: list[NDArray[np.float64]] = []
        self._presences: list[NDArray[np.float64]] = []

    def snapshot(self) -> bytes:
        """All rows so far."""
        file = io.BytesIO()
        np.savez(file, intensities=np.array(self._intensities), presences=np.array(self._presences))
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from there."""
        arrays = np.load(io.BytesIO(state))
        self._intensities, self._presences = list(arrays["intensities"]), list(arrays["presences"])

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        """The online values."""
        if fit.optimisations:  # else nobody may look at the picture
            trouble("au", frame.index)
        base = float(fit.params_local[0]) + (float(frame.bgr[4, 4, 1]) if fit.optimisations else 0.0)
        self._intensities.append(np.arange(17, dtype=np.float64) + base)
        self._presences.append(np.full(18, float(frame.index % 2)))
        reused = fit.accepted and frame.index % 5 == 0
        return AuFrame(frame.index, 0, self._intensities[-1], self._presences[-1], reused=reused)

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        """Each face by itself."""
        return tuple(fits), tuple(self.process(frame, fit) for fit in fits)

    def finish(self) -> AuTable:
        """The values of the stream."""
        intensities = np.array(self._intensities).reshape(-1, 17)
        presences = np.array(self._presences).reshape(-1, 18)
        return AuTable(intensities - intensities.mean() if len(intensities) else intensities, presences)


def process_together(work, at: Callable[[int], None]):
    """One after the other."""
    results = []
    for place, (stage, frame, fits) in enumerate(work):
        at(place)
        results.append(stage.process_faces(frame, fits))
    return results


def make_au(models_root: Path, settings: StageSettings) -> FakeAu:
    """A fake predictor."""
    return FakeAu()


class FakeSink(ResultSink):
    """The real files, with trouble before a row, before the end and before a checkpoint (frame -1)."""

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append the rows."""
        if fits[0].optimisations:
            with writing(self._output):
                trouble("sink", frame.index)
        super().add(frame, fits, aus)

    def checkpoint(self, frames: int, states: Mapping[str, bytes], extra: bytes = b"") -> None:
        """A place to go on from."""
        with writing(self._output):
            trouble("sink", -1)
        super().checkpoint(frames, states, extra)

    def finish(self, table: AuTable, *, interrupted: bool = False) -> Path:
        """Write the CSV."""
        trouble("sink", 0)
        return super().finish(table, interrupted=interrupted)


def make_sink(job: StreamJob, info: SourceInfo, resume: bytes | None) -> FakeSink:
    """A sink for the stream."""
    identity = identity_of(job.source, job.settings, Path(job.models_root))
    return FakeSink(Path(job.output), job.settings, info, resume, identity=identity)


def run_alone(path: Path, output: Path, failed: int = 0) -> None:
    """What the separate processes must equal: the same stages, one after the other, in this process.

    `failed` is a frame that no stage looks at.
    """
    source, clnf, au, detector = FakeSource(path), FakeClnf(), FakeAu(), FakeDetector()
    sink = ResultSink(output, SETTINGS, source.info)
    bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
    view = bgr.view()
    view.flags.writeable = False
    while (got := source.read_into(bgr)) is not None:
        frame = Frame(*got, view)
        fits: tuple[FaceFit, ...] = (blank_fit(*got),)
        if frame.index != failed:
            fits = clnf.process(frame, lambda: detector.detect(view))
        sink.add(frame, *au.process_faces(frame, fits))
    sink.finish(au.finish(), interrupted=False)
