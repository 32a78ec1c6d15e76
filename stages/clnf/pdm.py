"""The point distribution model in the form the kernels want, and the fit of it to landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.models.types import PDM
from auflow.stages.clnf import fit_kernels as kernels
from auflow.stages.clnf.gauss_newton_kernels import calc_params as fit_to_landmarks
from auflow.stages.clnf.lanes import aligned, padded

__all__ = ["FittingPDM", "PackedPDM", "StepMemory", "calc_params", "pack", "step_memory"]

Floats = NDArray[np.float32]
_UPRIGHT = np.zeros(3, np.float32)
# mean (3N), modes (m, 3N), eigenvalues (m), gram (6 m, M), sums (3, m): as `gauss_newton_kernels.gauss_newton` wants
PackedPDM = tuple[Floats, Floats, Floats, Floats, Floats]
StepMemory = tuple[Floats, Floats, Floats, Floats, Floats, Floats]


@dataclass(frozen=True)
class FittingPDM:
    """A PDM as float32 arrays, the components in both orders."""

    mean: Floats  # (3n,) planar, mm
    components: Floats  # (3n, m)
    modes: Floats  # (m, 3n): the same, one component a row
    eigenvalues: Floats  # (m,)

    @classmethod
    def from_model(cls, pdm: PDM, points: NDArray[np.integer] | None = None) -> FittingPDM:
        """The model, or the model of some of its points."""
        n = pdm.mean_shape.size // 3
        rows = np.arange(3 * n) if points is None else np.concatenate([points, points + n, points + 2 * n])
        components = np.ascontiguousarray(pdm.principal_components[rows], np.float32)
        return cls(
            np.ascontiguousarray(pdm.mean_shape[rows], np.float32),
            components,
            np.ascontiguousarray(components.T),
            np.ascontiguousarray(pdm.eigenvalues, np.float32),
        )

    @property
    def point_count(self) -> int:
        """n."""
        return self.mean.size // 3

    @property
    def mode_count(self) -> int:
        """m."""
        return self.eigenvalues.size

    def subset(self, keep: NDArray[np.bool_]) -> FittingPDM:
        """The model of the points that `keep` (n,) marks; made once for each choice."""
        key = keep.tobytes()
        if key not in self._subsets:
            points = np.flatnonzero(keep)
            rows = np.concatenate([points, points + self.point_count, points + 2 * self.point_count])
            self._subsets[key] = FittingPDM(
                self.mean[rows],
                np.ascontiguousarray(self.components[rows]),
                np.ascontiguousarray(self.modes[:, rows]),
                self.eigenvalues,
            )
        return self._subsets[key]

    @cached_property
    def _subsets(self) -> dict[bytes, FittingPDM]:
        return {}

    @cached_property
    def packed(self) -> PackedPDM:
        """The model in lanes, all points of weight 1."""
        return pack(self, np.ones(self.point_count, np.float32))

    @cached_property
    def _calc_memory(self) -> tuple[Floats, Floats, StepMemory]:
        weights = aligned(padded(self.point_count), np.float32)
        weights[: self.point_count] = 1
        return weights, aligned(2 * weights.size, np.float32), step_memory(self.point_count, self.mode_count)

    def shape_mm(self, params_local: Floats) -> Floats:
        """The 3-D shape (3n,) of the local parameters."""
        out = np.empty_like(self.mean)
        kernels.shape_3d(self.mean, self.modes, params_local, out)
        return out

    def landmarks_px(self, params_global: Floats, params_local: Floats) -> Floats:
        """The image points (2n,) of both parameter sets."""
        out = np.empty(2 * self.point_count, np.float32)
        kernels.landmarks(self.mean, self.modes, params_global, params_local, out)
        return out

    def params_from_box(self, box: Floats, rotation_rad: Floats) -> Floats:
        """Global parameters (6,) that fit the mean shape, turned by `rotation_rad` (3,), into box [x, y, w, h]."""
        turned = np.empty(2 * self.point_count, np.float32)
        kernels.project(self.mean, np.array([1, *rotation_rad, 0, 0], np.float32), turned)
        x, y = turned.reshape(2, -1)
        width, height = x.max() - x.min(), y.max() - y.min()
        scale = (box[2] / width + box[3] / height) / np.float32(2)
        tx = box[0] + box[2] / 2 - scale * (x.min() + x.max()) / 2
        ty = box[1] + box[3] / 2 - scale * (y.min() + y.max()) / 2
        return np.array([scale, *rotation_rad, tx, ty], np.float32)


def calc_params(pdm: FittingPDM, landmarks_px: Floats, rotation_rad: Floats | None = None) -> tuple[Floats, Floats]:
    """Pose and shape parameters of given landmarks: regularised Gauss-Newton from the mean shape.

    Parameters
    ----------
    pdm : FittingPDM of n points
    landmarks_px : (2n,) float32, planar; a point with x == 0 counts as invisible
    rotation_rad : (3,) float32, the rotation to start from; default none

    Returns
    -------
    params_global (6,) float32, params_local (m,) float32

    Raises
    ------
    ShapeError
        When the landmarks do not fit the model.

    References
    ----------
    OpenFace 2.2, PDM::CalcParams.
    """
    n = pdm.point_count
    if landmarks_px.shape != (2 * n,) or landmarks_px.dtype != np.float32:
        raise ShapeError(f"landmarks_px: expected ({2 * n},) float32, got {landmarks_px.shape} {landmarks_px.dtype}")
    points = landmarks_px.reshape(2, n)
    if not landmarks_px[:n].all():
        visible = landmarks_px[:n] != 0
        pdm, points = pdm.subset(visible), points[:, visible]
        n = pdm.point_count
    weights, places, memory = pdm._calc_memory
    places.reshape(2, -1)[:, :n] = points
    params_global = np.empty(6, np.float32)
    params_local = np.empty(pdm.mode_count, np.float32)
    start = _UPRIGHT if rotation_rad is None else rotation_rad
    fit_to_landmarks(pdm.packed, weights, places, n, start, memory, params_global, params_local)
    return params_global, params_local


def pack(pdm: FittingPDM, weights: Floats) -> PackedPDM:
    """The model with its points in whole groups of lanes, and what its weighted normal equations are made of.

    weights (n,): how much each point counts, in both coordinates.
    """
    n, m, lanes = pdm.point_count, pdm.mode_count, padded(pdm.point_count)
    mean, modes = aligned(3 * lanes, np.float32), aligned((m, 3 * lanes), np.float32)
    mean.reshape(3, lanes)[:, :n] = pdm.mean.reshape(3, n)
    modes.reshape(m, 3, lanes)[:, :, :n] = pdm.modes.reshape(m, 3, n)
    axes = pdm.components.reshape(3, n, m).astype(np.float64)
    weighted = axes * weights[None, :, None]
    gram = aligned((6, m, padded(m)), np.float32)
    for out, (a, b) in zip(gram, ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)), strict=True):
        product = axes[a].T @ weighted[b]
        out[:, :m] = product if a == b else product + product.T
    sums = np.ascontiguousarray(weighted.sum(axis=1), np.float32)
    return mean, modes, pdm.eigenvalues, gram.reshape(6 * m, -1), sums


def step_memory(points: int, modes: int) -> StepMemory:
    """What one Gauss-Newton step of so many points and modes works in: R, A, M, U, H and the solution."""
    return (
        np.empty((3, 3), np.float32),
        np.empty((2, 4, 3), np.float32),
        np.empty(18, np.float32),
        aligned((5, 3 * padded(points)), np.float32),
        aligned((modes + 6, padded(modes + 7)), np.float32),
        aligned(modes + 6, np.float32),
    )
