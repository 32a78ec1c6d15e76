"""CEN experts taught here, of the real layout: what stands in for OpenFace's weights where those cannot be had.

Each expert learns from known faces to answer with a bell around its landmark, by Adam on the cross entropy. They are
no replacement for OpenFace's, which saw thousands of faces; but their numbers are spread as those of trained networks
are, which random ones are not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from auflow.models.ceclm import CeclmModels, CenModel, EarlyTermination
from auflow.models.cen import CenPatches, CenPatchExpert, DenseLayer
from auflow.models.types import ClnfModels
from auflow.stages.clnf import cen_kernels, fit_kernels, patch_kernels
from auflow.stages.clnf.cen_accuracy import KnownFace
from auflow.stages.clnf.pdm import FittingPDM

__all__ = ["WIDTHS", "teach"]

Floats = NDArray[np.float32]

WIDTHS = {
    0.25: (122, 300, 100, 50, 1),
    0.35: (122, 300, 100, 50, 1),
    0.50: (122, 500, 200, 100, 1),
    1.00: (122, 500, 200, 100, 1),
}
_REACH_PX = 7  # of the places around a landmark that are shown, in the reference frame
_BELL_PX = 1.0
_PLACES = 24  # of them for each face and point in a lesson
_BATCH = 128
_RATE, _BETA1, _BETA2, _TINY = 1e-3, 0.9, 0.99, 1e-8


def teach(
    models: ClnfModels,
    faces: Sequence[KnownFace],
    *,
    steps: int,
    layouts: Mapping[float, Sequence[int]] = WIDTHS,
    seed: int = 0,
) -> CeclmModels:
    """A CE-CLM whose experts were taught from these faces, one view, an expert for each point.

    `layouts`: of each scale the inputs and outputs of the layers.
    """
    rng = np.random.default_rng(seed)
    pdm = FittingPDM.from_model(models.main.pdm)
    n = pdm.point_count
    scales = []
    for scale, widths in layouts.items():
        inputs, wanted = _lessons(pdm, faces, scale, rng)
        layers = _trained(inputs, wanted, widths, steps, rng)
        experts = tuple(_expert(layers, point) for point in range(n))
        scales.append(
            CenPatches(
                scale, np.zeros((1, 3)), np.ones((1, n), np.bool_), np.arange(n, dtype=np.int32),
                np.zeros(1, np.int32), (experts,),
            )
        )  # fmt: skip
    rule = EarlyTermination(np.ones(1), np.zeros(1), np.full(1, -1.5))
    eyes = tuple(part for part in models.parts if "eye" in part.name)
    return CeclmModels(CenModel(models.main.pdm, tuple(scales), rule), eyes, models.validator, ())


def _lessons(
    pdm: FittingPDM, faces: Sequence[KnownFace], scale: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Inputs (n, k, 122), pixels row by row, and wanted answers (n, k)."""
    n, window = pdm.point_count, 2 * _REACH_PX + 1
    side = window + patch_kernels.SUPPORT - 1
    served, mirrored = np.arange(n), np.zeros(n, np.bool_)
    steps = np.empty((2, side), np.int32)
    memory = (np.empty((side, side), np.float32), *np.empty((2, side * side), np.float32))
    inputs, wanted = [], []
    for face in faces:
        # Somewhat turned and of another size, as the first guess of a fit is.
        seen = face.params_global * (1 + np.array([rng.uniform(-0.04, 0.04), 0, 0, 0, 0, 0], np.float32))
        seen[3] += np.float32(rng.uniform(-0.06, 0.06))
        turned, shape = pdm.landmarks_px(seen, face.params_local), pdm.shape_mm(face.params_local)
        to_ref, to_img = np.empty((2, 2), np.float32), np.empty((2, 2), np.float32)
        fit_kernels.similarity(turned, shape[: 2 * n] * np.float32(scale), n, to_ref, to_img)
        turn = to_img[0, 0], -to_img[0, 1]
        patch_kernels.grid_steps(*turn, steps)
        points = pdm.landmarks_px(face.params_global, face.params_local)
        # Most places near the landmark: far ones look alike.
        offsets = np.clip(np.rint(rng.normal(0, 2.5, (_PLACES, 2))), -_REACH_PX, _REACH_PX).astype(np.int64)
        places = (offsets[:, 1] + _REACH_PX) * side + offsets[:, 0] + _REACH_PX
        out = np.empty((n * _PLACES, 1 + patch_kernels.TAPS), np.float32)
        cen_kernels.view_inputs(face.gray, turn, points, served, mirrored, steps, places, memory, out)
        bell = np.exp(-np.square(offsets).sum(axis=1) / (2 * _BELL_PX**2))
        inputs.append(out.reshape(n, _PLACES, -1))
        wanted.append(np.tile(bell, (n, 1)))
    return np.concatenate(inputs, axis=1), np.concatenate(wanted, axis=1).astype(np.float32)


def _trained(
    inputs: Floats, wanted: Floats, widths: Sequence[int], steps: int, rng: np.random.Generator
) -> list[tuple[Floats, Floats]]:
    """Weights (n, i, o) and biases (n, 1, o) of each layer, of all experts at once."""
    n = len(inputs)
    layers = [
        (rng.normal(0, np.sqrt(2 / max(i, 1)), (n, i, o)).astype(np.float32), np.zeros((n, 1, o), np.float32))
        for i, o in itertools.pairwise(widths)
    ]
    layers[0][0][:] *= np.float32(np.sqrt(widths[0] / 2))  # its inputs are of length 1, not numbers of about 1
    moments = [[np.zeros_like(each), np.zeros_like(each)] for pair in layers for each in pair]
    for step in range(1, steps + 1):
        chosen = rng.choice(inputs.shape[1], _BATCH)
        gradients = _gradients(layers, inputs[:, chosen], wanted[:, chosen])
        rate = _RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        for values, gradient, (first, second) in zip(
            [each for pair in layers for each in pair], gradients, moments, strict=True
        ):
            first += (1 - _BETA1) * (gradient - first)
            second += (1 - _BETA2) * (np.square(gradient) - second)
            corrected = np.sqrt(second / np.float32(1 - _BETA2**step)) + np.float32(_TINY)
            values -= np.float32(rate / (1 - _BETA1**step)) * first / corrected
    return layers


def _gradients(layers: list[tuple[Floats, Floats]], inputs: Floats, wanted: Floats) -> list[Floats]:
    """Of the cross entropy, for weights and biases in turn."""
    values = [inputs]
    for index, (weights, biases) in enumerate(layers):
        total = values[-1] @ weights + biases
        values.append(total if index == len(layers) - 1 else np.maximum(total, 0))
    error: Floats = ((1 / (1 + np.exp(-values.pop())) - wanted[:, :, None]) / np.float32(_BATCH)).astype(np.float32)
    found: list[Floats] = []
    for (weights, _), taken in zip(reversed(layers), reversed(values), strict=True):
        found = [taken.transpose(0, 2, 1) @ error, error.sum(axis=1, keepdims=True), *found]
        error = (error @ weights.transpose(0, 2, 1)) * (taken > 0)
    return found


def _expert(layers: list[tuple[Floats, Floats]], point: int) -> CenPatchExpert:
    """One of them as it lies in a file: its first layer takes pixels column by column."""
    by_column = np.arange(patch_kernels.TAPS).reshape(patch_kernels.SUPPORT, -1).T.reshape(-1)
    dense = []
    for index, (weights, biases) in enumerate(layers):
        own = weights[point]
        own = own[np.concatenate([[0], 1 + by_column])] if index == 0 else own
        last = index == len(layers) - 1
        dense.append(DenseLayer(np.ascontiguousarray(own), biases[point, 0].copy(), "sigmoid" if last else "relu"))
    return CenPatchExpert(patch_kernels.SUPPORT, patch_kernels.SUPPORT, tuple(dense), 1.0)
