"""A session with stages that are made up, on a folder of pictures."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from auflow.errors import BackendError
from auflow.inline import Stages
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo, blank_fit
from auflow.stages.settings import StageSettings

FRAMES = 8


@dataclass
class Play:
    """What stages of some settings do."""

    busy_s: float = 0.002  # of the fit of a frame
    shift_px: float = 0.0
    refuses: str = ""
    ctrl_c_at: int = 0  # frame, counted over all runs


@dataclass
class Theatre:
    """Which settings do what; by default all the same."""

    plays: Callable[[StageSettings], Play] = lambda settings: Play()
    loaded: list[StageSettings] = field(default_factory=list)
    frames: int = 0

    def load(self, root: Path, settings: StageSettings) -> Stages:
        """In place of the real stages."""
        play = self.plays(settings)
        self.loaded.append(settings)
        if play.refuses:
            raise BackendError(play.refuses)
        return Stages(_Detector(), _Clnf(self, play), _Au())


class _Detector:
    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        work(0.0005)
        return np.array([[1, 1, 4, 4, 1]], np.float32)


class _Clnf:
    def __init__(self, theatre: Theatre, play: Play) -> None:
        self.theatre, self.play = theatre, play

    def reset(self, info: SourceInfo) -> None:
        pass

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        self.theatre.frames += 1
        if self.theatre.frames == self.play.ctrl_c_at:
            signal.raise_signal(signal.SIGINT)
        if frame.index == 1:
            detect()
        work(self.play.busy_s)
        points = np.arange(136, dtype=np.float32) + np.float32(self.play.shift_px)
        return (replace(blank_fit(frame.index, frame.timestamp_s), success=True, accepted=True, landmarks_px=points),)


class _Au:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.rows: list[NDArray[np.float64]] = []

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        waves = 1.5 + np.sin(frame.index * (0.3 + 0.05 * np.arange(17)))
        self.rows += [waves] * len(fits)
        return tuple(fits), tuple(AuFrame(frame.index, fit.face_id, waves, np.zeros(18)) for fit in fits)

    def finish(self) -> AuTable:
        rows = np.array(self.rows).reshape(-1, 17)
        return AuTable(rows, np.zeros((len(rows), 18)))


def work(seconds: float) -> None:
    """So much CPU time."""
    until_s = time.process_time() + seconds
    while time.process_time() < until_s:
        pass


@pytest.fixture
def theatre() -> Theatre:
    return Theatre()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder of pictures."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((8, 8, 3), number, np.uint8))
    return folder
