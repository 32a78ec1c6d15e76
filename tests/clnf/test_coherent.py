"""Coherent tracking: the same faces as OpenFace's logic finds, with fewer looks; then what only it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.stages.clnf import ClnfStage
from auflow.stages.clnf.coherent import CoherentTracker
from auflow.stages.clnf.coherent_multi import CoherentMultiTracker
from auflow.stages.clnf.face_model import FaceState, likeliest
from auflow.stages.clnf.tracker import FaceTracker
from auflow.stages.decode import open_source
from auflow.stages.detect import MtcnnDetector
from auflow.stages.records import FaceFit, Frame
from auflow.stages.settings import StageSettings

FACE_PX = 100
Found = list[tuple[FaceFit, ...]]


def wall(value: float = 90.0) -> np.ndarray:
    return np.full((240, 320), value, np.float32)


def texture() -> np.ndarray:
    noise = np.random.default_rng(3).uniform(0, 255, (20, 20)).astype(np.float32)
    return cv2.resize(noise, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC).clip(0, 255)


def scene(*corners: tuple[int, int], value: float = 90.0) -> np.ndarray:
    """Textured faces of 100 px at these places on a plain wall."""
    picture = wall(value)
    for x, y in corners:
        picture[y : y + FACE_PX, x : x + FACE_PX] = texture()
    return picture


class BoxPdm:
    mode_count = 34

    def params_from_box(self, box: np.ndarray, rotation_rad: np.ndarray) -> np.ndarray:
        return np.array([1, *rotation_rad, box[0], box[1]], np.float32)


class DrawnModel:
    """A fit stays where it starts, and is accepted where a face is drawn within 3 px of it; `refuse` refuses all."""

    def __init__(self) -> None:
        self.pdm = BoxPdm()
        self.refuse = False
        self.starts: list[tuple[float, float]] = []

    def best_of(self, gray, starts):
        return likeliest(self.fit(gray, start, np.zeros(34, np.float32), tracking=False) for start in starts)

    def fit_ahead(self, starts) -> None:
        """Nothing is."""

    def fit(self, gray: np.ndarray, g: np.ndarray, p: np.ndarray, *, tracking: bool) -> FaceState:
        x, y = round(float(g[4])), round(float(g[5]))
        self.starts.append((x, y))
        near = [(u, v) for u in range(x - 3, x + 4) for v in range(y - 3, y + 4) if 0 <= u <= 220 and 0 <= v <= 140]
        away = [np.abs(gray[v : v + FACE_PX, u : u + FACE_PX] - texture()).mean() for u, v in near]
        grid = np.linspace(0, FACE_PX, 68, dtype=np.float32)
        landmarks = np.concatenate([grid + x, grid + y]).astype(np.float32)
        good = not self.refuse and bool(min(away, default=255) < 20)
        return FaceState(g.copy(), p.copy(), landmarks, confidence=float(good), success=good)


class Run:
    """A tracker on drawn pictures, with a record of its looks."""

    def __init__(self, make: Callable[[DrawnModel], CoherentTracker | CoherentMultiTracker | FaceTracker]) -> None:
        self.model = DrawnModel()
        self.tracker = make(self.model)
        self.looks: list[int] = []
        self.frame = 0

    def next(self, picture: np.ndarray, *boxes: tuple[int, int]):
        self.frame += 1

        def detect() -> np.ndarray:
            self.looks.append(self.frame)
            return np.array([[x, y, FACE_PX, FACE_PX, 1] for x, y in boxes], np.float32).reshape(-1, 5)

        return self.tracker.process(picture, detect)


def one(every: int = 5) -> Run:
    return Run(lambda model: CoherentTracker(model, every))


def several(every: int = 5) -> Run:
    return Run(lambda model: CoherentMultiTracker(model, every))


class TestOneFace:
    """CoherentTracker."""

    def test_a_still_room_is_hardly_ever_looked_at(self) -> None:
        run = one()
        for _ in range(200):
            run.next(wall())
        assert run.looks == [1, 13, 25, 37, 49, 109, 169]  # OpenFace: every twelfth

    def test_somebody_who_comes_is_found_when_openface_finds_them(self) -> None:
        run, exact = one(), Run(FaceTracker)
        for frame in range(1, 120):
            shown = ((60, 40),) if frame > 90 else ()
            ours, theirs = (r.next(scene(*shown), *shown) for r in (run, exact))
            assert ours.success == theirs.success
        assert run.looks == [1, 13, 25, 37, 49, 97]
        assert exact.looks == [1, 13, 25, 37, 49, 61, 73, 85, 97]

    def test_a_room_that_moves_is_looked_at_as_often_as_openface_does(self) -> None:
        run, exact = one(), Run(FaceTracker)
        for frame in range(60):
            for tracker in (run, exact):
                tracker.next(wall(20.0 + 3 * frame))
        assert run.looks == exact.looks

    def test_a_face_that_left_is_not_sought_in_a_still_room(self) -> None:
        run = one()
        for _ in range(3):
            run.next(scene((60, 40)), (60, 40))
        for _ in range(40):
            run.next(wall())
        assert run.looks == [1, 4, 6, 8, 10, 12]  # OpenFace goes on: 14, 16 ...

    def test_and_is_found_in_the_frame_in_which_openface_finds_it(self) -> None:
        run, exact = one(), Run(FaceTracker)
        for frame in range(1, 40):
            shown = ((60, 40),) if frame < 4 or frame > 20 else ()
            ours, theirs = (r.next(scene(*shown), *shown) for r in (run, exact))
            assert ours.success == theirs.success
        assert run.looks == [1, 4, 6, 8, 10, 12]  # it came back where it was: the fit itself has found it
        assert len(exact.looks) > 9

    def test_a_box_whose_starts_are_refused_again_and_again_is_left_alone(self) -> None:
        run, exact = one(), Run(FaceTracker)
        run.model.refuse = exact.model.refuse = True
        for _ in range(30):
            for tracker in (run, exact):
                tracker.next(scene((60, 40)), (60, 40))
        assert len(exact.looks) > 12
        assert len(run.looks) == 3

    def test_the_flow_finds_a_face_that_detection_misses(self) -> None:
        run, exact = one(), Run(FaceTracker)
        results = []
        for frame in range(12):
            picture = scene((60 + 7 * frame, 40))
            boxes = ((60, 40),) if frame == 0 else ()
            results.append([r.next(picture, *boxes).state.success for r in (run, exact)])
        assert all(ours for ours, _ in results)
        assert sum(theirs for _, theirs in results) == 1

    def test_a_face_that_the_flow_brings_back_after_it_was_given_up_is_followed(self) -> None:
        run = one()
        run.next(scene((60, 40)), (60, 40))
        run.model.refuse = True
        for _ in range(110):
            run.next(scene((60, 40)))
        assert not run.tracker._initialised
        run.model.refuse = False
        results = [run.next(scene((60 + 2 * k, 40))) for k in range(30)]
        good = [k for k, result in enumerate(results) if result.state.success]
        assert good
        for k in good:
            assert float(results[k].state.params_global[4]) == pytest.approx(60 + 2 * k, abs=7)

    def test_reset(self) -> None:
        run = one()
        run.next(scene((60, 40)), (60, 40))
        run.tracker.reset()
        run.next(wall())
        assert run.looks == [1, 2]


class TestSeveralFaces:
    """CoherentMultiTracker."""

    def test_numbers_are_never_given_again(self) -> None:
        run = several()
        assert [n for n, _ in run.next(scene((10, 10), (200, 10)), (10, 10), (200, 10))] == [0, 1]
        for _ in range(20):
            found = run.next(scene((10, 10)), (10, 10))
        assert [n for n, _ in found] == [0]
        for _ in range(12):
            found = run.next(scene((10, 10), (200, 130)), (10, 10), (200, 130))
        assert [n for n, _ in found] == [0, 2]

    def test_looks_become_rare_while_all_are_there(self) -> None:
        run = several()
        for frame in range(80):
            run.next(scene((10, 10), value=20.0 + 2 * frame), (10, 10))  # the light changes all the time
        assert run.looks == [1, 6, 16, 36, 56, 76]  # OpenFace: 1, 9, 17 ...

    def test_a_still_room_is_looked_at_once_in_fifty_frames(self) -> None:
        run = several()
        for _ in range(120):
            run.next(scene((10, 10)), (10, 10))
        assert run.looks == [1, 51, 101]

    def test_the_flow_keeps_a_face_that_jumps(self) -> None:
        run = several()
        run.next(scene((60, 40)), (60, 40))
        found = run.next(scene((68, 44)), (68, 44))
        assert [(n, r.success) for n, r in found] == [(0, True)]
        assert run.looks == [1]

    def test_a_face_that_was_lost_near_by_keeps_its_number(self) -> None:
        run = several(every=2)
        run.next(scene((60, 40)), (60, 40))
        run.next(wall())
        run.next(wall())
        run.next(scene((100, 60)), (100, 60))
        found = run.next(scene((100, 60)), (100, 60))
        assert [(n, r.success) for n, r in found] == [(0, True)]

    def test_a_face_that_was_covered_for_a_moment_is_found_as_soon_as_it_is_there(self) -> None:
        run = several()
        for _ in range(70):
            run.next(scene((60, 40)), (60, 40))  # looked at while it was followed
        for _ in range(10):
            run.next(wall())
        results = [run.next(scene((90, 40)), (90, 40)) for _ in range(6)]
        assert any(result.success for _, result in results[-1])

    def test_one_that_comes_elsewhere_gets_a_new_one_and_the_lost_is_given_up(self) -> None:
        run = several(every=2)
        run.next(scene((10, 10)), (10, 10))
        numbers = [[n for n, _ in run.next(scene((210, 130)), (210, 130))] for _ in range(10)]
        assert numbers[0] == [0]
        assert numbers[1:] == 9 * [[1]]

    def test_starts_that_are_refused_do_not_keep_a_lost_face(self) -> None:
        run = several(every=1)
        run.next(scene((60, 40)), (60, 40))
        run.model.refuse = True
        there = [[n for n, _ in run.next(scene((60, 40), value=20.0 + 5 * k), (60, 40))] for k in range(8)]
        assert there[0] == [0]
        assert 0 not in there[-1]

    def test_of_two_on_one_face_the_one_that_was_there_stays(self) -> None:
        run = several()
        run.next(scene((10, 40), (180, 40)), (10, 40), (180, 40))
        first, second = run.tracker._places[0], run.tracker._places[1]
        second.tracker.state.params_global[4:] = first.tracker.state.params_global[4:]  # it has slid over
        found = run.next(scene((10, 40), (180, 40)))
        assert [n for n, _ in found] == [0]

    def test_after_a_reset_nothing_is_left_of_the_stream_before(self) -> None:
        used, fresh = several(), several()
        used.next(scene((10, 10), (200, 130)), (10, 10), (200, 130))
        used.tracker.reset()
        old, new = used.tracker.snapshot(), fresh.tracker.snapshot()
        assert old.keys() == new.keys()
        assert all(np.array_equal(old[name], new[name], equal_nan=True) for name in old)

    def test_no_more_than_four(self) -> None:
        run = several()
        places = [(0, 0), (110, 0), (220, 0), (0, 120), (110, 120)]
        assert len(run.next(scene(*places), *places)) == 4
        for _ in range(60):
            run.next(scene(*places), *places)
        assert run.looks == [1]

    def test_another_size_forgets_all_but_the_numbers(self) -> None:
        run = several()
        run.next(scene((10, 10)), (10, 10))
        run.tracker.forget_faces()
        assert [n for n, _ in run.next(scene((10, 10)), (10, 10))] == [1]


def followed(models_dir: Path, clip: Path, settings: StageSettings, last: int | None = None) -> tuple[Found, list[int]]:
    """The fits of every frame of a clip, and in which frames faces were looked for."""
    stage, detector = ClnfStage(models_dir, settings), MtcnnDetector(models_dir)
    fits: Found = []
    looks: list[int] = []
    with open_source(clip) as source:
        stage.reset(source.info)
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while (read := source.read_into(bgr)) is not None and read[0] != last:

            def detect(index: int = read[0]) -> np.ndarray:
                looks.append(index)
                return detector.detect(bgr)

            fits.append(stage.process(Frame(*read, bgr), detect))
    return fits, looks


def same_landmarks(ours: Found, theirs: Found) -> list[bool]:
    return [
        len(a) == len(b)
        and all(x.landmarks_px.tobytes() == y.landmarks_px.tobytes() for x, y in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    ]


COHERENT = StageSettings(tracking="coherent")


def test_the_demo_clip_is_followed_bit_by_bit(models_dir: Path, demo_dir: Path) -> None:
    clip = demo_dir / "astronaut.mp4"
    exact, _ = followed(models_dir, clip, StageSettings(), 60)
    ours, looks = followed(models_dir, clip, COHERENT, 60)
    assert all(same_landmarks(ours, exact))
    assert looks == [1]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("clip", "at_most"),
    [("liveportrait/d12.mp4", 1.0), ("pyfeat/face_noface.mov", 0.65), ("pyfeat/noface_face.mov", 1.0)],
)
def test_a_face_that_comes_goes_and_is_lost_is_followed_bit_by_bit(
    models_dir: Path, media: Path, clip: str, at_most: float
) -> None:
    exact, exact_looks = followed(models_dir, media / clip, StageSettings())
    ours, looks = followed(models_dir, media / clip, COHERENT)
    counted = [a[0].success for a in exact]
    assert all(same for same, counts in zip(same_landmarks(ours, exact), counted, strict=True) if counts)
    assert len(looks) <= at_most * len(exact_looks)
