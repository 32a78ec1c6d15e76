"""How far a graph is from the path that auflow itself computes with, on pictures that are made up but like faces'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import Network
from auflow.export.exact_mtcnn import forward
from auflow.models.au_heads import PREDICTORS, AuHeads
from auflow.models.cen import CenPatches
from auflow.models.mtcnn import Layer
from auflow.models.onnx.mtcnn import SIDES_PX
from auflow.models.pdm import read_pdm
from auflow.models.store import originals
from auflow.models.types import CcnfPatches
from auflow.stages.au.fhog import fhog
from auflow.stages.au.heads import Heads, load_describer
from auflow.stages.clnf.areas import cut_areas
from auflow.stages.clnf.cen_experts import CenPatchExperts
from auflow.stages.clnf.patch_experts import PatchExperts
from auflow.stages.clnf.pdm import FittingPDM

__all__ = ["Deviation", "check_ccnf", "check_cen", "check_fhog", "check_heads", "check_mtcnn", "picture"]

_MAP_SIZES = ((12, 12), (21, 34), (96, 71))  # of PNet's images
_PATCHES = (1, 7)
_FACES = 24
# Head rotations and sizes of a face in its picture, as (scale, radians) of the reference frame in the image.
_TURNS = ((0.4, 0.0), (1.0, 0.35), (2.6, -0.2))


@dataclass(frozen=True, slots=True)
class Deviation:
    """The largest difference that was seen."""

    largest: float
    limit: float  # above it the graph is not written
    what: str  # of which values, in which unit, against what, on what
    flips: float | None = None  # share of decisions that came out otherwise; None: there are none


def picture(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Blurred noise (h, w) float32, 0 to 255, with the contrast of a face."""
    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3.0)
    found: NDArray[np.float32] = np.clip(128 + 45 * blurred / blurred.std(), 0, 255).astype(np.float32)
    return found


def check_mtcnn(network: Network, layers: Sequence[Layer], name: str) -> Deviation:
    """Of one of MTCNN's networks from its layers in NumPy and float64."""
    rng = np.random.default_rng(3)
    sides = SIDES_PX.get(name)
    shapes = [(2, 3, *size) for size in _MAP_SIZES] if sides is None else [(n, 3, sides, sides) for n in _PATCHES]
    worst = 0.0
    for shape in shapes:
        images = rng.uniform(-1, 1, shape).astype(np.float32)
        expected = forward(layers, images, sliding=sides is None)
        worst = max(worst, float(np.abs(network.run(images)[0] - expected).max()))
    return Deviation(worst, 1e-4, "raw values of the last layer, against NumPy in float64, on noise of several sizes")


def check_ccnf(network: Network, patches: CcnfPatches, window: int) -> Deviation:
    """Of the response maps of every view from those of the kernels, several faces of other views in one batch."""
    exact, image = PatchExperts(patches), picture(320, 320, 5)
    rng = np.random.default_rng(6)
    points = len(patches.experts[0])
    areas, views, expected = [], [], []
    for view in range(len(patches.experts)):
        for scale, angle in _TURNS:
            a, b = scale * np.cos(angle), scale * np.sin(angle)
            to_img = np.array([[a, -b], [b, a]], np.float32)
            places = rng.uniform(40, 280, 2 * points).astype(np.float32)
            areas.append(cut_areas(image, places, to_img, exact.visible[view], window))
            views.append(view)
            expected.append(exact.response_maps(image, places, to_img, view, window))
    (maps,) = network.run(np.stack(areas), np.array(views, np.int64))
    worst = _of_maps(maps, np.stack(expected))
    return Deviation(worst, 1e-4, "each response map, of its largest value, against the kernels in Numba, all views")


def check_cen(network: Network, patches: CenPatches, view: int, window: int) -> Deviation:
    """Of CE-CLM's response maps in one view from those of our own products, several faces in one batch."""
    exact, image = CenPatchExperts(patches), picture(320, 320, 5)
    rng = np.random.default_rng(6)
    seen = exact.visible[view]
    areas, expected = [], []
    for scale, angle in _TURNS:
        a, b = scale * np.cos(angle), scale * np.sin(angle)
        to_img = np.array([[a, -b], [b, a]], np.float32)
        places = rng.uniform(40, 280, 2 * seen.size).astype(np.float32)
        areas.append(exact.areas(image, places, to_img, view, window))
        expected.append(exact.response_maps(image, places, to_img, view, window)[seen])
    (maps,) = network.run(np.stack(areas))
    worst = _of_maps(maps, np.stack(expected))
    return Deviation(worst, 1e-3, "each response map, of its largest value, against our own products in float32")


def _of_maps(maps: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference in any map, relative to the map's own largest value: that is what a mean shift sees."""
    largest = expected.max(axis=(-2, -1))
    off = np.abs(maps - expected).max(axis=(-2, -1))
    return float((off / np.where(largest > 0, largest, 1)).max())


def check_fhog(network: Network) -> Deviation:
    """Of descriptors from those of the kernel, of made-up faces, noise, and a black picture."""
    rng = np.random.default_rng(7)
    drawn = [np.stack([picture(112, 112, 3 * n + c) for c in range(3)], axis=-1) for n in range(6)]
    noise = rng.integers(0, 256, (2, 112, 112, 3))
    faces = np.concatenate([np.stack(drawn), noise, np.zeros((1, 112, 112, 3))]).astype(np.uint8)
    (found,) = network.run(faces)
    expected = np.stack([fhog(face).reshape(-1) for face in faces])
    worst = float(np.abs(found - expected).max())
    return Deviation(worst, 2e-6, "descriptors (up to 0.85), against the kernel in Numba, on made-up faces and noise")


def check_heads(network: Network, heads: AuHeads, models_root: Path) -> Deviation:
    """Of intensities from the heads in float64, and how many presences come out otherwise."""
    exact, describer = Heads(heads), load_describer(models_root.resolve())
    mean_face_px = _mean_face_px(models_root)
    rng = np.random.default_rng(8)
    gray = np.stack([picture(240, 240, seed) for seed in (1, 2, 3)], axis=-1)
    bgr = np.ascontiguousarray(gray.astype(np.uint8))
    descriptors = np.stack([describer.describe(bgr, _face(mean_face_px, rng))[0] for _ in range(_FACES)])
    median = np.median(descriptors, axis=0)
    intensities, presences, _ = network.run(
        descriptors.astype(np.float32), np.tile(median.astype(np.float32), (_FACES, 1))
    )
    of_median = np.where(np.arange(exact.count) < exact.dynamic.stop, exact.weights @ median, 0.0)
    expected, labels = exact.predict(exact.products_of(descriptors), of_median)
    worst = float(np.abs(intensities - expected).max())
    return Deviation(
        worst, 1e-3, "intensities (0 to 5), against NumPy in float64, on descriptors of made-up faces",
        flips=float(np.mean(presences != labels)),
    )  # fmt: skip


def _mean_face_px(models_root: Path) -> NDArray[np.float32]:
    """Landmarks (136,) of the mean shape in the middle of a picture of 240 x 240."""
    pdm = FittingPDM.from_model(read_pdm(originals(models_root) / PREDICTORS / "In-the-wild_aligned_PDM_68.txt"))
    params_global = pdm.params_from_box(np.array([50, 50, 140, 140], np.float32), np.zeros(3, np.float32))
    return pdm.landmarks_px(params_global, np.zeros(pdm.mode_count, np.float32))


def _face(mean_face_px: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Landmarks (136,) of a face in the middle of the picture, each a little elsewhere."""
    return (mean_face_px + rng.normal(0, 1.5, mean_face_px.size)).astype(np.float32)
