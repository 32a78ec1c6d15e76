"""How much arithmetic a kernel cannot do without, and how fast this core can do arithmetic: the two ends of a roofline.

Counts are of the mathematics, not of the code: a kernel that computes something twice, or pads its vectors, looks
slower here and not busier. One multiplication with an addition counts as two operations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from auflow.models.mtcnn import LAYOUTS
from auflow.models.types import CcnfPatchExpert, Convolution, FullyConnected, ValidatorView

__all__ = [
    "Peaks",
    "mean_shift_flop",
    "measure_peaks",
    "network_flop",
    "nu_rlms_flop",
    "response_map_flop",
    "validator_flop",
]

_ALPHA_FLOOR = 1e-4  # neurons below it are left out, as in OpenFace
_GEMM_SIDE = 768
_COPY_BYTES = 64 << 20  # far more than a core's caches hold


@dataclass(frozen=True, slots=True)
class Peaks:
    """What one core of this machine does at its best, measured."""

    gflop_per_s: float  # a product of two float32 matrices, by NumPy's BLAS with one thread
    gigabytes_per_s: float  # read and written by a copy of 64 MiB


def measure_peaks(rounds: int = 25) -> Peaks:
    """Both peaks, each the best of several tries. Takes a second; NumPy must have been held to one thread."""
    a = np.random.default_rng(0).random((_GEMM_SIDE, _GEMM_SIDE), np.float32)
    product = np.empty_like(a)
    source, target = np.ones(_COPY_BYTES, np.uint8), np.empty(_COPY_BYTES, np.uint8)
    gemm_s = _best_s(lambda: np.matmul(a, a, out=product), rounds)
    copy_s = _best_s(lambda: np.copyto(target, source), rounds)
    return Peaks(2e-9 * _GEMM_SIDE**3 / gemm_s, 2e-9 * _COPY_BYTES / copy_s)


def _best_s(call: Callable[[], object], rounds: int) -> float:
    call()
    times = []
    for _ in range(rounds):
        began_s = time.process_time()
        call()
        times.append(time.process_time() - began_s)
    return min(times)


def response_map_flop(experts: Iterable[CcnfPatchExpert | None], window: int) -> int:
    """The neurons' convolutions of the experts of one view at a window of `window` x `window`; nothing else counts."""
    places = window * window
    return sum(
        2 * expert.weights[0].size * places * int((expert.alphas > _ALPHA_FLOOR).sum())
        for expert in experts
        if expert is not None
    )


def mean_shift_flop(points: int, window: int) -> int:
    """Three sums over the window, each place weighed by the kernel of its row and of its column."""
    return 4 * points * window * window + 6 * points * window


def nu_rlms_flop(points: int, modes: int, window: int, iterations: int) -> int:
    """NU-RLMS of n points with m modes (0: rigid).

    Mean shift, shape, projection, moments; J' W J over the modes as a sum of six constant matrices; its products with
    the pose; Cholesky's factors.
    """
    columns = 6 + modes
    shape = 6 * points * modes + 20 * points
    normal = 6 * modes * (modes + 1) + 30 * points * modes + 60 * points
    solve = columns**3 // 3 + 2 * columns**2
    return iterations * (mean_shift_flop(points, window) + shape + normal + solve)


def validator_flop(view: ValidatorView) -> int:
    """The convolutions and dense layers of one view's network, poolings halving the maps."""
    height, width = view.warp.pixel_mask.shape
    flop = 0
    for layer in view.layers:
        if isinstance(layer, Convolution):
            kernels, inputs, rows, columns = layer.weights.shape
            height, width = height - rows + 1, width - columns + 1
            flop += 2 * height * width * kernels * inputs * rows * columns
            height, width = height // 2, width // 2
        elif isinstance(layer, FullyConnected):
            flop += 2 * layer.weights.size
    return flop


def network_flop(name: str, height: int, width: int) -> int:
    """One of MTCNN's networks (`PNet`, `RNet`, `ONet`) on an image of height x width, its layers as in `LAYOUTS`."""
    channels, flop = 3, 0
    for kind, first, second in LAYOUTS[name]:
        if kind == "conv":
            height, width = height - second + 1, width - second + 1
            flop += 2 * first * channels * second * second * height * width
            channels = first
        elif kind == "pool":
            height, width = (-(-(side - first) // second) + 1 for side in (height, width))
        elif kind == "dense":
            inputs = channels * height * width
            # PNet has its dense layer at every place of the map, the others on the whole of it.
            flop += 2 * first * second * (inputs // second)
            if inputs == second:
                channels, height, width = first, 1, 1
            else:
                channels = first
    return flop
