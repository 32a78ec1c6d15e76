"""The landmark validator: how well do landmarks sit on a face, 0 to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.types import Convolution, FullyConnected, MaxPooling, Relu, Validator, ValidatorView
from auflow.stages.clnf import validator_kernels as kernels

__all__ = ["LandmarkValidator"]

Floats = NDArray[np.float32]

_MARGIN_PX = 3


class LandmarkValidator:
    """OpenFace's CNN validator: warp to the reference face of the nearest view, normalise, classify."""

    def __init__(self, model: Validator) -> None:
        self._orientations_rad = np.deg2rad(np.stack([view.orientation_deg for view in model.views]))
        self._views = [_PackedView(view) for view in model.views]

    def view_index(self, params_global: Floats) -> int:
        """The view nearest to the head's rotation."""
        away = self._orientations_rad - params_global[1:4].astype(np.float64)
        return int(np.argmin((away * away).sum(axis=1)))

    def check(self, gray: Floats, landmarks_px: Floats, params_global: Floats) -> float:
        """Confidence in landmarks_px (136,) on gray (h, w): the centre of the likeliest of the CNN's bins, 0 to 1."""
        corner, region = _region(gray, landmarks_px)
        if region.size == 0:
            return 0.0
        local = landmarks_px - np.repeat(corner, landmarks_px.size // 2)
        scores = self._views[self.view_index(params_global)].scores(region, local)
        return 1.0 - (int(scores.argmax()) + 0.5) / scores.size


def _region(gray: Floats, landmarks_px: Floats) -> tuple[Floats, Floats]:
    """Top-left corner (2,) and the part of the image around the landmarks, cut at whole pixels."""
    x, y = landmarks_px.reshape(2, -1)
    height, width = gray.shape
    left, top = max(0.0, float(x.min()) - _MARGIN_PX), max(0.0, float(y.min()) - _MARGIN_PX)
    right, bottom = min(width - 1.0, float(x.max()) + _MARGIN_PX), min(height - 1.0, float(y.max()) + _MARGIN_PX)
    x0, y0 = int(left), int(top)
    corner = np.array([x0, y0], np.float32)
    return corner, gray[y0 : y0 + max(0, int(bottom - top)), x0 : x0 + max(0, int(right - left))]


class _PackedView:
    """One view's warp and network as the kernels want them. The file orders pixels column by column."""

    def __init__(self, view: ValidatorView) -> None:
        columns, rows = np.nonzero(view.warp.pixel_mask.T)
        warp = view.warp
        triangle = warp.triangle_map[rows, columns]
        position = np.stack([np.ones(rows.size), warp.min_x + columns, warp.min_y + rows], axis=1)
        self._pixels = (rows * warp.pixel_mask.shape[1] + columns).astype(np.int64)
        self._corners = np.ascontiguousarray(warp.triangles[triangle], np.int32)
        self._barycentric = np.stack(
            [(warp.alphas[triangle] * position).sum(axis=1), (warp.betas[triangle] * position).sum(axis=1)], axis=1
        )
        self._mean = np.ascontiguousarray(view.mean, np.float64)
        self._deviation = np.ascontiguousarray(view.std, np.float64)
        self._values = np.empty(rows.size, np.float32)
        self._maps = np.zeros((1, *warp.pixel_mask.shape), np.float32)
        self._scratch = np.empty(self._maps.size, np.float32)
        self._load_layers(view)

    def _load_layers(self, view: ValidatorView) -> None:
        kinds = [type(layer) for layer in view.layers]
        block = [Convolution, Relu, MaxPooling]
        if kinds[-3:] != [FullyConnected, Relu, FullyConnected] or kinds[:-3] != block * kinds.count(Convolution):
            raise ModelError(f"validator: expected convolution blocks and two dense layers, got {kinds}")
        self._convolutions = [
            (np.ascontiguousarray(layer.weights, np.float32), np.ascontiguousarray(layer.biases, np.float32))
            for layer in view.layers
            if isinstance(layer, Convolution)
        ]
        self._outputs: list[Floats] = []
        height, width = self._maps.shape[1:]
        for weights, _ in self._convolutions:
            count, _, rows, columns = weights.shape
            height, width = (height - rows + 1) // 2, (width - columns + 1) // 2
            self._outputs.append(np.empty((count, height, width), np.float32))
        first, second = (layer for layer in view.layers if isinstance(layer, FullyConnected))
        # Each map enters the dense layer column by column: reorder the weights once instead of every map.
        order = np.arange(first.weights.shape[0]).reshape(-1, width, height).transpose(0, 2, 1).reshape(-1)
        self._dense = [
            (np.ascontiguousarray(first.weights[order], np.float32), np.ascontiguousarray(first.biases, np.float32)),
            (np.ascontiguousarray(second.weights, np.float32), np.ascontiguousarray(second.biases, np.float32)),
        ]

    def scores(self, region: Floats, landmarks_px: Floats) -> Floats:
        """Scores (bins,) of the CNN."""
        kernels.piecewise_warp(region, landmarks_px, self._corners, self._barycentric, self._values)
        kernels.normalise(self._values, self._mean, self._deviation)
        self._maps.reshape(-1)[self._pixels] = self._values
        maps = self._maps
        for (weights, biases), out in zip(self._convolutions, self._outputs, strict=True):
            kernels.convolve_relu_pool(maps, weights, biases, self._scratch, out)
            maps = out
        values = maps.reshape(-1)
        for index, (weights, biases) in enumerate(self._dense):
            out = np.empty(biases.size, np.float32)
            kernels.dense(values, weights, biases, index == 0, out)
            values = out
        return values
