"""Stages that are made up: what they say is known, and coherent tracking says what the test wants."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from auflow.errors import StageError
from auflow.inline import Stages
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo, blank_fit
from auflow.stages.settings import StageSettings

FRAMES = 12


@dataclass(frozen=True)
class Play:
    """What the stages of one way of tracking do."""

    shift_px: float = 0.0  # of all landmarks, to the right
    noise: float = 0.0  # of the intensities
    lost: tuple[int, ...] = ()  # frames without success
    faces: int = 1
    looks_every: int = 4
    kept: tuple[int, ...] = ()  # frames whose descriptor is reused
    fails_at: int = 0
    ctrl_c_at: int = 0


class FakeDetector:
    """Finds the same box always."""

    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array([[1, 1, 4, 4, 1]], np.float32)


class FakeClnf:
    def __init__(self, play: Play) -> None:
        self.play = play

    def reset(self, info: SourceInfo) -> None:
        pass

    def process(self, frame: Frame, detect: Callable[[], NDArray[np.float32]]) -> tuple[FaceFit, ...]:
        play, index = self.play, frame.index
        if index == play.fails_at:
            raise StageError("the fit has failed")
        if index == play.ctrl_c_at:
            signal.raise_signal(signal.SIGINT)
        if index % play.looks_every == 1:
            detect()
        success = index not in play.lost
        points = np.arange(136, dtype=np.float32) + 0.5 * np.float32(np.sin(index))
        points[:68] += np.float32(play.shift_px)
        blank = blank_fit(index, frame.timestamp_s)
        return tuple(
            replace(blank, face_id=number, success=success, accepted=success, landmarks_px=points)
            for number in range(play.faces)
        )


class FakeAu:
    def __init__(self, play: Play) -> None:
        self.play = play
        self.reset()

    def reset(self) -> None:
        self.rows: list[NDArray[np.float64]] = []

    def process_faces(self, frame: Frame, fits: Sequence[FaceFit]) -> tuple[tuple[FaceFit, ...], tuple[AuFrame, ...]]:
        index, play = frame.index, self.play
        waves = 1.5 + np.sin(index * (0.3 + 0.05 * np.arange(17)))
        waves += play.noise * np.cos(2.1 * index + np.arange(17))
        self.rows += [waves] * len(fits)
        reused = index in play.kept
        return tuple(fits), tuple(AuFrame(index, fit.face_id, waves, np.zeros(18), reused=reused) for fit in fits)

    def finish(self) -> AuTable:
        rows = np.array(self.rows).reshape(-1, 17)
        return AuTable(rows, np.zeros((len(rows), 18)))


@dataclass
class Stage:
    """What each way does; tests change it."""

    exact: Play = Play()
    coherent: Play = Play()
    seen: list[StageSettings] | None = None

    def load(self, root: Path, settings: StageSettings) -> Stages:
        """In place of the real stages."""
        if self.seen is not None:
            self.seen.append(settings)
        play = self.coherent if settings.coherent else self.exact
        return Stages(FakeDetector(), FakeClnf(play), FakeAu(play))


@pytest.fixture
def stage() -> Stage:
    return Stage(seen=[])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder of pictures."""
    return write_pictures(tmp_path / "clip", FRAMES)


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((8, 8, 3), number, np.uint8))
    return folder
