"""The AU heads as packages, and their values compared with the float64 heads of the AU stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.export.coreml.plan import Plan
from auflow.export.coreml.samples import Samples, made_up_descriptors
from auflow.export.coreml.weights import weights_of_heads
from auflow.models.au_heads import load_au_heads
from auflow.models.coreml.interpreter import compute
from auflow.models.coreml.package import Package
from auflow.models.onnx.heads import DECISIONS, DESCRIPTORS, INTENSITIES, MEDIANS, PRESENCES, build_heads_graph
from auflow.stages.au.heads import Heads, Predictor, load_heads

__all__ = ["evaluate", "plans"]

F64 = NDArray[np.float64]

_GRAPHS = {"au_heads": False, "au_heads_static": True}  # whether those for single pictures
_DESCRIPTIONS = {
    "au_heads": "Action Units of videos from descriptors and running medians of faces",
    "au_heads_static": "Action Units of single pictures from descriptors of faces",
}
_MADE_UP = 32
# Single precision is off by 3e-6 on real descriptors. In half precision it is 3e-3 as long as sums are in single
# precision, which no device promises.
_LARGEST_ERROR = {"real": 1e-4, "made_up": 1e-3}


def plans(models_root: Path) -> list[Plan]:
    """The heads for videos and those for single pictures, in single precision.

    Raises
    ------
    ModelError
    """
    out = []
    for name, static in _GRAPHS.items():
        heads = load_au_heads(models_root, static=static)
        graph = build_heads_graph(heads, name)
        out.append(Plan(graph, f"{name}.mlpackage", _DESCRIPTIONS[name], weights_of_heads(heads)))
    return out


def evaluate(packages: Mapping[str, Package], models_root: Path, samples: Samples) -> dict[str, dict[str, float]]:
    """Of each package the largest errors of intensities, of decisions, and the share of presences that differ.

    Raises
    ------
    ModelError
        An intensity is off by more than 1e-4 for a real descriptor, or a presence differs that is not within the
        error of its decision.
    """
    errors: dict[str, dict[str, float]] = {}
    sets = {"real": (samples.descriptors, samples.medians), "made_up": made_up_descriptors(_MADE_UP)}
    for name, static in _GRAPHS.items():
        heads = load_heads(models_root.resolve(), static=static)
        errors[name] = {}
        for kind, (descriptors, medians) in sets.items():
            if len(descriptors):
                errors[name] |= _errors(packages[name], heads, descriptors, medians, kind)
    return errors


def _errors(package: Package, heads: Heads, descriptors: F64, medians: F64, kind: str) -> dict[str, float]:
    wanted, labels = _exact(heads, descriptors, medians)
    got = compute(
        package, {DESCRIPTORS: descriptors.astype(np.float32), MEDIANS: medians.astype(np.float32)}
    )  # fmt: skip
    off = float(np.abs(got[INTENSITIES] - wanted).max())
    if not off <= _LARGEST_ERROR[kind]:  # nor NaN
        limit = _LARGEST_ERROR[kind]
        raise ModelError(f"{package.path.name}: expected intensities to {limit}, they are off by {off:.3g}")
    differ = got[PRESENCES] != labels
    if (np.abs(got[DECISIONS][differ]) > _LARGEST_ERROR[kind]).any():
        raise ModelError(f"{package.path.name}: expected the presences of the exact heads, {differ.sum()} differ")
    return {f"intensity.{kind}": off, f"presences_differ.{kind}": float(differ.mean())}


def _exact(heads: Heads, descriptors: F64, medians: F64) -> tuple[F64, F64]:
    """As the AU stage: face by face, relative to the person's median then."""
    predictor = Predictor(heads)
    found = []
    for descriptor, median in zip(descriptors, medians, strict=True):
        predictor.set_median(median)
        found.append(predictor.predict(heads.products(descriptor)))
    intensities, presences = zip(*found, strict=True)
    return np.stack(intensities), np.stack(presences)
