"""Reader of CEN patch experts (`cen_patches_*.dat`): small dense networks on 11 x 11 patches.

A file holds one half of a symmetrical face: of the frontal view one point of each pair, of the side views those of
one side. The others point to their mirror image: `CenPatches.source`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from auflow.models.arrays import ArrayReader, frozen
from auflow.models.types import F32, F64, I32

__all__ = ["Activation", "CenPatchExpert", "CenPatches", "DenseLayer", "read_cen_patches"]

Activation = Literal["sigmoid", "relu"]

_EXPERT_TAG = 6
_ACTIVATIONS: dict[int, Activation] = {0: "sigmoid", 2: "relu"}
_MAX_VIEWS = 64
_MAX_POINTS = 1024
_MAX_SIDE = 64
_MAX_LAYERS = 16
_MAX_UNITS = 4096


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """`activation(inputs @ weights + biases)`."""

    weights: F32  # (inputs, outputs); a view of the mapped file, maybe transposed
    biases: F32  # (outputs,)
    activation: Activation


@dataclass(frozen=True, slots=True)
class CenPatchExpert:
    """One slot of the file: a landmark's expert at one scale and view, without layers where none is stored.

    The first layer's inputs are a 1, then the contrast-normalised pixels column by column.
    """

    width: int  # pixels of the patch
    height: int
    layers: tuple[DenseLayer, ...]
    confidence: float


@dataclass(frozen=True, slots=True)
class CenPatches:
    """All experts of one scale: v views of n points."""

    scale: float
    centres_deg: F64  # (v, 3) pitch, yaw, roll
    visibilities: NDArray[np.bool_]  # (v, n)
    mirror_points: I32  # (n,) the landmark on the other side of the face
    mirror_views: I32  # (v,) the view from the other side
    experts: tuple[tuple[CenPatchExpert, ...], ...]  # [view][point]

    def source(self, view: int, point: int) -> tuple[int, int, bool]:
        """(view, point, mirrored) of the stored expert that serves a visible point.

        Where `mirrored`, the patch is flipped left to right before it and the response after it.
        """
        if self.experts[view][point].layers:
            return view, point, False
        return int(self.mirror_views[view]), int(self.mirror_points[point]), True


def read_cen_patches(path: Path) -> CenPatches:
    """The patch experts of one scale; the file is mapped and its weights are views of it.

    Returns
    -------
    CenPatches: float32 weights and biases, read-only

    Raises
    ------
    ModelError
        where the file is cut short, goes on after its end, or holds another layout
    """
    reader = ArrayReader(path, mapped=True)
    scale = reader.f64("scale")
    if not 0 < scale <= 16:
        raise reader.fail(f"scale: expected above 0 and at most 16, got {scale}")
    views = reader.i32("number of views", low=1, high=_MAX_VIEWS)
    centres = frozen(np.stack([reader.mat_f64(f"centre of view {v}", shape=(3, 1))[:, 0] for v in range(views)]))
    visibilities = _read_visibilities(reader, views)
    points = visibilities.shape[1]
    mirror_points = _read_indices(reader, "mirror indices", points, points)
    mirror_views = _read_indices(reader, "mirror views", views, views)
    experts = tuple(tuple(_read_expert(reader, f"view {v}, point {p}") for p in range(points)) for v in range(views))
    reader.end()
    patches = CenPatches(scale, centres, visibilities, mirror_points, mirror_views, experts)
    _check_sources(reader, patches)
    return patches


def _read_visibilities(reader: ArrayReader, views: int) -> NDArray[np.bool_]:
    rows = [reader.mat_i32(f"visibilities of view {v}", shape=(None, 1))[:, 0] for v in range(views)]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or not 1 <= min(sizes) <= _MAX_POINTS:
        raise reader.fail(
            f"visibilities: expected the same number of points (1 to {_MAX_POINTS}) in each view, got {sorted(sizes)}"
        )
    stacked = np.stack(rows)
    if not np.isin(stacked, (0, 1)).all():
        raise reader.fail(f"visibilities: expected 0 or 1, got {stacked.min()} to {stacked.max()}")
    return frozen(stacked.astype(np.bool_))


def _read_indices(reader: ArrayReader, what: str, count: int, limit: int) -> NDArray[np.int32]:
    values = reader.mat_i32(what, shape=(1, count)).reshape(-1)
    if values.min() < 0 or values.max() >= limit:
        raise reader.fail(f"{what}: expected 0 to {limit - 1}, got {values.min()} to {values.max()}")
    return values


def _read_expert(reader: ArrayReader, where: str) -> CenPatchExpert:
    reader.i32(f"{where}: expert tag", expect=_EXPERT_TAG)
    width = reader.i32(f"{where}: width", low=0, high=_MAX_SIDE)
    height = reader.i32(f"{where}: height", low=0, high=_MAX_SIDE)
    count = reader.i32(f"{where}: number of layers", low=0, high=_MAX_LAYERS)
    layers: list[DenseLayer] = []
    units = width * height + 1
    for index in range(count):
        layers.append(_read_layer(reader, units, f"{where}, layer {index}"))
        units = layers[-1].biases.size
    if layers and units != 1:
        raise reader.fail(f"{where}: expected 1 output of the last layer, got {units}")
    return CenPatchExpert(width, height, tuple(layers), reader.f64(f"{where}: confidence"))


def _read_layer(reader: ArrayReader, inputs: int, where: str) -> DenseLayer:
    kind = reader.i32(f"{where}: activation")
    if kind not in _ACTIVATIONS:
        raise reader.fail(f"{where}: activation: expected 0 (sigmoid) or 2 (ReLU), got {kind}")
    biases = reader.mat_f32(f"{where}: biases")
    if 1 not in biases.shape or not 1 <= biases.size <= _MAX_UNITS:
        raise reader.fail(f"{where}: biases: expected one row or column of 1 to {_MAX_UNITS}, got {biases.shape}")
    outputs = biases.size
    weights = reader.mat_f32(f"{where}: weights")
    # Either orientation is taken: the chain of sizes tells which. A square matrix would leave it open.
    if inputs == outputs or weights.shape not in ((inputs, outputs), (outputs, inputs)):
        raise reader.fail(
            f"{where}: weights: expected {inputs} x {outputs} or its transpose, not square, got {weights.shape}"
        )
    return DenseLayer(
        weights if weights.shape == (inputs, outputs) else weights.T, biases.reshape(-1), _ACTIVATIONS[kind]
    )


def _check_sources(reader: ArrayReader, patches: CenPatches) -> None:
    """Every visible point must have an expert, its own or its mirror image's."""
    for view, point in np.argwhere(patches.visibilities).tolist():
        home, twin, _ = patches.source(view, point)
        if not patches.experts[home][twin].layers:
            raise reader.fail(
                f"view {view}, point {point}: expected an expert there or at its mirror image "
                f"(view {home}, point {twin}), got none at either"
            )
