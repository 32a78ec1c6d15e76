"""MTCNN's networks as packages, and what they find compared with what ONNX Runtime finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import Network
from auflow.backends.ort import OrtBackend
from auflow.errors import ModelError
from auflow.export.coreml.plan import Plan
from auflow.export.coreml.samples import Samples, made_up_images
from auflow.export.coreml.weights import weights_of_network
from auflow.models.coreml.interpreter import compute
from auflow.models.coreml.package import Package
from auflow.models.mtcnn import FOLDER, LAYOUTS, read_network
from auflow.models.onnx.graph import OnnxModel
from auflow.models.onnx.mtcnn import INPUT, OUTPUT, build_graph
from auflow.models.store import originals
from auflow.stages.detect.boxes import face_probability
from auflow.stages.detect.mtcnn import MtcnnDetector

__all__ = ["evaluate", "plans"]

_DESCRIPTIONS = {
    "PNet": "MTCNN, first network: faces proposed at every second pixel of one level of the pyramid",
    "RNet": "MTCNN, second network: proposals judged, patches of 24 px",
    "ONet": "MTCNN, third network: faces judged, patches of 48 px",
}
# Half precision moves probabilities by 0.01 at most on the clips that were tried; thresholds are at 0.6 and 0.7.
_LARGEST_PROBABILITY_ERROR = 0.02
_LEAST_OVERLAP = 0.8  # of a face's box with that of the exact path: intersection over union


def plans(models_root: Path) -> list[Plan]:
    """The three networks.

    Raises
    ------
    ModelError
    """
    out = []
    for name, layout in LAYOUTS.items():
        layers = read_network(originals(models_root) / FOLDER / f"{name}.dat", layout)
        graph, file_name = build_graph(layers, name), f"mtcnn_{name.lower()}.mlpackage"
        out.append(Plan(graph, file_name, _DESCRIPTIONS[name], weights_of_network(layers, name)))
    return out


def evaluate(packages: Mapping[str, Package], models_root: Path, samples: Samples) -> dict[str, dict[str, float]]:
    """Of each network the largest errors: of raw outputs, of the face's probability, and of the boxes in the end.

    Raises
    ------
    ModelError
        A probability is off by more than 0.02, or a face of the pictures is lost, new or elsewhere.
    """
    exact = _Recorder()
    detector = MtcnnDetector(models_root, exact)
    faces = [detector.detect(picture) for picture in samples.pictures]
    errors: dict[str, dict[str, float]] = {name: {} for name in LAYOUTS}
    for name, own in errors.items():
        network = exact.networks[name]
        for kind, images in (("real", list(network.seen)), ("made_up", made_up_images(name))):
            if images:
                pairs = [(network.run(each)[0].copy(), _outputs(packages[name], each)) for each in images]
                own |= _differences(kind, pairs)
        off = max(error for what, error in own.items() if what.startswith("probability"))
        if not off <= _LARGEST_PROBABILITY_ERROR:  # nor NaN
            raise ModelError(f"{name}: expected probabilities as ONNX Runtime's to {_LARGEST_PROBABILITY_ERROR}, "
                             f"they are off by {off:.3g}")  # fmt: skip
    again = MtcnnDetector(models_root, _Interpreted(packages))
    boxes = [(wanted, again.detect(picture)) for wanted, picture in zip(faces, samples.pictures, strict=True)]
    if boxes:
        of_boxes = _of_boxes(boxes)
        errors = {name: {**own, **of_boxes} for name, own in errors.items()}
    return errors


def _outputs(package: Package, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return compute(package, {INPUT: images})[OUTPUT]


def _differences(kind: str, pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> dict[str, float]:
    raw, probability = 0.0, 0.0
    for wanted, got in pairs:
        raw = np.maximum(raw, np.abs(got - wanted).max())
        rows = [np.moveaxis(each, 1, -1).reshape(-1, each.shape[1]) for each in (wanted, got)]
        wanted_face, got_face = (face_probability(each) for each in rows)
        probability = np.maximum(probability, np.abs(wanted_face - got_face).max())
    return {f"raw.{kind}": float(raw), f"probability.{kind}": float(probability)}


def _of_boxes(pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> dict[str, float]:
    """The least overlap of a face with that of the exact path, and the largest difference of a box in pixels."""
    least, largest = 1.0, 0.0
    for wanted, got in pairs:
        if len(wanted) != len(got):
            raise ModelError(f"MTCNN: expected {len(wanted)} faces in a picture as ONNX Runtime finds, got {len(got)}")
        for box in wanted:
            overlaps = [_overlap(box, other) for other in got]
            best = int(np.argmax(overlaps))
            least = min(least, overlaps[best])
            largest = max(largest, float(np.abs(box[:4] - got[best, :4]).max()))
    if least < _LEAST_OVERLAP:
        raise ModelError(f"MTCNN: expected a face where ONNX Runtime finds it, the boxes overlap by {least:.2f} only")
    return {"boxes.least_overlap": least, "boxes.px": largest}


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    sides = np.minimum(a[:2] + a[2:4], b[:2] + b[2:4]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / (float(a[2] * a[3] + b[2] * b[3]) - common)


class _Recorder:
    """ONNX Runtime, whose networks keep what they have seen."""

    name, batch, shares_maps = "ort-cpu", 64, False

    def __init__(self) -> None:
        self._backend = OrtBackend("ort-cpu")
        self.networks: dict[str, _Recorded] = {}

    def load(self, model: OnnxModel) -> _Recorded:
        self.networks[model.name] = _Recorded(self._backend.load(model))
        return self.networks[model.name]


class _Recorded:
    def __init__(self, network: Network) -> None:
        self._network = network
        self.seen: list[NDArray[Any]] = []

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        self.seen.append(inputs[0].copy())
        return self._network.run(*inputs)


class _Interpreted:
    """The saved programs as a backend."""

    name, batch, shares_maps = "interpreted", 64, False

    def __init__(self, packages: Mapping[str, Package]) -> None:
        self._packages = packages

    def load(self, model: OnnxModel) -> _InterpretedNetwork:
        return _InterpretedNetwork(self._packages[model.name])


class _InterpretedNetwork:
    def __init__(self, package: Package) -> None:
        self._package = package

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return (_outputs(self._package, inputs[0]),)
