"""How faces look: our own descriptor, and a network that the user brings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from auflow.errors import ModelError, ShapeError
from auflow.stages.au.heads import load_describer
from auflow.stages.identity.appearance import APPEARANCE_SIZE, AppearanceDescriber, as_appearance, distances
from auflow.stages.identity.embedding import Embedder


@pytest.fixture(scope="module")
def faces(demo_dir: Path, models_dir: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Aligned face and FHOG of some frames of the demo clip, by OpenFace's landmarks."""
    table = np.loadtxt(demo_dir / "full.csv", delimiter=",", skiprows=1)
    header = [name.strip() for name in (demo_dir / "full.csv").read_text().splitlines()[0].split(",")]
    columns = [header.index(f"{axis}_{k}") for axis in "xy" for k in range(68)]
    capture, describer, found = cv2.VideoCapture(str(demo_dir / "astronaut.mp4")), load_describer(models_dir), []
    for row in table[:60:6]:
        for _ in range(6):
            good, picture = capture.read()
        assert good
        features, face = describer.describe(picture, row[columns].astype(np.float32))
        found.append((face.copy(), features[:4464].copy()))
    capture.release()
    return found


def test_a_person_is_like_themselves_and_unlike_a_face_of_other_colours_and_shape(models_dir: Path, faces) -> None:
    describer = AppearanceDescriber(models_dir)
    looks = np.stack([describer.describe(*face) for face in faces])
    assert looks.shape == (len(faces), APPEARANCE_SIZE)
    assert looks.dtype == np.float32
    # The head turns far, so not all are alike, but each is like another.
    assert all(np.sort(distances(look, looks))[1] < 0.6 for look in looks)
    face, hog = faces[0]
    mirrored = hog.reshape(12, 12, 31)[::-1].reshape(-1)
    other = describer.describe(face[::-1, :, ::-1].copy(), mirrored)
    assert distances(looks[0], other[None])[0] > 0.95


def test_brighter_light_changes_little(models_dir: Path, faces) -> None:
    describer = AppearanceDescriber(models_dir)
    face, hog = faces[0]
    brighter = (face * 0.7).astype(np.uint8)
    assert distances(describer.describe(face, hog), describer.describe(brighter, hog)[None])[0] < 0.3


def test_a_black_face_is_an_appearance_too(models_dir: Path, faces) -> None:
    look = AppearanceDescriber(models_dir).describe(np.zeros((112, 112, 3), np.uint8), faces[0][1])
    assert np.isfinite(look).all()


def test_wrong_shapes_are_told(models_dir: Path) -> None:
    with pytest.raises(ShapeError, match="hog: expected"):
        AppearanceDescriber(models_dir).describe(np.zeros((112, 112, 3), np.uint8), np.zeros(10))


def test_of_an_embedding_only_the_direction_counts() -> None:
    one, other = np.eye(16, dtype=np.float32)[:2]
    looks = np.stack([as_appearance(5 * one), as_appearance(other), as_appearance(-one)])
    assert distances(as_appearance(one), looks) == pytest.approx([0, 1, 2])


def network(path: Path, *, side: int = 112, values: int = 24) -> Path:
    """The means of 7 x 7 blocks of each colour, through a matrix: a small network of the form that is asked for."""
    weights = np.random.default_rng(2).normal(size=(3 * 16 * 16, values)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["face"], ["means"], kernel_shape=[side // 16] * 2, strides=[side // 16] * 2),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", values])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_the_face_is_brought_to_where_the_network_expects_it(tmp_path: Path) -> None:
    embedder = Embedder(network(tmp_path / "faces.onnx"))
    picture = np.random.default_rng(3).integers(0, 256, (300, 300, 3), np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 9)
    landmarks = np.zeros((2, 68), np.float32)
    for points, place in zip(
        [range(36, 42), range(42, 48), (30,), (48,), (54,)],
        [(138, 152), (173, 152), (156, 172), (141, 192), (170, 192)],
        strict=True,
    ):
        landmarks[:, list(points)] = np.array(place)[:, None]
    first = embedder.describe(picture, landmarks.reshape(-1))
    matrix = cv2.getRotationMatrix2D((150, 160), 20, 1.3)
    turned = cv2.warpAffine(picture, matrix, (300, 300), borderMode=cv2.BORDER_REFLECT)
    moved = (matrix[:, :2] @ landmarks + matrix[:, 2:]).astype(np.float32)
    second = embedder.describe(turned, moved.reshape(-1))
    elsewhere = embedder.describe(picture, landmarks.reshape(-1) + 40)
    near, far = distances(first, np.stack([second, elsewhere]))
    assert near < 0.01
    assert far > 10 * near


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path, "cannot be read as an ONNX model"),
        (lambda path: path.write_bytes(b"no model") and path, "cannot be read as an ONNX model"),
        (lambda path: network(path, side=96), "expected one input"),
        (lambda path: network(path, values=3), "16 numbers or more, got 3"),
    ],
    ids=["missing", "no model", "another size", "too few numbers"],
)
def test_networks_that_will_not_do(tmp_path: Path, make, said: str) -> None:
    path = make(tmp_path / "faces.onnx")
    with pytest.raises(ModelError, match=said):
        Embedder(path)
