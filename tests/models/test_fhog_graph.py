"""FHOG as a graph: the kernel's numbers, whatever the picture and however many faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from auflow.backends.base import Network
from auflow.backends.ort import OrtBackend
from auflow.models.fhog import FHOG_CELL_PX, FHOG_FACE_PX, KEYS, handicap, orientation_table
from auflow.models.onnx.fhog import build_fhog_graph
from auflow.stages.au.fhog import CELL_PX, DESCRIPTOR_SIZE, FACE_PX, fhog

CLOSE = 1e-6  # seen: 1.5e-7, from the order in which votes are added
# What ONNX Runtime, TensorRT's parser and Core ML all have.
KNOWN = {"Add", "Cast", "Concat", "Equal", "Flatten", "Gather", "Greater", "MatMul", "Max", "Min", "Mul", "Reciprocal"}
KNOWN |= {"ReduceSum", "Slice", "Sqrt", "Sub", "Transpose", "Where"}


@pytest.fixture(scope="module")
def graph() -> Network:
    return OrtBackend("ort-cpu").load(build_fhog_graph())


def kernel(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([fhog(face).reshape(-1) for face in faces])


def test_it_is_valid_and_of_operators_that_all_know() -> None:
    model = onnx.load_from_string(build_fhog_graph().data)
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= KNOWN


def test_sizes_are_those_of_the_kernel() -> None:
    assert (FHOG_FACE_PX, FHOG_CELL_PX) == (FACE_PX, CELL_PX)


@pytest.mark.parametrize("count", [1, 3])
def test_noise(graph: Network, count: int) -> None:
    faces = np.random.default_rng(count).integers(0, 256, (count, 112, 112, 3), np.uint8)
    (found,) = graph.run(faces)
    assert found.shape == (count, DESCRIPTOR_SIZE)
    assert found.dtype == np.float32
    assert np.abs(found - kernel(faces)).max() < CLOSE


def test_channels_of_equal_strength(graph: Network) -> None:
    """Three levels only: at most pixels two channels tie, and another choice is another direction."""
    faces = np.random.default_rng(5).integers(0, 3, (4, 112, 112, 3), np.uint8) * np.uint8(80)
    assert np.abs(graph.run(faces)[0] - kernel(faces)).max() < CLOSE
    turned = np.ascontiguousarray(faces[..., ::-1])  # red first: so the rule does matter here
    assert np.abs(graph.run(turned)[0] - kernel(faces)).max() > 1e-3


def test_strongest_gradients_and_none(graph: Network) -> None:
    faces = np.zeros((3, 112, 112, 3), np.uint8)
    faces[1] = 255
    faces[2, ::3], faces[2, :, ::2] = 255, 255
    found = graph.run(faces)[0]
    assert not found[:2].any()
    assert np.abs(found - kernel(faces)).max() < CLOSE


def test_the_table_needs_no_rounding() -> None:
    """Four decimals as whole numbers: the table in single precision has each direction where exact arithmetic has it,
    the first of equal ones.
    """
    turns = np.arange(9) * np.pi / 9
    cos, sin = (np.round(10_000 * function(turns)).astype(np.int64) for function in (np.cos, np.sin))
    dy, dx = np.mgrid[-255:256, -255:256]
    dots = dx[..., None] * cos + dy[..., None] * sin
    first = np.argmax(np.abs(dots), axis=2)
    expected = np.where(np.take_along_axis(dots, first[..., None], 2)[..., 0] > 0, first, first + 9)
    expected[255, 255] = 0  # no gradient, no direction
    assert orientation_table().shape == (KEYS, KEYS)
    assert np.array_equal(orientation_table(), expected)
    assert handicap().tolist() == [0] * 105 + [1] * 7


@pytest.mark.golden
def test_the_c_programs_descriptors(graph: Network, golden: Path) -> None:
    paths = sorted(golden.glob("*/trace/*_aligned.npy"))
    assert len(paths) > 30
    expected = np.stack([np.load(path.with_name(path.name.replace("aligned", "hog"))).reshape(-1) for path in paths])
    assert np.abs(graph.run(np.stack([np.load(path) for path in paths]))[0] - expected).max() < CLOSE
