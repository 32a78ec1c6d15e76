"""The landmark validator: how well do landmarks sit on a face, 0 to 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.types import Convolution, FullyConnected, MaxPooling, Relu, Validator, ValidatorView
from auflow.stages.clnf import validator_kernels as kernels
from auflow.stages.clnf.fit_kernels import nearest_view

__all__ = ["LandmarkValidator", "PackedLayer", "PackedView", "pack_convolution", "pack_view"]

Floats = NDArray[np.float32]
F64 = NDArray[np.float64]
Integers = NDArray[np.int64]


class LandmarkValidator:
    """OpenFace's CNN validator: warp to the reference face of the nearest view, normalise, classify."""

    def __init__(self, model: Validator) -> None:
        self._orientations_rad = np.deg2rad(np.stack([view.orientation_deg for view in model.views]))
        self._views = [pack_view(view) for view in model.views]

    def view_index(self, params_global: Floats) -> int:
        """The view nearest to the head's rotation."""
        return int(nearest_view(self._orientations_rad, params_global))

    def check(self, gray: Floats, landmarks_px: Floats, params_global: Floats) -> float:
        """Confidence in landmarks_px (136,) on gray (h, w): the centre of the likeliest of the CNN's bins, 0 to 1."""
        return float(kernels.certainty(gray, landmarks_px, self._views[self.view_index(params_global)]))


class PackedLayer(NamedTuple):
    """A convolution as weighted lines of the shifted copies of its c input maps, and its scratch; k is padded."""

    columns: int  # of the weights: copies of each map
    offsets: Integers  # (t,) where in `flat` each weight's line begins
    weights: Floats  # (k, t)
    biases: Floats  # (k,)
    flat: Floats  # the copies
    sums: Floats  # (k, s): the h * w places of each map, padded
    maps: Floats  # (m, h // 2, w // 2) after relu and pooling
    width: int  # w


class PackedView(NamedTuple):
    """One view's warp and network as the kernels want them, with their scratch."""

    triangles: NDArray[np.int32]  # (t, 3)
    barycentric: F64  # (t, 6)
    starts: Integers  # (t + 1,)
    places: F64  # (2, p)
    pixels: Integers  # (p,) indices into the face, triangle by triangle
    mean: F64  # (p,)
    inverse_deviation: F64  # (p,)
    positions: NDArray[np.int32]  # (2, p)
    values: Floats  # (p,)
    face: Floats  # (1, h, w), zero outside the mask
    convolutions: tuple[PackedLayer, ...]
    features: Floats  # the last convolution's maps, padded with zeros
    hidden_weights: Floats
    hidden_biases: Floats
    hidden: Floats
    score_weights: Floats
    score_biases: Floats
    scores: Floats
    bins: int


def pack_view(view: ValidatorView) -> PackedView:
    """The view in the kernels' form.

    Raises
    ------
    ModelError
        The network is no chain of convolution, relu and pooling with two dense layers at its end.
    """
    kinds = [type(layer) for layer in view.layers]
    block = [Convolution, Relu, MaxPooling]
    if kinds[-3:] != [FullyConnected, Relu, FullyConnected] or kinds[:-3] != block * kinds.count(Convolution):
        raise ModelError(f"validator: expected convolution blocks and two dense layers, got {kinds}")
    size = view.warp.pixel_mask.shape
    layers: list[PackedLayer] = []
    inputs, height, width = 1, *size
    for layer in view.layers:
        if isinstance(layer, Convolution):
            layers.append(pack_convolution(layer, height, width))
            inputs, height, width = layers[-1].maps.shape
    features = np.zeros(_padded(inputs * height * width, kernels.LANES), np.float32)
    maps = features[: inputs * height * width].reshape(inputs, height, width)
    layers[-1] = layers[-1]._replace(maps=maps)
    first, second = (layer for layer in view.layers if isinstance(layer, FullyConnected))
    # Each map enters the dense layer column by column: reorder the weights once instead of every map.
    order = np.arange(maps.size).reshape(inputs, width, height).transpose(0, 2, 1).reshape(-1)
    hidden_weights, hidden_biases = _pack_dense(first.weights[order], first.biases)
    score_weights, score_biases = _pack_dense(second.weights, second.biases)
    return PackedView(
        *_pack_warp(view),
        face=np.zeros((1, *size), np.float32),
        convolutions=tuple(layers),
        features=features,
        hidden_weights=hidden_weights,
        hidden_biases=hidden_biases,
        hidden=np.zeros(hidden_biases.size, np.float32),
        score_weights=score_weights,
        score_biases=score_biases,
        scores=np.zeros(score_biases.size, np.float32),
        bins=second.biases.size,
    )


def _pack_warp(
    view: ValidatorView,
) -> tuple[NDArray[np.int32], F64, Integers, F64, Integers, F64, F64, NDArray[np.int32], Floats]:
    """The first nine fields. The file orders pixels column by column; here they lie triangle by triangle."""
    warp = view.warp
    columns, rows = np.nonzero(warp.pixel_mask.T)
    triangle = warp.triangle_map[rows, columns]
    order = np.argsort(triangle, kind="stable")
    columns, rows = columns[order], rows[order]
    return (
        np.ascontiguousarray(warp.triangles, np.int32),
        np.concatenate([warp.alphas, warp.betas], axis=1),
        np.searchsorted(triangle[order], np.arange(len(warp.triangles) + 1)).astype(np.int64),
        np.stack([warp.min_x + columns, warp.min_y + rows]).astype(np.float64),
        (rows * warp.pixel_mask.shape[1] + columns).astype(np.int64),
        np.ascontiguousarray(view.mean, np.float64)[order],
        1.0 / np.ascontiguousarray(view.std, np.float64)[order],
        np.zeros((2, rows.size), np.int32),
        np.zeros(rows.size, np.float32),
    )


def pack_convolution(layer: Convolution, height: int, width: int) -> PackedLayer:
    """A layer for maps of height x width, in the kernels' form."""
    count, inputs, rows, columns = layer.weights.shape
    out_height, out_width = height - rows + 1, width - columns + 1
    c, i, j = np.indices((inputs, rows, columns)).reshape(3, -1)
    offsets = (c * columns + j) * height * out_width + i * out_width
    lines, maps = _padded(offsets.size, kernels.TAPS), _padded(count, kernels.MAPS)
    weights = np.zeros((maps, lines), np.float32)
    weights[:count, : offsets.size] = layer.weights.reshape(count, -1)
    biases = np.zeros(maps, np.float32)
    biases[:count] = layer.biases
    return PackedLayer(
        columns=columns,
        offsets=np.pad(offsets, (0, lines - offsets.size)).astype(np.int64),
        weights=weights,
        biases=biases,
        flat=np.zeros(inputs * columns * height * out_width + kernels.LANES, np.float32),
        sums=np.zeros((maps, _padded(out_height * out_width, kernels.LANES)), np.float32),
        maps=np.zeros((count, out_height // 2, out_width // 2), np.float32),
        width=out_width,
    )


def _pack_dense(weights: Floats, biases: Floats) -> tuple[Floats, Floats]:
    """Weights and biases with zeros for what is padded."""
    rows, columns = weights.shape
    packed = np.zeros((_padded(rows, kernels.LANES), _padded(columns, kernels.LANES)), np.float32)
    packed[:rows, :columns] = weights
    return packed, np.pad(biases.astype(np.float32), (0, packed.shape[1] - columns))


def _padded(count: int, to: int) -> int:
    return -(-count // to) * to
