"""Reader of CCNF patch experts (`ccnf_patches_*.txt`, binary in spite of their name)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.models.arrays import ArrayReader, frozen
from auflow.models.types import CcnfPatches, CcnfPatchExpert

__all__ = ["read_ccnf_patches"]

_MAX_VIEWS = 64
_MAX_WINDOWS = 16
_MAX_WINDOW = 31
_MAX_SIGMAS = 8
_MAX_NEURONS = 64
_MAX_SIDE = 64
_EXPERT_TAG = 5
_NEURON_TAG = 2
_SIGMOID = 0
_MAT_F32 = 5


def read_ccnf_patches(path: Path) -> CcnfPatches:
    """The patch experts of one scale.

    Returns
    -------
    CcnfPatches: float32 weights and Sigmas, float64 parameters, read-only

    Raises
    ------
    ModelError
        where the file is cut short, goes on after its end, or holds another layout
    """
    reader = ArrayReader(path)
    scale = reader.f64("scale")
    if not 0 < scale <= 16:
        raise reader.fail(f"scale: expected above 0 and at most 16, got {scale}")
    views = reader.i32("number of views", low=1, high=_MAX_VIEWS)
    centres = frozen(np.stack([reader.mat_f64(f"centre of view {v}", shape=(3, 1))[:, 0] for v in range(views)]))
    visibilities = _read_visibilities(reader, views)
    sigmas = _read_sigmas(reader)
    betas = max((block.shape[0] for block in sigmas.values()), default=0)
    experts = tuple(_read_view(reader, betas, row, f"view {v}") for v, row in enumerate(visibilities))
    reader.end()
    return CcnfPatches(scale, centres, visibilities, sigmas, experts)


def _read_visibilities(reader: ArrayReader, views: int) -> NDArray[np.bool_]:
    rows = [reader.mat_i32(f"visibilities of view {v}", shape=(None, 1))[:, 0] for v in range(views)]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or 0 in sizes:
        raise reader.fail(f"visibilities: expected the same number of points in each view, got {sorted(sizes)}")
    stacked = np.stack(rows)
    if not np.isin(stacked, (0, 1)).all():
        raise reader.fail(f"visibilities: expected 0 or 1, got {stacked.min()} to {stacked.max()}")
    return frozen(stacked.astype(np.bool_))


def _read_sigmas(reader: ArrayReader) -> dict[int, NDArray[np.float32]]:
    """Per window side w the (b, w*w, w*w) edge features; b is the same for all windows."""
    sigmas: dict[int, NDArray[np.float32]] = {}
    for _ in range(reader.i32("number of window sizes", low=1, high=_MAX_WINDOWS)):
        window = reader.i32("window size", low=1, high=_MAX_WINDOW)
        if window in sigmas:
            raise reader.fail(f"window size: expected each once, got {window} again")
        count = reader.i32(f"number of Sigmas of window {window}", low=0, high=_MAX_SIGMAS)
        side = window * window
        block = [reader.mat_f32(f"Sigma {i} of window {window}", shape=(side, side)) for i in range(count)]
        sigmas[window] = frozen(np.stack(block) if block else np.empty((0, side, side), np.float32))
    counts = {block.shape[0] for block in sigmas.values()}
    if len(counts) != 1:
        raise reader.fail(f"number of Sigmas: expected the same for all windows, got {sorted(counts)}")
    return sigmas


@lru_cache(maxsize=32)
def _expert_dtype(neurons: int, width: int, height: int, betas: int) -> np.dtype[np.void]:
    """The packed record of one visible expert."""
    neuron = np.dtype(
        [
            ("tag", "<i4"),
            ("kind", "<i4"),
            ("numbers", "<f8", (3,)),  # norm weight, bias, alpha
            ("header", "<i4", (3,)),  # rows, columns, matrix type
            ("weights", "<f4", (height, width)),
        ]
    )
    head = ("head", "<i4", (4,))  # tag, width, height, number of neurons
    return np.dtype([head, ("neurons", neuron, (neurons,)), ("betas", "<f8", (betas,)), ("confidence", "<f8")])


def _read_view(
    reader: ArrayReader, betas: int, visible: NDArray[np.bool_], view: str
) -> tuple[CcnfPatchExpert | None, ...]:
    """The experts of one view, those of one layout that follow each other all at once."""
    experts: list[CcnfPatchExpert | None] = []
    while len(experts) < visible.size:
        point = len(experts)
        where = f"{view}, point {point}"
        start = reader.offset
        reader.i32(f"{where}: expert tag", expect=_EXPERT_TAG)
        width = reader.i32(f"{where}: width", low=1, high=_MAX_SIDE)
        height = reader.i32(f"{where}: height", low=1, high=_MAX_SIDE)
        count = reader.i32(f"{where}: number of neurons", low=0, high=_MAX_NEURONS)
        if visible[point] != (count > 0):
            raise reader.fail(f"{where}: visible is {visible[point]}, expected neurons to agree, got {count}")
        if not count:
            reader.i32(f"{where}: end of the empty expert", expect=0)
            experts.append(None)
            continue
        reader.offset = start
        dtype = _expert_dtype(count, width, height, betas)
        hidden = np.flatnonzero(~visible[point:])
        run = reader.alike(dtype, int(hidden[0]) if hidden.size else visible.size - point, "head")
        experts += _unpack(reader, reader.records(dtype, run, where), (height, width, _MAT_F32), where)
    return tuple(experts)


def _unpack(
    reader: ArrayReader, records: NDArray[np.void], header: tuple[int, int, int], where: str
) -> list[CcnfPatchExpert]:
    neurons = records["neurons"]
    for name, wanted in (("tag", _NEURON_TAG), ("kind", _SIGMOID)):
        if (neurons[name] != wanted).any():
            raise reader.fail(f"from {where} on: expected neurons of {name} {wanted}, got {np.unique(neurons[name])}")
    if (neurons["header"] != header).any():
        raise reader.fail(f"from {where} on: expected weights of {header} (rows, columns, type), got others")
    numbers, confidences = neurons["numbers"], records["confidence"].tolist()
    weights, betas = frozen(neurons["weights"].astype(np.float32)), frozen(records["betas"].astype(np.float64))
    # One sum per array is enough: a NaN or an infinity always survives it, and numbers that overflow it are no model.
    with np.errstate(invalid="ignore", over="ignore"):
        sums = (weights.sum(dtype=np.float64), numbers.sum(), betas.sum(), sum(confidences))
    if not np.isfinite(sums).all():
        raise reader.fail(f"from {where} on: expected finite numbers")
    columns = [frozen(numbers[:, :, column].astype(np.float64)) for column in range(3)]
    return [CcnfPatchExpert(*arrays) for arrays in zip(weights, *columns, betas, confidences, strict=True)]
