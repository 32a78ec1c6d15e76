"""Reader of OpenFace's MTCNN weights: PNet.dat, RNet.dat and ONet.dat, each held to the layers it must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.models.arrays import ArrayReader, frozen

__all__ = [
    "FOLDER",
    "LAYOUTS",
    "Convolution",
    "Dense",
    "Layer",
    "LayerKind",
    "MaxPool",
    "PRelu",
    "read_network",
]

FOLDER = Path("lib/local/LandmarkDetector/model/mtcnn_detector")  # below the folder of original files


@dataclass(frozen=True, slots=True)
class Convolution:
    """A valid cross-correlation with stride 1 and a bias."""

    weights: NDArray[np.float32]  # (kernels, inputs, height, width)
    bias: NDArray[np.float32]  # (kernels,)


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Square maximum pooling; the last window may hang over the right and lower edge (ceil sizes)."""

    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer over the maps flattened as (channel, column, row): columns of pixels, not rows."""

    weights: NDArray[np.float32]  # (outputs, inputs)
    bias: NDArray[np.float32]  # (outputs,)


@dataclass(frozen=True, slots=True)
class PRelu:
    """max(x, 0) + slope * min(x, 0), one slope for a channel."""

    slopes: NDArray[np.float32]  # (channels,)


Layer: TypeAlias = Convolution | MaxPool | Dense | PRelu
LayerKind: TypeAlias = tuple[str, int, int]  # see LAYOUTS

# ("conv", kernels, side), ("pool", side, stride), ("dense", outputs, inputs) and ("prelu", channels, 1)
LAYOUTS: dict[str, tuple[LayerKind, ...]] = {
    "PNet": (
        ("conv", 10, 3),
        ("prelu", 10, 1),
        ("pool", 2, 2),
        ("conv", 16, 3),
        ("prelu", 16, 1),
        ("conv", 32, 3),
        ("prelu", 32, 1),
        ("dense", 6, 32),
    ),
    "RNet": (
        ("conv", 28, 3),
        ("prelu", 28, 1),
        ("pool", 3, 2),
        ("conv", 48, 3),
        ("prelu", 48, 1),
        ("pool", 3, 2),
        ("conv", 64, 2),
        ("prelu", 64, 1),
        ("dense", 128, 576),
        ("prelu", 128, 1),
        ("dense", 6, 128),
    ),
    "ONet": (
        ("conv", 32, 3),
        ("prelu", 32, 1),
        ("pool", 3, 2),
        ("conv", 64, 3),
        ("prelu", 64, 1),
        ("pool", 3, 2),
        ("conv", 64, 3),
        ("prelu", 64, 1),
        ("pool", 2, 2),
        ("conv", 128, 2),
        ("prelu", 128, 1),
        ("dense", 256, 1152),
        ("prelu", 256, 1),
        ("dense", 16, 256),
    ),
}
_MAT_F32 = 5
_CODES = {"conv": 0, "pool": 1, "dense": 2, "prelu": 3}


def read_network(path: Path, layout: tuple[LayerKind, ...]) -> tuple[Layer, ...]:
    """The layers of one network file.

    Parameters
    ----------
    path : Path
        PNet.dat, RNet.dat or ONet.dat.
    layout : tuple of LayerKind
        What the file must hold, one of `LAYOUTS`.

    Returns
    -------
    tuple of Layer
        In file order, weights in float32 and in the layouts that the layer classes name.

    Raises
    ------
    ModelError
        The file cannot be read, or does not hold exactly these layers.
    """
    reader = ArrayReader(path)
    reader.i32("number of layers", expect=len(layout))
    layers: list[Layer] = []
    channels = 3
    for index, (kind, count, extent) in enumerate(layout):
        what = f"layer {index} ({kind})"
        reader.i32(f"type of {what}", expect=_CODES[kind])
        match kind:
            case "conv":
                layers.append(_read_convolution(reader, what, channels, count, extent))
                channels = count
            case "pool":
                layers.append(_read_pool(reader, what, count, extent))
            case "dense":
                layers.append(_read_dense(reader, what, count, extent))
            case _:
                layers.append(PRelu(_vector(reader, f"slopes of {what}", count)))
    reader.end()
    return tuple(layers)


def _read_convolution(reader: ArrayReader, what: str, inputs: int, kernels: int, side: int) -> Convolution:
    reader.i32(f"inputs of {what}", expect=inputs)
    reader.i32(f"kernels of {what}", expect=kernels)
    bits = [reader.i32(f"bias {k} of {what}") for k in range(kernels)]
    bias = np.array(bits, np.int32).view(np.float32)  # stored as bare float32 values, no matrix header
    if not np.isfinite(bias).all():
        raise reader.fail(f"biases of {what}: expected finite numbers")
    # Thousands of small matrices, one after the other: read as one array of records.
    matrix = np.dtype([("header", "<i4", (3,)), ("values", "<f4", (side, side))])
    start = reader.offset
    matrices = reader.records(matrix, inputs * kernels, f"kernels of {what}")
    for odd in np.flatnonzero((matrices["header"] != (side, side, _MAT_F32)).any(axis=1)):
        reader.offset = start + int(odd) * matrix.itemsize
        reader.mat_f32(f"kernel {odd} of {what}", shape=(side, side))  # says what is wrong with it
    values = matrices["values"].astype(np.float32).reshape(inputs, kernels, side, side)
    if not np.isfinite(values).all():
        raise reader.fail(f"kernels of {what}: expected finite numbers")
    return Convolution(frozen(values.swapaxes(0, 1)), frozen(bias))


def _read_pool(reader: ArrayReader, what: str, size: int, stride: int) -> MaxPool:
    for name, expected in (("width", size), ("height", size), ("stride x", stride), ("stride y", stride)):
        reader.i32(f"{name} of {what}", expect=expected)
    return MaxPool(size, stride)


def _read_dense(reader: ArrayReader, what: str, outputs: int, inputs: int) -> Dense:
    bias = _vector(reader, f"bias of {what}", outputs)
    return Dense(frozen(reader.mat_f32(f"weights of {what}", shape=(inputs, outputs)).T), bias)


def _vector(reader: ArrayReader, what: str, count: int) -> NDArray[np.float32]:
    return reader.mat_f32(what, shape=(count, 1)).reshape(-1)
