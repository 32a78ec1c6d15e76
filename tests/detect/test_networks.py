"""The weight files' reader and the ONNX graphs, on random weights: no model files needed."""

from __future__ import annotations

import runpy
import struct
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from auflow.errors import ModelError
from auflow.models.mtcnn import LAYOUTS, Convolution, Dense, Layer, MaxPool, PRelu, read_network
from auflow.models.onnx.graph import IR_VERSION, OPSET, OnnxModel
from auflow.models.onnx.mtcnn import build_batch_graph, build_map_graph

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
SIDES = {"RNet": 24, "ONet": 48}


def random_layers(name: str) -> tuple[Layer, ...]:
    """A network of the right layout, scaled so that values neither die nor explode."""
    rng = np.random.default_rng(11)
    layers: list[Layer] = []
    channels = 3
    for kind, count, extent in LAYOUTS[name]:
        if kind == "conv":
            weights = rng.normal(0, (channels * extent**2) ** -0.5, (count, channels, extent, extent))
            layers.append(Convolution(weights.astype(np.float32), rng.normal(0, 0.2, count).astype(np.float32)))
            channels = count
        elif kind == "pool":
            layers.append(MaxPool(count, extent))
        elif kind == "dense":
            weights = rng.normal(0, extent**-0.5, (count, extent))
            layers.append(Dense(weights.astype(np.float32), rng.normal(0, 0.2, count).astype(np.float32)))
        else:
            layers.append(PRelu(rng.uniform(-0.3, 1.2, count).astype(np.float32)))
    return tuple(layers)


def mat(array: np.ndarray) -> bytes:
    rows, columns = array.shape
    return struct.pack("<3i", rows, columns, 5) + array.astype("<f4").tobytes()


def encode(layers: tuple[Layer, ...]) -> bytes:
    """A network in the format of OpenFace's .dat files."""
    out = struct.pack("<i", len(layers))
    for layer in layers:
        match layer:
            case Convolution(weights, bias):
                kernels, inputs = weights.shape[:2]
                out += struct.pack("<3i", 0, inputs, kernels) + bias.tobytes()
                out += b"".join(mat(weights[k, i]) for i in range(inputs) for k in range(kernels))
            case MaxPool(size, stride):
                out += struct.pack("<5i", 1, size, size, stride, stride)
            case Dense(weights, bias):
                out += struct.pack("<i", 2) + mat(bias[:, None]) + mat(weights.T)
            case PRelu(slopes):
                out += struct.pack("<i", 3) + mat(slopes[:, None])
    return out


def run(model: OnnxModel, images: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(model.data, providers=["CPUExecutionProvider"]).run(None, {"images": images})[0]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_written_network_is_read_back(name: str, tmp_path: Path) -> None:
    layers = random_layers(name)
    path = tmp_path / f"{name}.dat"
    path.write_bytes(encode(layers))
    back = read_network(path, LAYOUTS[name])
    assert [type(layer) for layer in back] == [type(layer) for layer in layers]
    for ours, theirs in zip(back, layers, strict=True):
        for field in ours.__slots__:
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda data: data[:-1], "end of the file"),
        (lambda data: data + b"\0", "1 more bytes"),
        (lambda data: data[:4] + struct.pack("<i", 1) + data[8:], r"type of layer 0 \(conv\): expected 0, got 1"),
        (lambda data: data[:8] + struct.pack("<i", 4) + data[12:], "inputs of layer 0"),
        (lambda data: data[:16] + struct.pack("<f", np.nan) + data[20:], "biases of layer 0"),
        (lambda data: data[:56] + struct.pack("<i", 5) + data[60:], "expected 3 rows, got 5"),
        (lambda data: struct.pack("<i", 11) + data[4:], "number of layers: expected 8, got 11"),
        (lambda data: b"", "end of the file"),
    ],
)
def test_a_damaged_network_is_named(damage, text: str, tmp_path: Path) -> None:
    path = tmp_path / "PNet.dat"
    path.write_bytes(damage(encode(random_layers("PNet"))))
    with pytest.raises(ModelError, match=rf"PNet\.dat.*{text}"):
        read_network(path, LAYOUTS["PNet"])


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"PNet\.dat: cannot be read"):
        read_network(tmp_path / "PNet.dat", LAYOUTS["PNet"])


@pytest.mark.parametrize(("height", "width"), [(12, 12), (21, 34), (24, 17)])
def test_pnet_graph_agrees_with_plain_numpy(height: int, width: int) -> None:
    forward = runpy.run_path(str(REFERENCE / "mtcnn_forward.py"))["forward"]
    layers = random_layers("PNet")
    image = np.random.default_rng(2).uniform(-1, 1, (3, height, width)).astype(np.float32)
    expected = forward(layers, image, per_pixel=True)
    got = run(build_map_graph(layers, "PNet"), image[None])
    assert got.shape == (1, 6, -(-(height - 4) // 2) - 3, -(-(width - 4) // 2) - 3)
    np.testing.assert_allclose(got[0], expected, atol=1e-5)
    assert expected.std() > 0.05


@pytest.mark.parametrize("name", SIDES)
def test_patch_graphs_agree_with_plain_numpy(name: str) -> None:
    forward = runpy.run_path(str(REFERENCE / "mtcnn_forward.py"))["forward"]
    layers = random_layers(name)
    images = np.random.default_rng(4).uniform(-1, 1, (3, 3, SIDES[name], SIDES[name])).astype(np.float32)
    expected = np.stack([forward(layers, image, per_pixel=False) for image in images])
    got = run(build_batch_graph(layers, name, SIDES[name]), images)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert expected.std(axis=0).max() > 0.01


def test_graphs_are_valid_and_of_the_declared_versions() -> None:
    model = onnx.load_from_string(build_map_graph(random_layers("PNet"), "PNet").data)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == IR_VERSION == 10
    assert model.opset_import[0].version == OPSET == 17
    assert "PRelu" not in {node.op_type for node in model.graph.node}


def test_a_network_without_a_dense_end_is_refused() -> None:
    layers = random_layers("RNet")
    with pytest.raises(ModelError, match="RNet: expected a dense last layer, got PRelu"):
        build_batch_graph(layers[:-1], "RNet", 24)
    with pytest.raises(ModelError, match="PNet: expected a dense last layer, got NoneType"):
        build_map_graph((), "PNet")
