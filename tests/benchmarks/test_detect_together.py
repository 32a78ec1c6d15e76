"""The measurement of detections that wait together: it runs, and it tells when the boxes are not the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.benchmarks import detect_together as bench


class Detector:
    """A box that depends on the picture; the first of several is off by `wrong`."""

    def __init__(self, wrong: float = 0.0) -> None:
        self.wrong = wrong

    def detect(self, bgr: np.ndarray) -> np.ndarray:
        return np.full((1, 5), bgr.mean(), np.float32)

    def detect_many(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        found = [self.detect(bgr) for bgr in pictures]
        found[0] = found[0] + np.float32(self.wrong)
        return found


@pytest.mark.parametrize(("wrong", "same"), [(0.0, True), (0.5, False)])
def test_boxes_that_differ_are_told(wrong: float, same: bool) -> None:
    shown = [np.full((8, 8, 3), value, np.uint8) for value in range(5)]
    alone_s, together_s, equal = bench.compare(Detector(wrong), shown, 2, 3)  # type: ignore[arg-type]
    assert alone_s > 0
    assert together_s > 0
    assert equal is same


def test_the_demo_clip_is_measured(
    demo_dir: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "COUNTS", (1, 2))
    assert bench.main([str(demo_dir / "astronaut.mp4"), "--sizes", "160x120", "--repeat", "1"]) == 0
    told = capsys.readouterr().out
    assert [line.split(" | ")[:2] for line in told.splitlines()[2:4]] == [["| 160x120", "1"], ["| 160x120", "2"]]
    assert "bit by bit the same: yes" in told
