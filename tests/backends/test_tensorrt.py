"""The TensorRT backend by stand-ins that keep the rules of TensorRT and CUDA: there is no GPU where tests run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from auflow.backends import tensorrt as module
from auflow.backends.engines import Engine, EngineCache, EngineKey
from auflow.backends.nvidia import Gpu
from auflow.backends.ort import OrtBackend
from auflow.backends.tensorrt import SIDES, TensorrtBackend, examples
from auflow.errors import BackendError
from auflow.models.onnx.graph import Graph, OnnxModel
from auflow.stages.detect.mtcnn import MtcnnDetector
from auflow.tests.backends.fake_cuda import FakeCuda, FakeTensorrt


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def trt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeTensorrt:
    fake = FakeTensorrt(cuda)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda  # type: ignore[attr-defined]
    for name, stand_in in (("tensorrt", fake), ("cuda", ModuleType("cuda")), ("cuda.bindings", bindings)):
        monkeypatch.setitem(sys.modules, name, stand_in)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "require", lambda _: None)
    gpu = Gpu("NVIDIA H200", 150_000_000_000, (9, 0), "580.1", "13.0")
    monkeypatch.setattr(module, "look_for_gpus", lambda: (gpu,))
    return fake


def product(scale: float = 1.0) -> OnnxModel:
    graph = Graph("product")
    values = graph.input("values", ["n", 8], span=(-2.0, 2.0))
    weights = np.random.default_rng(1).normal(0, scale, (8, 3)).astype(np.float32)
    graph.output("out", graph.node("MatMul", [values, graph.constant(weights)]), ["n", 3])
    return graph.build()


def test_it_computes_what_the_cpu_computes(trt: FakeTensorrt, tmp_path: Path) -> None:
    network = TensorrtBackend(EngineCache(tmp_path), fp16=False).load(product())
    exact = OrtBackend("ort-cpu").load(product())
    rng = np.random.default_rng(2)
    for count in (3, 256, 1, 17):  # grows, and is used again with less
        values = rng.normal(size=(count, 8)).astype(np.float32)
        np.testing.assert_array_equal(network.run(values)[0], exact.run(values)[0])


def test_an_engine_is_built_once_and_kept(trt: FakeTensorrt, tmp_path: Path) -> None:
    values = np.ones((2, 8), np.float32)
    (first,) = TensorrtBackend(EngineCache(tmp_path)).load(product()).run(values)
    assert trt.built == [("product", True), ("product", False)]  # FP16, and FP32 to compare it with
    (again,) = TensorrtBackend(EngineCache(tmp_path)).load(product()).run(values)
    assert len(trt.built) == 2
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "NVIDIA L4"},
        {"compute_capability": (8, 9)},
        {"driver": "590.2"},
    ],
)
def test_another_gpu_or_driver_has_another_engine(
    change: dict, trt: FakeTensorrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TensorrtBackend(EngineCache(tmp_path)).load(product())
    fields = {"name": "NVIDIA H200", "memory_bytes": 1, "compute_capability": (9, 0), "driver": "580.1"}
    monkeypatch.setattr(module, "look_for_gpus", lambda: (Gpu(**{**fields, **change}, driver_cuda="13.0"),))
    TensorrtBackend(EngineCache(tmp_path)).load(product())
    assert len(trt.built) == 4


def test_another_model_or_version_has_another_engine(trt: FakeTensorrt, tmp_path: Path) -> None:
    backend = TensorrtBackend(EngineCache(tmp_path), fp16=False)
    backend.load(product())
    backend.load(product().told(about="the same graph, other words"))
    assert len(trt.built) == 1
    backend.load(product(scale=2.0))
    assert len(trt.built) == 2
    trt.__version__ = "10.15.0"
    TensorrtBackend(EngineCache(tmp_path), fp16=False).load(product())
    assert len(trt.built) == 3


def test_fp16_is_taken_where_it_is_exact_enough(trt: FakeTensorrt, tmp_path: Path) -> None:
    values = np.full((2, 8), 0.1, np.float32)
    (found,) = TensorrtBackend(EngineCache(tmp_path)).load(product()).run(values)
    exact = OrtBackend("ort-cpu").load(product()).run(values)[0]
    np.testing.assert_array_equal(found, exact.astype(np.float16))
    assert not np.array_equal(found, exact)


@pytest.mark.parametrize("worst", ["int8", "nan"])
def test_fp16_is_not_taken_where_it_is_not(worst: str, trt: FakeTensorrt, tmp_path: Path) -> None:
    if worst == "nan":
        values = examples(product())[0] * 1e38  # what overflows in FP16
        big = product(scale=1e6)
    else:
        trt.rounding, big = np.int8, product(scale=0.3)  # type: ignore[assignment]
        values = np.full((2, 8), 0.1, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        network = TensorrtBackend(EngineCache(tmp_path)).load(big)
    if worst != "nan":
        np.testing.assert_array_equal(network.run(values)[0], OrtBackend("ort-cpu").load(big).run(values)[0])
    assert not network._engine.told["fp16"]
    with np.errstate(over="ignore", invalid="ignore"):
        TensorrtBackend(EngineCache(tmp_path)).load(big)
    assert len(trt.built) == 2  # that it is not exact enough is remembered


def test_a_file_that_is_cut_off_or_bent_is_built_anew(trt: FakeTensorrt, tmp_path: Path) -> None:
    load = TensorrtBackend(EngineCache(tmp_path), fp16=False).load
    load(product())
    (path,) = tmp_path.glob("*.engine")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-1] + b"x", b"[]\n" + whole, b"\xff\xfe"):
        path.write_bytes(damaged)
        before = len(trt.built)
        load(product())
        assert len(trt.built) == before + 1
        assert path.read_bytes() == whole


def test_an_engine_that_is_not_taken_is_built_anew_once(trt: FakeTensorrt, tmp_path: Path) -> None:
    backend = TensorrtBackend(EngineCache(tmp_path), fp16=False)
    backend.load(product())
    answers = iter([False, True])
    trt.takes = lambda data: next(answers)
    backend.load(product())
    assert len(trt.built) == 2
    trt.takes = lambda data: False
    with pytest.raises(BackendError, match="the engine of product is not taken"):
        backend.load(product())


def test_a_folder_that_cannot_be_written_to(trt: FakeTensorrt, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    backend = TensorrtBackend(EngineCache(tmp_path / "file" / "below"), fp16=False)
    values = np.ones((1, 8), np.float32)
    np.testing.assert_array_equal(backend.load(product()).run(values)[0], backend.load(product()).run(values)[0])
    assert len(trt.built) == 2


def test_what_tensorrt_cannot_do_is_told(trt: FakeTensorrt, tmp_path: Path) -> None:
    backend = TensorrtBackend(EngineCache(tmp_path), fp16=False)
    trt.unreadable = True
    with pytest.raises(BackendError, match="product cannot be read: In node 3: UNSUPPORTED_NODE"):
        backend.load(product())
    trt.unreadable, trt.unbuildable = False, True
    with pytest.raises(BackendError, match=r"no engine could be built for product.*nvidia-smi"):
        backend.load(product())
    assert list(tmp_path.glob("*.engine")) == []


def test_inputs_beyond_the_profile_and_a_full_gpu_are_told(trt: FakeTensorrt, cuda: FakeCuda, tmp_path: Path) -> None:
    network = TensorrtBackend(EngineCache(tmp_path), fp16=False).load(product())
    with pytest.raises(BackendError, match=r"values of up to \(256, 8\), got \(257, 8\)"):
        network.run(np.zeros((257, 8), np.float32))
    cuda.fails["cudaMalloc"] = 2
    with pytest.raises(BackendError, match="CUDA: cudaMalloc gave 2"):
        network.run(np.zeros((200, 8), np.float32))


def test_nothing_is_left_on_the_gpu_when_memory_grows(trt: FakeTensorrt, cuda: FakeCuda, tmp_path: Path) -> None:
    network = TensorrtBackend(EngineCache(tmp_path), fp16=False).load(product())
    for count in (1, 50, 200):
        network.run(np.zeros((count, 8), np.float32))
    assert len(cuda.device) == len(cuda.host) == 2  # an input and an output


def test_faces_are_found_by_it(trt: FakeTensorrt, models_dir: Path, tmp_path: Path) -> None:
    """PNet with its sizes, RNet and ONet in large calls, FP32: what the CPU finds, to the last bit but for sums."""
    bgr = np.clip(np.random.default_rng(4).normal(120, 40, (180, 240, 3)), 0, 255).astype(np.uint8)
    detector = MtcnnDetector(models_dir, TensorrtBackend(EngineCache(tmp_path), fp16=False))
    image = bgr.astype(np.float32)
    for found, expected in zip(detector.propose(image), MtcnnDetector(models_dir).propose(image), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    patches = np.random.default_rng(5).uniform(-1, 1, (300, 3, 24, 24)).astype(np.float32)
    np.testing.assert_allclose(detector.rnet([patches])[0], MtcnnDetector(models_dir).rnet([patches])[0], atol=1e-4)
    assert {name for name, _ in trt.built} == {"PNet", "RNet", "ONet"}


def test_the_cache_lets_one_build_while_others_wait(tmp_path: Path) -> None:
    import threading

    key = EngineKey("g", "d", "t", "m", {"n": (1, 2, 3)}, False)
    builds = []

    def build() -> Engine:
        builds.append(1)
        return Engine(b"x" * 1000, None)

    threads = [threading.Thread(target=lambda: EngineCache(tmp_path).get("a", key, build)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(builds) == 1


def test_every_side_of_every_graph_has_its_limits(models_dir: Path) -> None:
    from auflow.export.graphs import GROUPS, exports

    for export in exports(models_dir, tuple(group for group in GROUPS if group != "cen")):
        if export.name.startswith("ccnf_main"):
            continue  # large, and like the others
        for value in export.build().inputs:
            assert all(side in SIDES for side in value.shape if isinstance(side, str)), export.name


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is None, reason="the package tensorrt is not installed")
def test_the_names_are_those_of_the_real_packages() -> None:
    """What the stand-ins cannot know: that the real packages have all that is called."""
    import tensorrt as trt
    from cuda.bindings import runtime

    for owner, names in {
        trt: "Logger Builder OnnxParser Runtime MemoryPoolType BuilderFlag",
        trt.Logger: "WARNING",
        trt.Builder: "create_network create_builder_config create_optimization_profile build_serialized_network",
        trt.OnnxParser: "parse get_error num_errors",
        trt.IBuilderConfig: "set_memory_pool_limit set_flag clear_flag add_optimization_profile",
        trt.IOptimizationProfile: "set_shape",
        trt.BuilderFlag: "FP16 TF32",
        trt.MemoryPoolType: "WORKSPACE",
        trt.Runtime: "deserialize_cuda_engine",
        trt.ICudaEngine: "create_execution_context",
        trt.IExecutionContext: "set_input_shape get_tensor_shape set_tensor_address execute_async_v3",
        runtime: "cudaStreamCreate cudaStreamSynchronize cudaHostAlloc cudaMalloc cudaFreeHost cudaFree"
        " cudaMemcpyAsync",
        runtime.cudaMemcpyKind: "cudaMemcpyHostToDevice cudaMemcpyDeviceToHost",
    }.items():
        missing = [name for name in names.split() if not hasattr(owner, name)]
        assert not missing, (owner, missing)
