"""Stages that a graph computes give what the reference gives, and a backend never computes elsewhere in silence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from auflow.backends import availability
from auflow.backends import ort as module
from auflow.backends.availability import look, look_at_all
from auflow.backends.load import load_backend
from auflow.backends.names import BACKENDS
from auflow.backends.ort import OrtBackend
from auflow.cli import main
from auflow.errors import BackendError
from auflow.models.clnf import load_clnf_models
from auflow.models.onnx.graph import Graph, OnnxModel
from auflow.stages.au.heads import load_heads
from auflow.stages.clnf.face_model import FaceModel


@pytest.fixture(autouse=True)
def fresh_looks():
    look.cache_clear()
    yield
    look.cache_clear()


def doubling() -> OnnxModel:
    graph = Graph("doubling")
    values = graph.input("values", ["n"], span=(0.0, 1.0))
    graph.output("doubled", graph.node("Add", [values, values]), ["n"])
    return graph.build()


def test_a_graph_runs() -> None:
    (doubled,) = load_backend("ort-cpu").load(doubling()).run(np.array([1, 2.5], np.float32))
    np.testing.assert_array_equal(doubled, [2, 5])


def test_the_hash_is_of_the_graph_not_of_what_is_said_of_it() -> None:
    model = doubling()
    assert model.told(about="x").sha256 == model.sha256
    assert b"about" in model.told(about="x").data


def test_every_backend_says_what_it_is_or_what_is_missing() -> None:
    for found in look_at_all():
        assert found.what
    assert [found.backend for found in look_at_all()] == list(BACKENDS)
    assert look("ort-cpu").usable
    assert look("numba").usable


def test_a_provider_that_is_not_built_in_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=r"(?s)backend ort-cuda: .* has no CUDAExecutionProvider\n.*auflow\[gpu\]"):
        OrtBackend("ort-cuda")


def test_a_provider_whose_libraries_are_missing_is_refused_in_the_loaders_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(availability, "_cannot_load", lambda _: "libcublasLt.so.13: cannot open shared object file")
    with pytest.raises(BackendError, match=r"(?s)cannot be loaded: libcublasLt.so.13.*onnxruntime-gpu\[cuda,cudnn\]"):
        OrtBackend("ort-cuda")


def test_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(availability, "_cannot_load", lambda _: None)
    monkeypatch.setattr(availability, "_no_gpu", lambda: "NVIDIA's driver is here, but no GPU")
    with pytest.raises(BackendError, match=r"(?s)no GPU.*nvidia-smi"):
        OrtBackend("ort-cuda")


def test_a_session_that_fell_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime does not raise when a provider fails at the last moment: it takes the CPU."""
    monkeypatch.setattr(module, "require", lambda _: None)
    monkeypatch.setitem(module.ORT_PROVIDERS, "ort-cuda", ("AzureExecutionProvider", "CPUExecutionProvider"))
    real = ort.InferenceSession

    def falling(data: bytes, options: ort.SessionOptions, providers: object) -> ort.InferenceSession:
        return real(data, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", falling)
    with pytest.raises(BackendError, match="backend ort-cuda: ONNX Runtime computes doubling by CPUExecution"):
        OrtBackend("ort-cuda").load(doubling())


def test_the_whole_fit_by_graphs_is_that_of_the_kernels(models_dir: Path) -> None:
    models = load_clnf_models(models_dir)
    ours, exact = FaceModel(models, backend=OrtBackend("ort-cpu")), FaceModel(models)
    rng = np.random.default_rng(5)
    gray = rng.uniform(0, 255, (240, 320)).astype(np.float32)
    start = exact.pdm.params_from_box(np.array([100, 60, 120, 120], np.float32), np.zeros(3, np.float32))
    local = np.zeros(exact.pdm.mode_count, np.float32)
    found, expected = (model.fit(gray, start, local, tracking=True) for model in (ours, exact))
    # On noise a fit hardly finds anything, and two that differ in rounding stay close.
    np.testing.assert_allclose(found.landmarks_px, expected.landmarks_px, atol=0.05)
    assert not np.array_equal(found.landmarks_px, start)


def test_the_heads_by_a_graph_are_those_of_numpy(models_dir: Path) -> None:
    rng = np.random.default_rng(6)
    for static in (False, True):
        exact = load_heads(models_dir.resolve(), static=static)
        ours = load_heads(models_dir.resolve(), static=static, backend="ort-cpu")
        features = rng.uniform(0, 0.3, (5, 4702))
        # Such features give values of up to 50: float32 has 7 digits.
        np.testing.assert_allclose(ours.products_of(features), exact.products_of(features), atol=2e-4)
        np.testing.assert_allclose(ours.products(features[0]), exact.products(features[0]), atol=2e-4)
        assert ours is load_heads(models_dir.resolve(), static=static, backend="ort-cpu")


def test_a_run_by_graphs_is_as_close_to_openface_as_the_kernels(
    models_dir: Path, demo_dir: Path, tmp_path: Path
) -> None:
    """Separate processes, each with its backend. The table says which ones they were."""
    words = ["run", str(demo_dir / "astronaut.mp4"), "-q", "--format", "csv,jsonl", "--precision", "full"]
    assert main([*words, "-o", str(tmp_path), "--backend", "ort-cpu"]) == 0
    told = json.loads((tmp_path / "astronaut.jsonl").read_text().splitlines()[0])
    assert told["settings"]["clnf_backend"] == told["settings"]["au_backend"] == "ort-cpu"
    landmarks = []
    for path in (tmp_path / "astronaut.csv", demo_dir / "full.csv"):
        with path.open() as lines:
            rows = list(csv.DictReader(lines, skipinitialspace=True))
        landmarks.append([[float(row[f"{axis}_{point}"]) for axis in "xy" for point in range(68)] for row in rows])
    off_px = np.abs(np.subtract(*landmarks))
    assert off_px.shape == (150, 136)
    assert np.median(off_px) < 0.02  # the C++ program against itself, other flags: 0.008
    assert np.quantile(off_px, 0.9) < 0.08  # 0.034


def test_a_backend_that_is_not_here_ends_the_run_before_it_begins(
    models_dir: Path,
    demo_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    words = ["run", str(demo_dir / "astronaut.mp4"), "-o", str(tmp_path), "--backend", "detect=ort-cuda"]
    assert main(words) == 2
    assert "backend ort-cuda" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
