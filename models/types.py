"""The models of the CLNF path as plain frozen records of read-only, C-contiguous arrays.

Landmark vectors are planar (all x, then all y, then all z); angles of views are in degrees, as the files have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PDM",
    "CcnfPatchExpert",
    "CcnfPatches",
    "ClnfModels",
    "CnnLayer",
    "Convolution",
    "FullyConnected",
    "LandmarkModel",
    "MaxPooling",
    "Part",
    "PiecewiseAffineWarp",
    "Relu",
    "Validator",
    "ValidatorView",
]

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I32: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PDM:
    """Point distribution model of n points with m modes; millimetres."""

    mean_shape: F64  # (3n,) planar
    principal_components: F64  # (3n, m)
    eigenvalues: F64  # (m,) variances of the modes

    @property
    def points(self) -> int:
        """Number of landmarks n."""
        return self.mean_shape.size // 3

    @property
    def modes(self) -> int:
        """Number of non-rigid parameters m."""
        return self.eigenvalues.size


@dataclass(frozen=True, slots=True)
class CcnfPatchExpert:
    """One landmark's expert at one scale and view: k neurons on h x w windows, b edge features."""

    weights: F32  # (k, h, w) as stored, row-major
    norm_weights: F64  # (k,)
    biases: F64  # (k,)
    alphas: F64  # (k,)
    betas: F64  # (b,); b is 0 for the eyes
    confidence: float


@dataclass(frozen=True, slots=True)
class CcnfPatches:
    """All experts of one scale: v views of n points."""

    scale: float
    centres_deg: F64  # (v, 3) pitch, yaw, roll
    visibilities: NDArray[np.bool_]  # (v, n)
    sigma_components: dict[int, F32]  # window side w -> (b, w*w, w*w); b is 0 for the eyes
    experts: tuple[tuple[CcnfPatchExpert | None, ...], ...]  # [view][point]; None where the point is not visible


@dataclass(frozen=True, slots=True)
class LandmarkModel:
    """A shape model and its patch experts, one entry per scale in the file's order."""

    pdm: PDM
    patches: tuple[CcnfPatches, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A finer model of a part of the face (inner face, one eye)."""

    name: str
    mapping: I32  # (k, 2): landmark of the main model, landmark of this part
    model: LandmarkModel


@dataclass(frozen=True, slots=True)
class Convolution:
    """Valid convolution layer; weights as stored in the file."""

    weights: F32  # (kernels, inputs, h, w)
    biases: F32  # (kernels,)


@dataclass(frozen=True, slots=True)
class MaxPooling:
    """Maximum over size x size windows, `stride` apart. The validator's file holds neither: both are 2."""

    size: int = 2
    stride: int = 2


@dataclass(frozen=True, slots=True)
class FullyConnected:
    """`inputs @ weights + biases`."""

    weights: F32  # (inputs, outputs)
    biases: F32  # (outputs,)


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""


CnnLayer: TypeAlias = Convolution | MaxPooling | FullyConnected | Relu


@dataclass(frozen=True, slots=True)
class PiecewiseAffineWarp:
    """From a shape in the image to the upright reference face of one view, h x w pixels, t triangles.

    The reference pixel in row r and column c stands at (x, y) = (min_x + c, min_y + r). In its triangle with the
    corners (i, j, k) = `triangles[triangle_map[r, c]]` the barycentric weights are
    `a = alphas[t] @ (1, x, y)` and `b = betas[t] @ (1, x, y)`, and it is fetched from
    `p_i + a * (p_j - p_i) + b * (p_k - p_i)` of the shape p in the image.
    """

    min_x: float
    min_y: float
    destination_landmarks: F64  # (2n,) planar, reference pixels
    triangles: I32  # (t, 3) landmark indices
    triangle_map: I32  # (h, w) triangle of each pixel, -1 outside
    pixel_mask: NDArray[np.bool_]  # (h, w) true inside
    alphas: F64  # (t, 3)
    betas: F64  # (t, 3)

    @property
    def pixels(self) -> int:
        """Number of pixels inside the mask."""
        return int(np.count_nonzero(self.pixel_mask))


@dataclass(frozen=True, slots=True)
class ValidatorView:
    """Judge of a fit for one head orientation."""

    orientation_deg: F64  # (3,) pitch, yaw, roll
    mean: F64  # (p,) over the pixels inside the mask
    std: F64  # (p,)
    layers: tuple[CnnLayer, ...]
    warp: PiecewiseAffineWarp


@dataclass(frozen=True, slots=True)
class Validator:
    """One judge per view, in the file's order (its own, other than that of the patch experts)."""

    views: tuple[ValidatorView, ...]


@dataclass(frozen=True, slots=True)
class ClnfModels:
    """Everything that a CLNF fit needs."""

    main: LandmarkModel
    parts: tuple[Part, ...]  # in the menu's order: inner, left_eye_28, right_eye_28
    validator: Validator
    triangulations: tuple[I32, ...]  # (t, 3) landmark indices per view, in the validator's order of views
