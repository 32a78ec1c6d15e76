"""ONNX Runtime as a backend, on whichever of its providers is asked for, and on no other."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from auflow.backends.availability import ORT_PROVIDERS, require
from auflow.backends.engines import default_folder
from auflow.backends.names import BackendName
from auflow.errors import BackendError
from auflow.models.onnx.graph import OnnxModel

__all__ = ["OrtBackend"]

_CPU_BATCH = 16  # larger calls are no faster, and fall out of the cache
_GPU_BATCH = 256


def _options(provider: str) -> dict[str, str]:
    if provider == "CUDAExecutionProvider":
        # TensorFloat-32 would round products to 10 bits. An exhaustive search would be made for every new shape.
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if provider == "TensorrtExecutionProvider":
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(default_folder() / "onnxruntime")}
    return {}


class OrtBackend:
    """One of ONNX Runtime's providers.

    Parameters
    ----------
    name : one of the backends "ort-..."

    Raises
    ------
    BackendError
        The provider is not to be had here; the message says why and what to install.
    """

    def __init__(self, name: BackendName) -> None:
        require(name)
        self.name: str = name
        self.batch = _CPU_BATCH if name == "ort-cpu" else _GPU_BATCH
        self.shares_maps = name != "ort-cpu"
        self._providers = ORT_PROVIDERS[name]

    def load(self, model: OnnxModel) -> _OrtNetwork:
        """A session for the graph.

        Raises
        ------
        BackendError
            ONNX Runtime would have fallen back to another provider.
        """
        asked = [(provider, _options(provider)) for provider in self._providers]
        session = ort.InferenceSession(model.data, _session_options(), providers=asked)
        if session.get_providers()[0] != self._providers[0]:  # it does not raise, it computes elsewhere
            raise BackendError(
                f"backend {self.name}: ONNX Runtime computes {model.name} by {session.get_providers()[0]} instead; "
                "`auflow doctor` tells what is missing"
            )
        return _OrtNetwork(session, model)


class _OrtNetwork:
    def __init__(self, session: ort.InferenceSession, model: OnnxModel) -> None:
        self._session = session
        self._inputs = [value.name for value in model.inputs]
        self._outputs = [value.name for value in model.outputs]

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """As `Network.run`."""
        return tuple(self._session.run(self._outputs, dict(zip(self._inputs, inputs, strict=True))))


def _session_options() -> ort.SessionOptions:
    """One thread, and none that spins: two were three times slower, and a spinning one burns a core at 30 Hz."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it plans memory for each shape; here the shapes keep changing
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options
