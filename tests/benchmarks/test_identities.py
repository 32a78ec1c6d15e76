"""The composed clip's truth with drawn faces, the naming of three persons, and the picture of numbers over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auflow.benchmarks import composed
from auflow.benchmarks.identities import three_persons
from auflow.benchmarks.ids_picture import draw_ids
from auflow.benchmarks.mot import Marked, Shown, evaluate

SIDE = round(2.3 * 130)


def cutout(value: int, frames: int = 3) -> composed.Cutout:
    """A face of one colour whose landmarks fill the middle 130 px."""
    at = (SIDE - 130) / 2
    grid = np.linspace(at, at + 130, 68, dtype=np.float32)
    pictures = [np.full((SIDE, SIDE, 3), value + k, np.uint8) for k in range(frames)]
    return composed.Cutout(pictures, [np.concatenate([grid, grid]) for _ in range(frames)])


def still(x: float, *, frames: tuple[int, int] = (0, 9)) -> composed.Actor:
    return composed.Actor("", ((frames[0], x, 270.0), (frames[1], x, 270.0)))


def clip(*actors: composed.Actor, frames: int = 10) -> list[composed.Scene]:
    return list(composed.scenes([cutout(40 * (k + 1)) for k in range(len(actors))], actors, frames))


def test_persons_are_where_the_truth_says() -> None:
    scenes = clip(still(300), still(700))
    for scene in scenes:
        assert [mark.person for mark in scene.truth] == [0, 1]
        for mark, value in zip(scene.truth, (40, 80), strict=True):
            x, y, width, height = mark.box
            assert width == pytest.approx(130, abs=1)
            middle = scene.bgr[int(y + height / 2), int(x + width / 2)]
            assert (np.abs(middle.astype(int) - value) <= 3).all()
            assert mark.counts


def test_who_is_hidden_by_another_does_not_count() -> None:
    far, near = still(400), composed.Actor("", ((0, 100.0, 270.0), (9, 700.0, 270.0)))
    counts = [scene.truth[0].counts for scene in clip(far, near)]
    assert counts[0]
    assert counts[-1]
    assert not all(counts)
    assert all(scene.truth[1].counts for scene in clip(far, near))


def test_who_leaves_the_picture_does_not_count_and_who_is_away_is_not_there() -> None:
    leaving = composed.Actor("", ((0, 480.0, 270.0), (9, 1100.0, 270.0)))
    assert [scene.truth[0].counts for scene in clip(leaving)][::9] == [True, False]
    away = composed.Actor("", ((2, 480.0, 270.0), (8, 480.0, 270.0)), ((4, 6),))
    assert [len(scene.truth) for scene in clip(away)] == [0, 0, 1, 1, 0, 0, 1, 1, 1, 0]


def test_clips_go_forwards_and_backwards() -> None:
    values = [int(cutout(0, 3).at(frame)[0][0, 0, 0]) for frame in range(9)]
    assert values == [0, 1, 2, 1, 0, 1, 2, 1, 0]


def test_it_is_the_same_every_time() -> None:
    first, second = clip(still(300)), clip(still(300))
    assert all((a.bgr == b.bgr).all() for a, b in zip(first, second, strict=True))


class Boxes:
    """A detector that finds what it is told, frame after frame."""

    def __init__(self, *frames: list[tuple[float, float]]) -> None:
        self.frames = iter(frames)

    def detect(self, bgr: np.ndarray) -> np.ndarray:
        return np.array([[x, 50, width, width, 1] for x, width in next(self.frames)], np.float32).reshape(-1, 5)


def test_three_persons_by_size_and_side_and_the_one_behind_by_where_they_were() -> None:
    everyone = [(300.0, 110.0), (500.0, 60.0), (100.0, 50.0)]
    frames = [everyone, [(300.0, 110.0), (480.0, 60.0)], [(110.0, 50.0), (300.0, 110.0)], [(300.0, 110.0)], []]
    truth = three_persons([np.zeros((4, 4, 3), np.uint8)] * 5, Boxes(*frames))  # type: ignore[arg-type]
    assert [[mark.person for mark in marks] for marks in truth] == [[0, 1, 2], [0, 1], [0, 2], [0], []]


def test_the_picture_shows_every_person(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    box = np.array([0.0, 0.0, 10.0, 10.0])
    truth = [[Marked(0, box)] for _ in range(30)]
    figures = evaluate(truth, [[Shown(k // 20, box)] for k in range(30)])
    assert figures.switches == 1
    draw_ids(tmp_path / "ids.png", "two numbers", [figures, figures], ["somebody"])
    assert (tmp_path / "ids.png").read_bytes().startswith(b"\x89PNG")
