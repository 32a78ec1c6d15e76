"""The interface of a backend that computes graphs: it loads a graph, and what it loaded runs on batches."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from auflow.models.onnx.graph import OnnxModel

__all__ = ["GraphBackend", "Network"]


class Network(Protocol):
    """A graph that is ready to run. Serves one thread."""

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """The graph's outputs, of its inputs in their order; C-contiguous arrays of the graph's dtypes.

        The outputs may be written over by the next call.
        """


class GraphBackend(Protocol):
    """Loads graphs onto one device."""

    @property
    def name(self) -> str:
        """As the user says it."""

    @property
    def batch(self) -> int:
        """Items that one call takes best: small where a cache is to hold them, large where a call costs much."""

    @property
    def shares_maps(self) -> bool:
        """Whether a call costs so much that whole pictures share it; on a CPU they would only share the cache."""

    def load(self, model: OnnxModel) -> Network:
        """Make a graph ready; this may take minutes where an engine is built for the first time.

        Raises
        ------
        BackendError
            It cannot be computed here; the message says why and what to do.
        """
