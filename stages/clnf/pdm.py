"""The point distribution model in the form the kernels want, and the fit of it to landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.models.types import PDM
from auflow.stages.clnf import fit_kernels as kernels

__all__ = ["FittingPDM", "calc_params"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
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
        """The model of the points that `keep` (n,) marks."""
        rows = np.tile(keep, 3)
        return FittingPDM(
            self.mean[rows],
            np.ascontiguousarray(self.components[rows]),
            np.ascontiguousarray(self.modes[:, rows]),
            self.eigenvalues,
        )

    def shape_mm(self, params_local: Floats) -> Floats:
        """The 3-D shape (3n,) of the local parameters."""
        out = np.empty_like(self.mean)
        kernels.shape_3d(self.mean, self.modes, params_local, out)
        return out

    def landmarks_px(self, params_global: Floats, params_local: Floats) -> Floats:
        """The image points (2n,) of both parameter sets."""
        out = np.empty(2 * self.point_count, np.float32)
        kernels.project(self.shape_mm(params_local), params_global, out)
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
    visible = landmarks_px[:n] != 0
    if not visible.all():
        pdm, landmarks_px = pdm.subset(visible), landmarks_px[np.tile(visible, 2)]
    params_global = np.empty(6, np.float32)
    params_local = np.empty(pdm.mode_count, np.float32)
    start = np.zeros(3, np.float32) if rotation_rad is None else rotation_rad
    kernels.calc_params(
        pdm.mean, pdm.components, pdm.modes, pdm.eigenvalues, landmarks_px, start, params_global, params_local
    )
    return params_global, params_local
