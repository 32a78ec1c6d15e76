"""Stand-ins for the packages `tensorrt` and `cuda.bindings.runtime`, for machines without a GPU.

They hold auflow to the rules of the real ones: a GPU's memory is read and written by copies only, an engine knows the
shapes of its profile, addresses must be set before it runs, and what it gives is there when the stream has been waited
for. What an engine computes, ONNX Runtime computes on the CPU; in FP16 its results are rounded.
"""

from __future__ import annotations

import ctypes
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort


class FakeCuda:
    """`cuda.bindings.runtime`: memory with addresses, and a stream that does nothing until it is waited for."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.host: dict[int, Any] = {}
        self.device: dict[int, Any] = {}
        self.queue: list[Any] = []
        self.fails: dict[str, int] = {}  # error that a function gives

    def _made(self, where: dict[int, Any], size: int) -> int:
        memory = ctypes.create_string_buffer(b"\xa5" * size, size)
        address = ctypes.addressof(memory)
        where[address] = memory
        return address

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 77

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        assert stream == 77
        for work in self.queue:
            work()
        self.queue.clear()
        return (0,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int, int]:
        return 0, self._made(self.host, size)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        if error := self.fails.get("cudaMalloc"):
            return error, 0
        return 0, self._made(self.device, size)

    def cudaFreeHost(self, address: int) -> tuple[int]:
        del self.host[address]
        return (0,)

    def cudaFree(self, address: int) -> tuple[int]:
        del self.device[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, of: int, size: int, kind: int, stream: int) -> tuple[int]:
        source, target = (self.host, self.device) if kind == 1 else (self.device, self.host)
        assert len(source[of]) >= size
        assert len(target[to]) >= size
        self.queue.append(lambda: ctypes.memmove(to, of, size))
        return (0,)


class FakeTensorrt:
    """The part of `tensorrt` 10 that auflow uses."""

    __version__ = "10.14.1"
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    BuilderFlag = SimpleNamespace(FP16="fp16", TF32="tf32")

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None:
            assert level == self.WARNING

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.built: list[tuple[str, bool]] = []  # name, FP16
        self.rounding = np.float16  # what FP16 comes to: tests may make it worse
        self.unreadable = self.unbuildable = False
        self.takes = lambda data: True
        fake = self

        class Parser:
            def __init__(self, network: dict[str, Any], logger: Any) -> None:
                self.network = network

            def parse(self, data: bytes) -> bool:
                self.network["onnx"] = data
                return not fake.unreadable

            num_errors = 1

            def get_error(self, number: int) -> str:
                return "In node 3: UNSUPPORTED_NODE"

        class Profile(dict):
            def set_shape(self, name: str, least: tuple, best: tuple, most: tuple) -> None:
                assert all(a <= b <= c for a, b, c in zip(least, best, most, strict=True))
                self[name] = (least, best, most)

        class Config:
            def __init__(self) -> None:
                self.flags = {"tf32"}
                self.profile: Profile | None = None

            def set_memory_pool_limit(self, pool: str, size: int) -> None:
                assert pool == "workspace"

            def set_flag(self, flag: str) -> None:
                self.flags.add(flag)

            def clear_flag(self, flag: str) -> None:
                self.flags.discard(flag)

            def add_optimization_profile(self, profile: Profile) -> None:
                self.profile = profile

        class Builder:
            def __init__(self, logger: Any) -> None:
                pass

            def create_network(self, flags: int) -> dict[str, Any]:
                return {}

            create_builder_config = staticmethod(Config)
            create_optimization_profile = staticmethod(Profile)

            def build_serialized_network(self, network: dict[str, Any], config: Config) -> bytes | None:
                if fake.unbuildable:
                    return None
                assert config.profile is not None
                assert "tf32" not in config.flags
                fp16 = "fp16" in config.flags
                name = ort.InferenceSession(network["onnx"]).get_modelmeta().graph_name
                fake.built.append((name, fp16))
                return json.dumps({"fp16": fp16, "profile": config.profile}).encode() + b"\0" + network["onnx"]

        class Runtime:
            def __init__(self, logger: Any) -> None:
                pass

            def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
                return Engine(data) if fake.takes(data) else None

        class Engine:
            def __init__(self, data: bytes) -> None:
                head, _, onnx = data.partition(b"\0")
                self.told = json.loads(head)
                self.session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])

            def create_execution_context(self) -> Context:
                return Context(self)

        class Context:
            def __init__(self, engine: Engine) -> None:
                self.engine = engine
                self.shapes: dict[str, tuple[int, ...]] = {}
                self.addresses: dict[str, int] = {}
                self.dtypes = {v.name: v.type for v in engine.session.get_inputs()}

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                least, _, most = self.engine.told["profile"][name]
                self.shapes[name] = tuple(shape)
                return all(a <= side <= c for a, side, c in zip(least, shape, most, strict=True))

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                zeros = {n: np.zeros(s, _DTYPES[self.dtypes[n]]) for n, s in self.shapes.items()}
                return self.engine.session.run([name], zeros)[0].shape

            def set_tensor_address(self, name: str, address: int) -> None:
                assert address in fake.cuda.device, "not an address on the GPU"
                self.addresses[name] = address

            def execute_async_v3(self, stream: int) -> bool:
                addresses, shapes = dict(self.addresses), dict(self.shapes)
                fake.cuda.queue.append(lambda: self.compute(addresses, shapes))
                return True

            def compute(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
                inputs = {}
                for name, shape in shapes.items():
                    dtype = np.dtype(_DTYPES[self.dtypes[name]])
                    size = int(np.prod(shape)) * dtype.itemsize
                    memory = bytes(fake.cuda.device[addresses[name]])[:size]
                    inputs[name] = np.frombuffer(memory, dtype).reshape(shape)
                names = [v.name for v in self.engine.session.get_outputs()]
                for name, found in zip(names, self.engine.session.run(names, inputs), strict=True):
                    if self.engine.told["fp16"] and found.dtype == np.float32:
                        found = found.astype(fake.rounding).astype(np.float32)
                    data = found.tobytes()
                    assert len(fake.cuda.device[addresses[name]]) >= len(data)
                    ctypes.memmove(addresses[name], data, len(data))

        self.OnnxParser, self.Builder, self.Runtime = Parser, Builder, Runtime


_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
