"""TensorRT as a backend: graphs become engines for this very GPU, in FP16 where that is exact enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.backends.availability import require
from auflow.backends.cuda_memory import Stream, Twin
from auflow.backends.engines import Engine, EngineCache, EngineKey, default_folder
from auflow.backends.nvidia import Gpu, look_for_gpus
from auflow.errors import BackendError
from auflow.models.onnx.graph import OnnxModel, Value

__all__ = ["FP16_LIMIT", "SIDES", "TensorrtBackend", "examples"]

FP16_LIMIT = 5e-3  # of the largest value; what deviates more is computed in FP32
_BATCH = 256
_WORKSPACE_BYTES = 1 << 30
# Least, best and most of the sides that vary, by their names. PNet's smallest image has one position; a picture of
# 5120 px has 1024 of the largest scale.
SIDES: Mapping[str, tuple[int, int, int]] = {
    "n": (1, 64, 256),
    "b": (1, 16, 256),
    "h": (12, 96, 1024),
    "w": (12, 128, 1024),
}
_log = logging.getLogger("auflow.backends")


class TensorrtBackend:
    """TensorRT on the first GPU.

    Parameters
    ----------
    cache : where engines are kept; None is the user's cache folder
    fp16 : compute in FP16 where it deviates from FP32 by no more than `FP16_LIMIT`; else always in FP32

    Raises
    ------
    BackendError
        The package or the GPU is not there; the message says what to install.
    """

    name = "tensorrt"
    batch = _BATCH
    shares_maps = True

    def __init__(self, cache: EngineCache | None = None, *, fp16: bool = True) -> None:
        require("tensorrt")
        import tensorrt

        gpus = look_for_gpus()
        assert not isinstance(gpus, str), gpus  # `require` has seen one
        self._trt = tensorrt
        self._gpu: Gpu = gpus[0]
        self._logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self._runtime = tensorrt.Runtime(self._logger)
        self._cache = cache or EngineCache(default_folder())
        self._fp16 = fp16

    def load(self, model: OnnxModel) -> _TensorrtNetwork:
        """An engine of the graph: from the cache, or built, which takes a minute or so.

        Raises
        ------
        BackendError
            TensorRT cannot build it.
        """
        if self._fp16:
            network, engine = self._ready(model, fp16=True)
            if engine.deviation is not None and engine.deviation <= FP16_LIMIT:
                return network
            _log.info(
                "%s: FP16 deviates by %.2g of the largest value, more than %.2g: computed in FP32",
                model.name, engine.deviation, FP16_LIMIT,
            )  # fmt: skip
        return self._ready(model, fp16=False)[0]

    def _ready(self, model: OnnxModel, *, fp16: bool) -> tuple[_TensorrtNetwork, Engine]:
        key = self._key(model, fp16=fp16)
        engine = self._cache.get(model.name, key, lambda: self._built(model, fp16=fp16))
        try:
            return self._network(model, engine.data), engine
        except BackendError:
            # Of this key, and whole, and yet not taken: another library behind the same version number.
            self._cache.drop(model.name, key)
            engine = self._cache.get(model.name, key, lambda: self._built(model, fp16=fp16))
            return self._network(model, engine.data), engine

    def _key(self, model: OnnxModel, *, fp16: bool) -> EngineKey:
        capability = ".".join(map(str, self._gpu.compute_capability))
        return EngineKey(
            gpu=f"{self._gpu.name} ({capability})",
            driver=self._gpu.driver,
            tensorrt=self._trt.__version__,
            model=model.sha256,
            shapes={side: SIDES[side] for value in model.inputs for side in value.shape if isinstance(side, str)},
            fp16=fp16,
        )

    def _built(self, model: OnnxModel, *, fp16: bool) -> Engine:
        """Built now; in FP16 it is compared with FP32, which is built too."""
        data = self._serialised(model, fp16=fp16)
        if not fp16:
            return Engine(data, None)
        exact, _ = self._ready(model, fp16=False)
        return Engine(data, _deviation(self._network(model, data), exact, model))

    def _serialised(self, model: OnnxModel, *, fp16: bool) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(model.data):
            faults = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
            raise BackendError(f"backend tensorrt: {model.name} cannot be read: {faults}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        config.clear_flag(trt.BuilderFlag.TF32)  # it would round products to 10 bits
        if fp16:
            config.set_flag(trt.BuilderFlag.FP16)
        profile = builder.create_optimization_profile()
        for value in model.inputs:
            profile.set_shape(value.name, *(_shape(value, which) for which in range(3)))
        config.add_optimization_profile(profile)
        _log.info("building TensorRT's engine of %s for %s, once: a minute or so", model.name, self._gpu.name)
        data = builder.build_serialized_network(network, config)
        if data is None:
            raise BackendError(
                f"backend tensorrt: no engine could be built for {model.name}; TensorRT's messages above say why. Is "
                "the GPU's memory taken by others? (`nvidia-smi`)"
            )
        return bytes(data)

    def _network(self, model: OnnxModel, data: bytes) -> _TensorrtNetwork:
        engine = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise BackendError(f"backend tensorrt: the engine of {model.name} is not taken")
        return _TensorrtNetwork(engine, model)


class _TensorrtNetwork:
    """An engine with its memory: page-locked here, and on the GPU."""

    def __init__(self, engine: Any, model: OnnxModel) -> None:
        self._engine = engine  # which the context does not keep alive
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BackendError(
                f"backend tensorrt: no memory on the GPU for {model.name}; `nvidia-smi` tells whose it is"
            )
        self._model = model
        self._stream = Stream()
        self._inputs = [Twin(np.dtype(value.dtype)) for value in model.inputs]
        self._outputs = [Twin(np.dtype(value.dtype)) for value in model.outputs]

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """As `Network.run`.

        Raises
        ------
        BackendError
            An input is larger than the engine was built for, or the GPU gave an error.
        """
        context = self._context
        for value, twin, array in zip(self._model.inputs, self._inputs, inputs, strict=True):
            if not context.set_input_shape(value.name, array.shape):
                raise BackendError(
                    f"backend tensorrt: {self._model.name} is built for {value.name} of up to "
                    f"{_shape(value, 2)}, got {array.shape}; take another backend for such pictures"
                )
            twin.upload(array, self._stream)
            context.set_tensor_address(value.name, twin.there)
        shapes = [tuple(context.get_tensor_shape(value.name)) for value in self._model.outputs]
        for value, twin, shape in zip(self._model.outputs, self._outputs, shapes, strict=True):
            twin.array(shape)
            context.set_tensor_address(value.name, twin.there)
        if not context.execute_async_v3(self._stream.handle):
            raise BackendError(f"backend tensorrt: {self._model.name} could not be computed; see the messages above")
        found = [twin.download(shape, self._stream) for twin, shape in zip(self._outputs, shapes, strict=True)]
        self._stream.wait()
        return tuple(found)


def examples(model: OnnxModel, seed: int = 0) -> list[NDArray[Any]]:
    """Made-up inputs within their spans, of the sizes that an engine is best at."""
    rng = np.random.default_rng(seed)
    return [_example(value, rng) for value in model.inputs]


def _example(value: Value, rng: np.random.Generator) -> NDArray[Any]:
    low, high = value.span
    shape = _shape(value, 1)
    if np.dtype(value.dtype).kind in "iu":
        return rng.integers(int(low), int(high) + 1, shape).astype(value.dtype)
    return rng.uniform(low, high, shape).astype(value.dtype)


def _deviation(ours: _TensorrtNetwork, exact: _TensorrtNetwork, model: OnnxModel) -> float:
    """The largest difference of any output, relative to that output's largest value."""
    inputs = examples(model)
    pairs = [
        (found.copy(), expected)
        for found, expected in zip(ours.run(*inputs), exact.run(*inputs), strict=True)
        if found.dtype.kind == "f"
    ]
    worst = [
        float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-9)) for found, expected in pairs
    ]
    return float(np.max(worst))  # not a number, where there is one


def _shape(value: Value, which: int) -> tuple[int, ...]:
    """The value's shape at its least (0), best (1) or most (2)."""
    return tuple(SIDES[side][which] if isinstance(side, str) else side for side in value.shape)
