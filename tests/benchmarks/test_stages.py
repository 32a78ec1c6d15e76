"""Clocks around the stages, with stages that only take their time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from auflow import inline
from auflow.benchmarks import stages
from auflow.errors import StageError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo


def work(seconds: float) -> None:
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass


class Detector:
    def detect(self, bgr: np.ndarray) -> np.ndarray:
        work(0.02)
        return np.array([[10, 10, 50, 50, 1]], np.float32)


class Clnf:
    def reset(self, info: SourceInfo) -> None: ...

    def process(self, frame: Frame, detect: Callable[[], np.ndarray]) -> tuple[FaceFit, ...]:
        work(0.004)
        if frame.index == 1:
            detect()
        vector = np.zeros(204, np.float32)
        return (
            FaceFit(
                index=frame.index,
                timestamp_s=frame.timestamp_s,
                face_id=0,
                success=True,
                accepted=True,
                confidence=1.0,
                params_global=vector[:6],
                params_local=vector[:34],
                landmarks_px=vector[:136],
                landmarks_mm=vector,
                pose=np.zeros(6),
            ),
        )


class Au:
    def __init__(self) -> None:
        self.frames = 0

    def reset(self) -> None:
        self.frames = 0

    def process(self, frame: Frame, fit: FaceFit) -> AuFrame:
        work(0.002)
        self.frames += 1
        return AuFrame(frame.index, 0, np.zeros(17), np.zeros(18))

    def process_faces(self, frame: Frame, fits):
        return tuple(fits), tuple(self.process(frame, fit) for fit in fits)

    def finish(self) -> AuTable:
        return AuTable(np.zeros((self.frames, 17)), np.zeros((self.frames, 18)))


@pytest.fixture(autouse=True)
def _fake_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "load_stages", lambda *args: inline.Stages(Detector(), Clnf(), Au()))
    for name in ("clnf", "au"):
        monkeypatch.setattr(getattr(stages, name), "warm_up", lambda root: None)
    monkeypatch.setattr(stages, "ensure_kernels", lambda *args: None)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((64, 64, 3), np.uint8))
    return folder


def test_each_stage_has_its_own_time(pictures: Path) -> None:
    costs = stages.measure(pictures, Path("models"), repeat=2)
    found = {stage.name: stage for stage in costs.stages}
    assert costs.frames == 5
    assert found["clnf"].calls is not None
    assert found["clnf"].calls.count == 5
    assert found["clnf"].ms_per_frame == pytest.approx(4, rel=0.3)  # without the detection that it calls
    assert found["clnf"].calls.median == pytest.approx(4, rel=0.3)
    assert found["detect"].ms_per_frame == pytest.approx(20 / 5, rel=0.3)
    assert found["au"].ms_per_frame == pytest.approx(2, rel=0.3)
    assert found["sink and loop"].calls is None
    assert sum(stage.ms_per_frame for stage in costs.stages) == pytest.approx(costs.ms_per_frame)


def test_clip_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"nothing\.mp4"):
        stages.measure(tmp_path / "nothing.mp4", Path("models"), repeat=1)
