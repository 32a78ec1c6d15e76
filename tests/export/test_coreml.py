"""Core ML packages: what is saved computes what it should, and what is damaged, wrong or not known is refused."""

from __future__ import annotations

import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auflow.cli import main
from auflow.errors import BackendError, InputError, ModelError, OutputError, ShapeError
from auflow.export.coreml import export_coreml, networks
from auflow.export.coreml.samples import take_samples
from auflow.export.coreml.weights import check_weights, weights_of_heads, weights_of_network
from auflow.models.au_heads import load_au_heads
from auflow.models.coreml.choices import precision_of, sides_of
from auflow.models.coreml.interpreter import compute
from auflow.models.coreml.package import Package, read_package
from auflow.models.coreml.prelu import find_prelus
from auflow.models.coreml.translate import write_package
from auflow.models.mtcnn import FOLDER, LAYOUTS, Convolution, Dense, Layer, MaxPool, PRelu, read_network
from auflow.models.onnx.graph import Graph
from auflow.models.onnx.mtcnn import build_graph
from auflow.models.store import originals

pytest.importorskip("coremltools", reason="coremltools is not installed: pip install 'auflow[coreml]'")

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
NAMES = ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet", "au_heads", "au_heads_static")


@pytest.fixture(scope="module")
def folder(models_dir: Path, demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coreml")
    arguments = ["models", "export", "coreml", "-o", str(folder), "--dir", str(models_dir)]
    assert main([*arguments, "--clip", str(demo_dir / "astronaut.mp4")]) == 0
    return folder


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[tuple[Layer, ...], Package]]:
    """Small networks of random weights with all kinds of layers, in single precision: no model files needed."""
    folder, out = tmp_path_factory.mktemp("made_up"), {}
    for name in ("PNet", "RNet"):
        layers = random_layers(name)
        path = folder / f"{name}.mlpackage"
        model = build_graph(layers, name)
        write_package(model, path, sides=sides_of(model), precision="float32")
        out[name] = layers, read_package(path)
    return out


def random_layers(name: str) -> tuple[Layer, ...]:
    rng = np.random.default_rng(17)
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


def copy(folder: Path, name: str, to: Path) -> Path:
    return Path(shutil.copytree(folder / f"{name}.mlpackage", to / f"{name}.mlpackage"))


def edited(path: Path, change: Any) -> Package:
    """The package after `change` of its program's operations on the disk."""
    from coremltools.proto import Model_pb2

    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = Model_pb2.Model()
    spec.ParseFromString(file.read_bytes())
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    change(block.operations)
    file.write_bytes(spec.SerializeToString())
    return read_package(path)


def test_all_are_written_and_nothing_else_is_left(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.mlpackage" for name in NAMES)
    kinds = {name: read_package(folder / f"{name}.mlpackage").kinds for name in NAMES}
    assert kinds["mtcnn_pnet"] == {"cast": 2, "conv": 4, "prelu": 3, "max_pool": 1}
    assert kinds["mtcnn_onet"]["prelu"] == 5
    assert "relu" not in kinds["mtcnn_rnet"]
    assert "cast" not in kinds["au_heads"]


def test_sizes_that_may_vary_are_ranges(folder: Path) -> None:
    inputs = {name: read_package(folder / f"{name}.mlpackage").inputs for name in NAMES}
    one, three = (1, 1, 1), (3, 3, 3)
    assert inputs["mtcnn_pnet"] == {"images": ("float32", (one, three, (12, 96, 2048), (12, 128, 2048)))}
    assert inputs["mtcnn_rnet"] == {"images": ("float32", ((1, 64, 256), three, (24,) * 3, (24,) * 3))}
    assert inputs["au_heads"]["medians"] == ("float32", ((1, 1, 256), (4702,) * 3))


def test_the_metadata_tell_licence_and_errors(folder: Path) -> None:
    for name in NAMES:
        told = read_package(folder / f"{name}.mlpackage").metadata
        assert "OpenFace's licence" in told["license"]
        assert told["version"]
        assert told["auflow.checked_on"].startswith("5 pictures, 30 descriptors of astronaut.mp4")
        assert "not run by Core ML" in told["auflow.checked_by"]
        assert 0 < float(told["auflow.error.weights"]) < 1e-3
        if name.startswith("au"):
            assert float(told["auflow.error.intensity.real"]) < 1e-5
            assert float(told["auflow.error.presences_differ.real"]) == 0
            assert told["auflow.intensities"].startswith("AU01,AU02")
        else:  # half precision shows, and harms little
            assert 1e-6 < float(told["auflow.error.probability.real"]) < 0.01
            assert float(told["auflow.error.boxes.least_overlap"]) > 0.95


@pytest.mark.parametrize("name", ["PNet", "RNet"])
def test_a_saved_network_agrees_with_plain_numpy(name: str, made_up) -> None:
    layers, package = made_up[name]
    forward = runpy.run_path(str(REFERENCE / "mtcnn_forward.py"))["forward"]
    shape = (1, 3, 21, 34) if name == "PNet" else (3, 3, 24, 24)
    images = np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
    expected = np.stack([forward(layers, image, per_pixel=name == "PNet") for image in images])
    got = compute(package, {"images": images})["outputs"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-6)
    assert expected.std() > 0.05
    assert check_weights(package, weights_of_network(layers, name), "float32") == 0


def test_weights_are_those_of_the_files_bit_for_bit(folder: Path, models_dir: Path) -> None:
    layers = read_network(originals(models_dir) / FOLDER / "RNet.dat", LAYOUTS["RNet"])
    package = read_package(folder / "mtcnn_rnet.mlpackage")
    expected = weights_of_network(layers, "RNet")
    largest = max(np.abs(array - array.astype(np.float16)).max() for _, array in expected)
    assert check_weights(package, expected, "float16") == pytest.approx(largest)
    with pytest.raises(ModelError, match=r"mtcnn_rnet.*: expected 12 arrays of weights, got 14"):
        check_weights(package, expected[:-2], "float16")
    more = replace(package, constants={**package.constants, "more": np.ones(3, np.float16)})
    with pytest.raises(ModelError, match=r"more: expected no numbers but the weights"):
        check_weights(more, expected, "float16")


def test_a_weight_that_was_changed_is_found(folder: Path, models_dir: Path, tmp_path: Path) -> None:
    path = copy(folder, "au_heads", tmp_path)
    file = path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    content = bytearray(file.read_bytes())
    content[200_000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"au_heads\.mlpackage: .*expected weights of the intensities"):
        check_weights(read_package(path), weights_of_heads(load_au_heads(models_dir)), "float32")


@pytest.mark.parametrize(
    ("file", "damage", "text"),
    [
        ("Data/com.apple.CoreML/weights/weight.bin", lambda data: data[:-9], "weight.bin is cut short"),
        ("Data/com.apple.CoreML/weights/weight.bin", lambda data: data[:100], "no record at"),
        ("Data/com.apple.CoreML/weights/weight.bin", lambda data: data[:64] + bytes(64) + data[128:], "is damaged"),
        ("Data/com.apple.CoreML/weights/weight.bin", None, "weight.bin is cut short"),
        ("Data/com.apple.CoreML/model.mlmodel", lambda data: data[:-9], "model.mlmodel is damaged"),
        ("Data/com.apple.CoreML/model.mlmodel", lambda _: b"", "expected an ML program with the function main"),
        ("Data/com.apple.CoreML/model.mlmodel", None, "model.mlmodel cannot be read"),
        ("Manifest.json", lambda data: data[:-9], "Manifest.json is damaged"),
        ("Manifest.json", None, "no whole .mlpackage"),
    ],
)
def test_a_damaged_package_is_named(file: str, damage, text: str, made_up, tmp_path: Path) -> None:
    path = Path(shutil.copytree(made_up["PNet"][1].path, tmp_path / "PNet.mlpackage"))
    if damage is None:
        (path / file).unlink()
    else:
        (path / file).write_bytes(damage((path / file).read_bytes()))
    with pytest.raises(ModelError, match=text):
        read_package(path)


def test_what_is_not_known_is_never_passed_over(made_up, tmp_path: Path) -> None:
    images = {"images": np.zeros((1, 3, 20, 20), np.float32)}

    def rename(operations: Any) -> None:
        next(each for each in operations if each.type == "prelu").type = "thresholded_relu"

    def pad(operations: Any) -> None:
        conv = next(each for each in operations if each.type == "conv")
        conv.inputs["padding_mode"].CopyFrom(conv.inputs["pad"])

    for change, text in ((rename, "operation thresholded_relu"), (pad, "conv has a parameter padding_mode")):
        path = Path(shutil.copytree(made_up["PNet"][1].path, tmp_path / change.__name__))
        with pytest.raises(BackendError, match=text):
            compute(edited(path, change), images)


def test_inputs_of_another_kind_are_refused(made_up) -> None:
    package = made_up["PNet"][1]
    with pytest.raises(ShapeError, match=r"images: expected float32 .*, got float32 \(1, 3, 11, 20\)"):
        compute(package, {"images": np.zeros((1, 3, 11, 20), np.float32)})
    with pytest.raises(ShapeError, match="got float64"):
        compute(package, {"images": np.zeros((1, 3, 20, 20))})
    with pytest.raises(ShapeError, match="expected the inputs"):
        compute(package, {"pictures": np.zeros((1, 3, 20, 20), np.float32)})


def test_a_program_that_computes_something_else_is_refused(folder: Path, models_dir: Path, tmp_path: Path) -> None:
    """All weights are right; the first dense layer takes the pixels in rows, not in columns."""
    layers = read_network(originals(models_dir) / FOLDER / "RNet.dat", LAYOUTS["RNet"])
    right = build_graph(layers, "RNet")
    wrong = replace(
        right,
        nodes=tuple(
            replace(node, attributes={"perm": [0, 1, 2, 3]}) if node.operator == "Transpose" else node
            for node in right.nodes
        ),
    )
    path = tmp_path / "wrong.mlpackage"
    write_package(wrong, path, sides=sides_of(wrong), precision=precision_of(wrong))
    package = read_package(path)
    assert check_weights(package, weights_of_network(layers, "RNet"), "float16") > 0
    packages = {name: read_package(folder / f"mtcnn_{name.lower()}.mlpackage") for name in LAYOUTS}
    with pytest.raises(ModelError, match="RNet: expected probabilities as ONNX Runtime's"):
        networks.evaluate({**packages, "RNet": package}, models_dir, take_samples(None, models_dir))


def test_an_operator_without_a_translation_is_named(tmp_path: Path) -> None:
    for node, text in ((("Softplus", {}), "operator Softplus"), (("Flatten", {"axis": 2}), "another axis than 1")):
        graph = Graph("odd")
        images = graph.input("images", ["n", 3, 4], span=(0.0, 1.0))
        graph.output("outputs", graph.node(node[0], [images], **node[1]), ["n", 12])
        with pytest.raises(BackendError, match=f"odd: .*{text}"):
            write_package(graph.build(), tmp_path / "odd.mlpackage", sides={"n": 1}, precision="float32")
    graph = Graph("odd")
    images = graph.input("images", ["n", 3, 9, 9], span=(0.0, 1.0))
    weights = [graph.constant(np.ones((2, 3, 3, 3), np.float32)), graph.constant(np.ones(2, np.float32))]
    padded = graph.node("Conv", [images, *weights], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph.output("outputs", padded, ["n", 2, 9, 9])
    with pytest.raises(BackendError, match=r"Conv with \{'pads'"):
        write_package(graph.build(), tmp_path / "odd.mlpackage", sides={"n": 1}, precision="float32")


def test_half_precision_rounds_after_each_operation(tmp_path: Path) -> None:
    graph = Graph("sums")
    values = graph.input("values", [3], span=(0.0, 1.0))
    more = graph.node("Add", [values, graph.constant(np.array([1, 2048, 60000], np.float32))])
    graph.output("sums", graph.node("Add", [more, more]), [3])
    write_package(graph.build(), tmp_path / "sums.mlpackage", sides={}, precision="float16")
    got = compute(read_package(tmp_path / "sums.mlpackage"), {"values": np.array([0.1, 1, 0], np.float32)})["sums"]
    expected = [2 * np.float16(np.float32(np.float16(0.1)) + 1), 4096, np.inf]  # 2049 is no half, 120,000 too large
    np.testing.assert_array_equal(got, np.array(expected, np.float32))


def test_only_a_whole_prelu_becomes_one() -> None:
    slopes = np.array([0.25, -0.5], np.float32)

    def found(complement: np.ndarray, *, seen: bool = False) -> dict[str, Any]:
        graph = Graph("prelu")
        x = graph.input("x", ["n", 2], span=(-1.0, 1.0))
        kept = graph.node("Mul", [graph.node("Relu", [x]), graph.constant(complement)])
        out = graph.node("Add", [kept, graph.node("Mul", [x, graph.constant(slopes)])])
        if seen:
            out = graph.node("Add", [out, kept])
        graph.output("y", out, ["n", 2])
        return find_prelus(graph.build())

    (prelu,) = found(1 - slopes).values()
    assert prelu.x == "x"
    np.testing.assert_array_equal(prelu.slopes, slopes)
    assert found(1 - 2 * slopes) == {}
    assert found(1 - slopes, seen=True) == {}


def test_without_coremltools_the_remedy_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    assert main(["models", "export", "coreml", "-o", str(tmp_path / "out")]) == BackendError.exit_code
    assert "pip install 'auflow[coreml]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_is_named(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auflow.export.coreml.packages.DEMO", tmp_path / "no.mp4")
    lines: list[str] = []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot be written"):
        export_coreml(tmp_path / "file", models_dir, lines.append)
    assert lines[0].endswith("none, there is no clip")


def test_what_is_no_package_is_not_replaced(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auflow.export.coreml.packages.DEMO", tmp_path / "no.mp4")
    (tmp_path / "mtcnn_onet.mlpackage").mkdir()
    (tmp_path / "mtcnn_onet.mlpackage" / "thesis.txt").touch()
    with pytest.raises(OutputError, match=r"mtcnn_onet\.mlpackage: is there and no \.mlpackage"):
        export_coreml(tmp_path, models_dir, lambda _: None)
    assert [path.name for path in tmp_path.rglob("*")] == ["mtcnn_onet.mlpackage", "thesis.txt"]


def test_a_clip_without_a_face_is_named(models_dir: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "gray.png"), np.full((120, 160, 3), 128, np.uint8))
    with pytest.raises(InputError, match=r"gray\.png: no face in its first"):
        take_samples(tmp_path / "gray.png", models_dir)
