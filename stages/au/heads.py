"""All AU heads as one matrix, and their predictions relative to a person's median."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend
from auflow.backends.load import load_backend
from auflow.backends.names import REFERENCE, BackendName
from auflow.errors import ModelError
from auflow.models.au_heads import AuHeads, load_au_heads
from auflow.models.onnx.heads import build_heads_graph
from auflow.stages.au.features import FaceDescriber
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES

__all__ = ["Heads", "Predictor", "load_describer", "load_heads"]

F64 = NDArray[np.float64]


class Heads:
    """All heads, the same for every stream. Those that know a median come first.

    `backend` computes their products, in float32; None is NumPy, in float64.
    """

    def __init__(self, heads: AuHeads, backend: GraphBackend | None = None) -> None:
        sets = heads.intensities, heads.presences
        dynamic = np.concatenate([heads.dynamic for heads in sets])
        order = np.argsort(~dynamic, kind="stable")
        self.weights: F64 = np.concatenate([heads.weights for heads in sets])[order]
        self.offsets: F64 = np.concatenate([heads.offsets for heads in sets])[order]
        self.dynamic = slice(int(dynamic.sum()))
        self.intensities, self.presences = np.split(np.argsort(order), [len(heads.intensities.names)])
        self.positive, self.negative = heads.presences.positive, heads.presences.negative
        self.cutoffs = heads.intensities.cutoffs  # (17,)
        self._network = None if backend is None else backend.load(build_heads_graph(heads, "au_heads"))
        self._order = order

    @property
    def count(self) -> int:
        """Intensities and presences together."""
        return len(self.offsets)

    def products(self, features: F64) -> F64:
        """The part of the predictions that does not depend on the median: (k,) of (4702,)."""
        if self._network is not None:
            alone: F64 = self.products_of(features[None])[0]
            return alone
        products: F64 = self.weights @ features
        return products + self.offsets

    def products_of(self, features: F64) -> F64:
        """The products of several faces in one call: (n, k) of (n, 4702)."""
        if self._network is not None:
            descriptors = features.astype(np.float32)
            intensities, _, decisions = self._network.run(descriptors, np.zeros_like(descriptors))
            of_names: F64 = np.concatenate([intensities, decisions], axis=1, dtype=np.float64)
            return of_names[:, self._order]
        products: F64 = features @ self.weights.T
        return products + self.offsets

    def predict(self, products: F64, of_median: F64) -> tuple[F64, F64]:
        """Raw intensities (..., 17), and labels 0 or 1 (..., 18), of products (..., k).

        of_median (k,) is what a person's median takes off.
        """
        values = products - of_median
        labels = np.where(values[..., self.presences] > 0.0, self.positive, self.negative)
        return values[..., self.intensities], labels


class Predictor:
    """The heads, with the current median's part of their predictions."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._of_median = np.zeros(heads.count)

    @property
    def uses_median(self) -> bool:
        """Whether there is a head that takes off the median."""
        return self._heads.dynamic.stop > 0

    @property
    def of_median(self) -> F64:
        """(k,) what the current median takes off each head's product."""
        return self._of_median

    def set_median(self, value: F64) -> None:
        """From now on predict relative to this median (4702,); static heads ignore it."""
        dynamic = self._heads.dynamic
        np.matmul(self._heads.weights[dynamic], value, out=self._of_median[dynamic])

    def restore(self, of_median: F64) -> None:
        """Go on from `of_median` (k,) as it was: to compute it again might round it otherwise."""
        self._of_median[:] = of_median

    def predict(self, products: F64) -> tuple[F64, F64]:
        """As `Heads.predict`, relative to the current median."""
        return self._heads.predict(products, self._of_median)


# Both hold nothing of a stream: all stages of a process, one thread, share them. What the nursery has loaded is found
# here by its forks.


@lru_cache(maxsize=2)
def _load(models_root: Path, static: bool, backend: BackendName) -> Heads:
    heads = load_au_heads(models_root, static=static)
    for kind, expected, got in (
        ("intensities", AU_INTENSITIES, heads.intensities.names),
        ("presences", AU_PRESENCES, heads.presences.names),
    ):
        if expected != got:
            raise ModelError(f"AU {kind}: expected heads for {expected}, got {got}; fetch the model files again")
    return Heads(heads, None if backend == REFERENCE["au"] else load_backend(backend))


def load_heads(models_root: Path, *, static: bool, backend: BackendName = REFERENCE["au"]) -> Heads:
    """The heads of the model store, those for single pictures with `static`.

    Raises
    ------
    ModelError
    BackendError
        `backend` is not to be had here.
    """
    return _load(models_root, static, backend)


@lru_cache(maxsize=1)
def load_describer(models_root: Path) -> FaceDescriber:
    """What makes a face's descriptor.

    Raises
    ------
    ModelError
    """
    return FaceDescriber(models_root)
