"""Stages for the flow's tests: quick, deterministic, with memory (so that a missing reset shows) and faults on demand.

An input is a JSON file: {"frames": 20, "width": 64, "height": 48, "seed": 1}. The environment asks for trouble:
AUFLOW_FAKE_FAULT="clnf:7:raise" (role, frame, raise | kill | hang), AUFLOW_FAKE_HUNG (a file that appears when it
hangs), AUFLOW_FAKE_DELAY_S (per frame, in CLNF) and AUFLOW_FAKE_PRELOAD_S (in the nursery, for CLNF and for AU).
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError, ModelError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink import CsvSink

DETECT_EVERY = 5


def prepare(role: str) -> None:
    """Nothing to import."""


def preload(role: str, models_root: Path, settings: StageSettings) -> None:
    """Take as long as the test wants."""
    time.sleep(float(os.environ.get("AUFLOW_FAKE_PRELOAD_S", "0")))


def ensure_kernels(models_root: Path, settings: StageSettings) -> None:
    """Nothing to compile."""


def trouble(role: str, index: int) -> None:
    """Do what AUFLOW_FAKE_FAULT asks for, if this is the role and the frame."""
    wanted = os.environ.get("AUFLOW_FAKE_FAULT", "").split(":")
    if wanted[:2] != [role, str(index)]:
        return
    if wanted[2] == "raise":
        raise ValueError(f"no good: {role} {index}")
    if wanted[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if mark := os.environ.get("AUFLOW_FAKE_HUNG"):
        Path(mark).touch()
    time.sleep(60)


class FakeSource:
    """Pictures that differ from frame to frame and from input to input."""

    def __init__(self, path: Path) -> None:
        try:
            spec = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: expected a fake input, got {error}") from error
        self._spec = spec
        self._next = 0
        self.corrupt_frames = spec.get("corrupt", 0)
        self.info = SourceInfo(str(path), "video", spec["width"], spec["height"], 25.0, spec["frames"])

    def read_into(self, out: NDArray[np.uint8]) -> tuple[int, float] | None:
        """The next picture."""
        if self._next == self._spec.get("breaks_at"):
            raise InputError("the file breaks off")
        if self._next == self._spec["frames"]:
            return None
        self._next += 1
        trouble("decode", self._next)
        out[:] = np.random.default_rng([self._spec["seed"], self._next]).integers(0, 256, out.shape, np.uint8)
        return self._next, self._next / 25.0

    def close(self) -> None:
        """Nothing to close."""


def open_source(path: Path) -> FakeSource:
    """Open a fake input."""
    return FakeSource(path)


class FakeDetector:
    """A box from the pixels."""

    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One box."""
        trouble("detect", int(os.environ.get("AUFLOW_FAKE_FAULT", "x:0:x").split(":")[1]))
        assert not bgr.flags.writeable or bgr.base is None
        return np.array([[bgr[0, 0, 0], bgr[1, 1, 1], bgr[2, 2, 2], bgr.mean(), 1]], np.float32)


def make_detector(models_root: Path) -> FakeDetector:
    """A fake detector."""
    return FakeDetector()


class FakeClnf:
    """Remembers the box and a running mean."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, info: SourceInfo | None = None) -> None:
        """Forget."""
        self._frames = 0
        self._mean = 0.0
        self._box = np.zeros(5, np.float32)

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
        self._rows: list[AuFrame] = []

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        """The online values."""
        trouble("au", frame.index)
        base = float(fit.params_local[0]) + float(frame.bgr[4, 4, 1])
        self._rows.append(
            AuFrame(frame.index, 0, np.arange(17, dtype=np.float64) + base, np.full(18, float(frame.index % 2)))
        )
        return self._rows[-1]

    def finish(self) -> AuTable:
        """The values of the stream."""
        intensities = np.array([row.intensities for row in self._rows]).reshape(-1, 17)
        presences = np.array([row.presences for row in self._rows]).reshape(-1, 18)
        return AuTable(intensities - intensities.mean() if len(intensities) else intensities, presences)


def make_au(models_root: Path, settings: StageSettings) -> FakeAu:
    """A fake predictor."""
    return FakeAu()


class FakeSink:
    """The real CSV, with trouble before a row."""

    def __init__(self, output: Path) -> None:
        self._csv = CsvSink(output, StageSettings(precision="full"))

    def add(self, frame: Frame, fits: Sequence[FaceFit], aus: Sequence[AuFrame]) -> None:
        """Append the rows."""
        trouble("sink", frame.index)
        for fit, au in zip(fits, aus, strict=True):
            self._csv.add(fit, au)

    def finish(self, table: AuTable, *, interrupted: bool) -> Path:
        """Write the CSV."""
        return self._csv.finish(table, interrupted=interrupted)

    def discard(self) -> None:
        """Leave nothing."""
        self._csv.discard()


def make_sink(output: Path, settings: StageSettings, info: SourceInfo) -> FakeSink:
    """A sink for the stream."""
    return FakeSink(output)


def run_alone(path: Path, output: Path) -> None:
    """What the separate processes must equal: the same stages, one after the other, in this process."""
    source, clnf, au, detector, sink = FakeSource(path), FakeClnf(), FakeAu(), FakeDetector(), FakeSink(output)
    bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
    view = bgr.view()
    view.flags.writeable = False
    while (got := source.read_into(bgr)) is not None:
        frame = Frame(*got, view)
        fits = clnf.process(frame, lambda: detector.detect(view))
        sink.add(frame, fits, [au.process(frame, fit) for fit in fits])
    sink.finish(au.finish(), interrupted=False)
