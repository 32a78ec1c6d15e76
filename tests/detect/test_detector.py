"""The whole detector: the C++ program's traces, the demo clip, and inputs at the edge."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from auflow.backends.ort import OrtBackend
from auflow.errors import ModelError, ShapeError
from auflow.stages.detect import MtcnnDetector, boxes, widest
from auflow.stages.detect import mtcnn as module

CLIPS = {
    "default": "default.wmv",
    "2015-10-15-15-14": "2015-10-15-15-14.avi",
    "changeLighting": "changeLighting.wmv",
    "image_sequence": "image_sequence/001.jpg",
    "multi_face_single": "multi_face.avi",
}


@pytest.fixture(scope="module")
def detector(models_dir: Path) -> MtcnnDetector:
    return MtcnnDetector(models_dir)


@pytest.fixture(scope="module")
def demo_frame(demo_dir: Path) -> np.ndarray:
    return frames(demo_dir / "astronaut.mp4", {1})[1]


def frames(path: Path, wanted: set[int]) -> dict[int, np.ndarray]:
    """Decoded frames by their number, counted from 1; a single picture is number 1."""
    if path.suffix == ".jpg":
        return {1: cv2.imread(str(path))}
    capture = cv2.VideoCapture(str(path))
    found = {}
    for number in range(1, max(wanted) + 1):
        assert capture.grab(), f"{path} ends before frame {number}"
        if number in wanted:
            found[number] = capture.retrieve()[1]
    capture.release()
    return found


def detections(trace: Path) -> dict[int, dict[str, Any]]:
    """The events pnet, rnet, onet and det of a trace, by frame."""
    found: dict[int, dict[str, Any]] = {}
    with gzip.open(trace, "rt") as lines:
        for line in lines:
            if line.startswith(('{"ev":"pnet"', '{"ev":"rnet"', '{"ev":"onet"', '{"ev":"det"')):
                event = json.loads(line)
                found.setdefault(event["frame"], {})[event["ev"]] = event
    return found


@pytest.mark.golden
@pytest.mark.parametrize("clip", CLIPS)
def test_every_network_finds_the_boxes_of_the_cpp_program(
    clip: str, detector: MtcnnDetector, golden: Path, media: Path
) -> None:
    events = detections(golden / clip / "trace" / "dump.jsonl.gz")
    assert events
    for number, bgr in frames(media / CLIPS[clip], set(events)).items():
        pnet, rnet, onet = (np.array(events[number][ev]["boxes"]) for ev in ("pnet", "rnet", "onet"))
        image = bgr.astype(np.float32)
        proposals, corrections = detector.propose(image)
        np.testing.assert_array_equal(proposals[:, :4], pnet[:, :4])
        np.testing.assert_allclose(proposals[:, 4], pnet[:, 4], atol=5e-5)
        squares = module.choose(proposals, corrections)
        (outputs,) = detector.rnet([boxes.normalised_patches(image, squares, 24)])
        candidates = module.refine(squares, outputs)
        np.testing.assert_array_equal(candidates[:, :4], rnet[:, :4])
        np.testing.assert_allclose(candidates[:, 4], rnet[:, 4], atol=5e-5)
        faces = detector.detect(bgr)
        np.testing.assert_allclose(faces, onet, atol=1e-3)
        last = [events[number]["det"][key] for key in ("x", "y", "width", "height")]
        np.testing.assert_allclose(widest(faces), last, atol=1e-3)


def test_the_demo_clip_has_a_face_where_its_landmarks_are(
    detector: MtcnnDetector, demo_frame: np.ndarray, demo_dir: Path
) -> None:
    with (demo_dir / "full.csv").open() as lines:
        row = next(csv.DictReader(lines, skipinitialspace=True))
    points = np.array([[float(row[f"{axis}_{i}"]) for axis in "xy"] for i in range(68)])
    faces = detector.detect(demo_frame)
    assert faces.dtype == np.float32
    assert len(faces) == 1
    x, y, width, height = widest(faces)
    low, high = points.min(0), points.max(0)
    common = (min(high[0], x + width) - max(low[0], x)) * (min(high[1], y + height) - max(low[1], y))
    assert common / (width * height + np.prod(high - low) - common) > 0.75
    assert faces[0, 4] > 0.99


def test_a_read_only_frame_and_small_batches_give_the_same(
    detector: MtcnnDetector, demo_frame: np.ndarray, models_dir: Path
) -> None:
    expected = detector.detect(demo_frame)
    frozen = demo_frame.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(detector.detect(frozen), expected)
    np.testing.assert_array_equal(MtcnnDetector(models_dir, batch=3).detect(demo_frame), expected)


@pytest.fixture(scope="module")
def assorted(demo_frame: np.ndarray) -> list[np.ndarray]:
    """Pictures of several sizes, with a face, with two, turned, without any, too small, and noise."""
    noise = np.random.default_rng(4)
    return [
        demo_frame,
        cv2.resize(demo_frame, None, fx=0.7, fy=0.7),
        np.zeros((240, 320, 3), np.uint8),
        np.hstack([demo_frame, demo_frame[:, ::-1]]),
        noise.integers(0, 256, (150, 200, 3), np.uint8),
        demo_frame[:11, :1],
        np.clip(demo_frame + noise.normal(0, 25, demo_frame.shape), 0, 255).astype(np.uint8),
        np.rot90(demo_frame).copy(),
        cv2.resize(demo_frame, (640, 480)),
    ]


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_what_waits_together_finds_what_it_finds_alone(
    count: int, detector: MtcnnDetector, assorted: list[np.ndarray]
) -> None:
    alone = [detector.detect(bgr) for bgr in assorted]
    assert [len(found) for found in alone[:5]] == [1, 1, 0, 2, 0]
    for first in range(len(assorted)):
        turned = [(first + step) % len(assorted) for step in range(count)]
        together = detector.detect_many([assorted[number] for number in turned])
        assert [found.tobytes() for found in together] == [alone[number].tobytes() for number in turned]


@pytest.mark.golden
def test_frames_of_clips_find_together_what_they_find_alone(detector: MtcnnDetector, media: Path) -> None:
    pictures = [bgr for name in CLIPS.values() for bgr in frames(media / name, {1, 4, 9}).values()]
    alone = [detector.detect(bgr) for bgr in pictures]
    assert sum(map(len, alone)) >= len(CLIPS)
    for size in (2, 4, 8):
        for start in range(0, len(pictures), size):
            together = detector.detect_many(pictures[start : start + size])
            assert [f.tobytes() for f in together] == [f.tobytes() for f in alone[start : start + size]]


@pytest.mark.parametrize(("network", "side_px"), [("rnet", 24), ("onet", 48)])
def test_a_patch_gives_the_same_in_calls_of_any_size(
    network: str, side_px: int, detector: MtcnnDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = np.random.default_rng(5).normal(0, 0.5, (33, 3, side_px, side_px)).astype(np.float32)
    run = getattr(detector, network)
    monkeypatch.setitem(detector.batches, network, 1)
    (alone,) = run([patches])
    assert len(np.unique(alone, axis=0)) == 33
    for size in range(2, 34):
        monkeypatch.setitem(detector.batches, network, size)
        (together,) = run([patches])
        assert together.tobytes() == alone.tobytes(), size


def test_where_calls_cost_pictures_of_one_size_share_those_of_pnet(
    models_dir: Path, detector: MtcnnDetector, assorted: list[np.ndarray]
) -> None:
    backend = OrtBackend("ort-cpu")
    backend.shares_maps = True
    sharing = MtcnnDetector(models_dir, backend)
    pictures = [*assorted, *(picture[:, ::-1].copy() for picture in assorted), *assorted[:2]]
    calls: list[int] = []
    run = sharing._pnet.run
    sharing._pnet.run = lambda level: calls.append(len(level)) or run(level)
    together = sharing.detect_many(pictures)
    assert max(calls) >= 3
    assert [found.tobytes() for found in together] == [detector.detect(picture).tobytes() for picture in pictures]


def test_nothing_waits(detector: MtcnnDetector) -> None:
    assert detector.detect_many([]) == []


def test_one_that_is_no_picture_is_refused_before_any_work(
    detector: MtcnnDetector, demo_frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "propose", lambda _: pytest.fail("worked on"))
    with pytest.raises(ShapeError, match=r"got \(4, 4\) uint8"):
        detector.detect_many([demo_frame, np.zeros((4, 4), np.uint8)])


def test_a_gray_frame_keeps_its_face(detector: MtcnnDetector, demo_frame: np.ndarray) -> None:
    gray = cv2.cvtColor(cv2.cvtColor(demo_frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    np.testing.assert_allclose(widest(detector.detect(gray)), widest(detector.detect(demo_frame)), atol=15)


def test_a_face_cut_by_the_edge_is_found(detector: MtcnnDetector, demo_frame: np.ndarray) -> None:
    x, y, width, height = (int(v) for v in widest(detector.detect(demo_frame)))
    cut = np.ascontiguousarray(demo_frame[y - height // 3 : y + height + 10, x + width // 8 :])
    faces = detector.detect(cut)
    assert len(faces) >= 1
    assert faces[0, 0] < 8


@pytest.mark.parametrize(
    "shape", [(0, 0, 3), (1, 1, 3), (11, 11, 3), (59, 640, 3), (640, 59, 3), (60, 60, 3), (70, 300, 3)]
)
def test_small_and_black_images_hold_no_face(shape: tuple[int, ...], detector: MtcnnDetector) -> None:
    faces = detector.detect(np.zeros(shape, np.uint8))
    assert faces.shape == (0, 5)
    assert faces.dtype == np.float32


def test_noise_is_survived(detector: MtcnnDetector) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (150, 200, 3), np.uint8)
    assert detector.detect(noise).shape[1] == 5


@pytest.mark.parametrize(
    "bgr",
    [np.zeros((100, 100), np.uint8), np.zeros((100, 100, 4), np.uint8), np.zeros((100, 100, 3), np.float32)],
    ids=["gray", "four channels", "float"],
)
def test_other_arrays_are_refused(bgr: np.ndarray, detector: MtcnnDetector) -> None:
    with pytest.raises(ShapeError, match=r"bgr: expected \(h, w, 3\) uint8, got"):
        detector.detect(bgr)


def test_a_store_without_networks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"PNet\.dat"):
        MtcnnDetector(tmp_path)
