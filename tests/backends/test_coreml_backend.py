"""The backend for Core ML up to Core ML itself: here a NumPy interpreter takes its place."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from auflow.backends.availability import look
from auflow.backends.coreml import CoremlBackend, Predict
from auflow.backends.load import load_backend
from auflow.backends.ort import OrtBackend
from auflow.errors import BackendError
from auflow.export.graphs import exports
from auflow.models.coreml.interpreter import compute
from auflow.models.coreml.package import read_package
from auflow.models.onnx.fhog import build_fhog_graph
from auflow.models.onnx.graph import Graph, OnnxModel

pytest.importorskip("coremltools", reason="coremltools is not installed: pip install 'auflow[coreml]'")


class NumpyRuntime:
    """Keeps packages as they are and computes them in NumPy."""

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.compiled = 0

    def compile(self, package: Path, place: Path) -> None:
        self.compiled += 1
        shutil.copytree(package, place)

    def load(self, place: Path) -> Predict:
        if not (place / "Manifest.json").is_file():
            raise RuntimeError("no program")
        package = read_package(place)

        def predict(inputs: dict[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            return compute(package, inputs)

        return predict


def picking() -> OnnxModel:
    """Rows of a table by their numbers: an input of integers, and an output of them."""
    graph = Graph("picking")
    numbers = graph.input("numbers", ["n"], "int64", span=(0, 2))
    table = graph.constant(np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    rows = graph.node("Gather", [table, numbers], axis=0)
    graph.output("rows", graph.node("Cast", [graph.node("Mul", [rows, rows])], to=6), ["n", 2], "int32")
    return graph.build()


def test_a_graph_is_compiled_once(tmp_path: Path) -> None:
    runtime = NumpyRuntime()
    for _ in range(2):
        network = CoremlBackend(runtime, tmp_path / "kept").load(picking())
        (rows,) = network.run(np.array([2, 0], np.int64))
        assert rows.dtype == np.int32
        np.testing.assert_array_equal(rows, [[25, 36], [1, 4]])
    assert runtime.compiled == 1
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.startswith("picking-")
    CoremlBackend(NumpyRuntime("2"), tmp_path / "kept").load(picking())
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_damaged_program_is_compiled_anew(tmp_path: Path) -> None:
    runtime = NumpyRuntime()
    backend = CoremlBackend(runtime, tmp_path)
    backend.load(picking())
    (kept,) = tmp_path.iterdir()
    (kept / "Manifest.json").unlink()
    np.testing.assert_array_equal(backend.load(picking()).run(np.array([1], np.int64))[0], [[9, 16]])
    assert runtime.compiled == 2


def test_without_a_place_nothing_is_kept_and_all_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    network = CoremlBackend(NumpyRuntime(), tmp_path / "file").load(picking())
    np.testing.assert_array_equal(network.run(np.array([1], np.int64))[0], [[9, 16]])
    assert len(list(tmp_path.iterdir())) == 2
    del network
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_core_ml_refuses_is_told(tmp_path: Path) -> None:
    class Refusing(NumpyRuntime):
        def compile(self, package: Path, place: Path) -> None:
            raise RuntimeError("out of Neural Engines")

    with pytest.raises(BackendError, match="picking cannot be made ready by Core ML: out of Neural Engines"):
        CoremlBackend(Refusing(), tmp_path).load(picking())
    assert list(tmp_path.iterdir()) == []


def test_sizes_beyond_the_program_are_refused(tmp_path: Path) -> None:
    network = CoremlBackend(NumpyRuntime(), tmp_path).load(picking())
    with pytest.raises(BackendError, match="picking: numbers: expected 1 to 256 for the side n, got 257"):
        network.run(np.zeros(257, np.int64))


def test_response_maps_are_those_of_onnx_runtime(models_dir: Path, tmp_path: Path) -> None:
    model = next(each for each in exports(models_dir, ("ccnf",)) if "eye" in each.name).build()
    rng = np.random.default_rng(3)
    areas, views = model.inputs
    inputs = (
        rng.uniform(0, 255, [2, *areas.shape[1:]]).astype(np.float32),
        np.zeros(2, np.int64),
    )
    assert (areas.name, views.name) == ("areas", "views")
    (expected,) = OrtBackend("ort-cpu").load(model).run(*inputs)
    (got,) = CoremlBackend(NumpyRuntime(), tmp_path).load(model).run(*inputs)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    assert expected.std() > 1e-3


def test_fhog_of_bytes_is_that_of_onnx_runtime(tmp_path: Path) -> None:
    model = build_fhog_graph()
    faces = np.random.default_rng(4).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    (expected,) = OrtBackend("ort-cpu").load(model).run(faces)
    (got,) = CoremlBackend(NumpyRuntime(), tmp_path).load(model).run(faces)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert expected.std() > 0.01


@pytest.mark.skipif(look("coreml").usable, reason="Core ML is here")
def test_elsewhere_than_on_a_mac_it_is_refused() -> None:
    with pytest.raises(BackendError, match=r"backend coreml: Core ML computes on macOS only"):
        load_backend("coreml")
