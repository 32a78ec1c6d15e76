"""Makes a backend by its name."""

from __future__ import annotations

from auflow.backends.availability import require
from auflow.backends.base import GraphBackend
from auflow.backends.names import BackendName

__all__ = ["load_backend"]


def load_backend(name: BackendName) -> GraphBackend:
    """The backend of this name; "numba" computes no graphs and is none.

    Raises
    ------
    BackendError
        It is not to be had here; the message says why and what to install.
    """
    require(name)
    if name == "tensorrt":
        from auflow.backends.tensorrt import TensorrtBackend

        return TensorrtBackend()
    if name == "coreml":
        from auflow.backends.coreml import CoremlBackend

        return CoremlBackend()
    from auflow.backends.ort import OrtBackend

    return OrtBackend(name)
