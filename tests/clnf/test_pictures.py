"""Pictures by themselves: every box is fitted, from an upright head or from eleven, and nothing is remembered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.errors import InputError
from auflow.stages.clnf import ClnfStage
from auflow.stages.clnf.face_model import FaceState, likeliest
from auflow.stages.clnf.pictures import PictureFitter
from auflow.stages.clnf.tracker import HYPOTHESES_RAD
from auflow.stages.records import Frame, SourceInfo
from auflow.stages.settings import StageSettings

GRAY = np.zeros((48, 64), np.float32)
BOXES = np.array([[1, 2, 30, 40, 0.9], [50, 6, 70, 80, 0.8]], np.float32)


class ScriptedPdm:
    mode_count = 34

    def params_from_box(self, box, rotation):
        return np.array([1, *rotation, box[0], box[1]], np.float32)


class ScriptedModel:
    """A fit stays where it starts; the turn of `likeliest` has the highest likelihood."""

    def best_of(self, gray, starts):
        return likeliest(self.fit(gray, start, np.zeros(34, np.float32), tracking=False) for start in starts)

    def __init__(self, likeliest: int = 4) -> None:
        self.pdm = ScriptedPdm()
        self.likeliest = likeliest
        self.starts: list[tuple[np.ndarray, bool]] = []

    def fit_ahead(self, starts) -> None:
        """Nothing is."""

    def fit(self, gray, params_global, params_local, *, tracking):
        assert not params_local.any()
        self.starts.append((params_global, tracking))
        best = np.allclose(params_global[1:4], HYPOTHESES_RAD[self.likeliest])
        landmarks = np.full(136, params_global[4], np.float32)
        return FaceState(params_global, params_local, landmarks, likelihood=float(best), success=params_global[4] < 10)


def test_every_box_is_fitted_once_upright_and_in_order() -> None:
    model = ScriptedModel()
    found = PictureFitter(model, turned=False).process(GRAY, lambda: BOXES)
    assert [number for number, _ in found] == [0, 1]
    assert [start.tolist() for start, _ in model.starts] == [[1, 0, 0, 0, 1, 2], [1, 0, 0, 0, 50, 6]]
    assert not any(tracking for _, tracking in model.starts)
    # A fit that the validator refuses is a row too.
    assert [result.success for _, result in found] == [True, False]


@pytest.mark.parametrize("likeliest", [0, 7])
def test_turned_heads_are_tried_and_the_likeliest_wins(likeliest: int) -> None:
    model = ScriptedModel(likeliest)
    found = PictureFitter(model, turned=True).process(GRAY, lambda: BOXES)
    assert len(model.starts) == 2 * len(HYPOTHESES_RAD)
    for _, result in found:
        assert np.allclose(result.state.params_global[1:4], HYPOTHESES_RAD[likeliest])


def test_no_box_is_no_face() -> None:
    model = ScriptedModel()
    assert PictureFitter(model, turned=True).process(GRAY, lambda: np.zeros((0, 5), np.float32)) == []
    assert model.starts == []


def test_given_boxes_stand_for_detection_until_the_next_picture() -> None:
    def detect() -> np.ndarray:
        raise AssertionError("asked although boxes are given")

    fitter = PictureFitter(ScriptedModel(), turned=False)
    fitter.boxes = BOXES[1:]
    ((number, result),) = fitter.process(GRAY, detect)
    assert (number, result.state.params_global[4]) == (0, 50)
    fitter.reset()
    assert len(fitter.process(GRAY, lambda: BOXES)) == 2


def info(path: str) -> SourceInfo:
    return SourceInfo(path, "images", 64, 48, 0.0, 1)


def test_the_stage_reads_the_boxes_of_each_picture(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("10 10 50 50\n")
    (tmp_path / "b.txt").write_text("")
    stage = ClnfStage(models_dir, StageSettings(faces="pictures", boxes_dir=str(tmp_path)))
    frame = Frame(1, 0.0, np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    for name, count in (("a", 1), ("b", 0), ("a", 1)):
        stage.reset(info(f"anywhere/{name}.jpg"))
        assert len(stage.process(frame, lambda: BOXES)) == count
    with pytest.raises(InputError, match=r"c\.txt: the boxes of c\.jpg cannot be read"):
        stage.reset(info("c.jpg"))


def test_a_picture_is_fitted_as_if_it_were_the_only_one(models_dir: Path, demo_dir: Path) -> None:
    import cv2

    capture = cv2.VideoCapture(str(demo_dir / "astronaut.mp4"))
    pictures = [capture.read()[1] for _ in range(40)][::39]
    capture.release()
    box = np.array([[70, 60, 150, 160, 0.9]], np.float32)

    def fits(order: list[int]) -> dict[int, np.ndarray]:
        stage = ClnfStage(models_dir, StageSettings(faces="pictures"))
        found = {}
        for place in order:
            stage.reset(info(f"{place}.jpg"))
            ((fit),) = stage.process(Frame(1, 0.0, pictures[place]), lambda: box)
            found[place] = fit.landmarks_px
        return found

    one, other = fits([0, 1]), fits([1, 0])
    assert all(np.array_equal(one[place], other[place]) for place in (0, 1))
    assert not np.array_equal(one[0], one[1])
