"""What `sigma_kernels` needs of the CCNF's Sigma: the shifts that a window's S_k couple, and each view's numbers.

Sigma = inv(2 (A I + sum_k beta_k S_k)), A the sum of an expert's alphas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.models.types import CcnfPatchExpert
from auflow.stages.clnf.lanes import LANES, aligned, padded
from auflow.stages.clnf.sigma_kernels import REACH, WIDEST

__all__ = ["PackedSigma", "Shifts", "make_schedule", "pack_sigma"]

Floats = NDArray[np.float32]
F64 = NDArray[np.float64]
Experts = tuple[CcnfPatchExpert | None, ...]
# diagonal (g, w * w * LANES), beside, across, distant (g, w * LANES), schedule (s, 2)
PackedSigma = tuple[Floats, Floats, Floats, Floats, Floats]

_STRAIGHT = ((0, 1), (0, -1), (1, 0), (-1, 0))
_OBLIQUE = ((1, 1), (1, -1), (-1, 1), (-1, -1))
_COUPLED = (((1,), _STRAIGHT), ((1,), _OBLIQUE), ((REACH - 1, REACH), _STRAIGHT + _OBLIQUE))
_ACCURACY = 3e-7  # of the solution relative to its norm: what float32 products of such matrices reach


@dataclass(frozen=True, slots=True)
class Shifts:
    """The S_k of one window as diagonals and shifts; each shift has one value wherever it stays in the window."""

    window: int
    components: F64  # (c, w * w, w * w)
    diagonals: F64  # (c, w * w)
    beside: F64  # (c,): value for the neighbours in row and column
    across: F64  # (c,): ... across the corner
    distant: F64  # (c,): ... REACH and REACH - 1 places away in all eight directions

    @classmethod
    def of(cls, components: NDArray[np.floating], window: int) -> Shifts:
        """Take apart components (c, w * w, w * w).

        Raises
        ------
        ModelError
            Where they couple other places, or not evenly: no menu of OpenFace's has such ones.
        """
        if window > WIDEST:
            raise ModelError(f"patch experts: expected windows of up to {WIDEST} x {WIDEST}, got {window} x {window}")
        count = len(components)
        wide = np.asarray(components, np.float64).reshape(count, window * window, window * window)
        values: dict[tuple[int, int], F64] = {}
        for down, right in _shifts_in(wide, window):
            found = _along(wide, window, down, right)
            if (found != found[:, :1]).any():
                raise _unfit(window, f"not the same at every place {down} rows and {right} columns away")
            values[down, right] = found[:, 0]
        known = [[(r * d, r * e) for r in reach for d, e in ways] for reach, ways in _COUPLED]
        beside, across, distant = (_common(values, shifts, count, window) for shifts in known)
        if strange := values.keys() - {shift for shifts in known for shift in shifts}:
            raise _unfit(window, f"some that couple places {min(strange)} rows and columns away")
        diagonals = np.ascontiguousarray(np.diagonal(wide, axis1=1, axis2=2))
        return cls(window, wide, diagonals, beside, across, distant)


def relative_betas(experts: Experts, shifts: Shifts) -> F64:
    """beta / A (n, c) of a view's experts; 0 for a landmark without one.

    Raises
    ------
    ModelError
        Where an expert has not one beta for each S_k.
    """
    betas = np.zeros((len(experts), len(shifts.beside)))
    for point, expert in enumerate(experts):
        if expert is not None:
            if len(shifts.beside) not in (0, expert.betas.size):  # some windows have no matrices: no coupling there
                raise _unfit(shifts.window, f"{len(shifts.beside)} matrices for {expert.betas.size} betas")
            betas[point] = expert.betas[: len(shifts.beside)] / expert.alphas.sum()
    return betas


def pack_sigma(experts: Experts, shifts: Shifts, schedule: Floats) -> PackedSigma:
    """The numbers of a view's experts for `sigma_kernels.solve`; a lane without an expert solves for itself."""
    groups, window = padded(len(experts)) // LANES, shifts.window
    betas = np.zeros((groups * LANES, len(shifts.beside)))
    betas[: len(experts)] = relative_betas(experts, shifts)
    diagonal = 1.0 + (betas @ shifts.diagonals).reshape(groups, LANES, -1).transpose(0, 2, 1)
    packed = aligned((groups, window * window * LANES), np.float32)
    packed[:] = diagonal.reshape(groups, -1)
    beside, across, distant = aligned((3, groups, window * LANES), np.float32)
    for out, values in ((beside, shifts.beside), (across, shifts.across), (distant, shifts.distant)):
        out[:] = np.tile((betas @ values).reshape(groups, LANES), window)
    return packed, beside, across, distant, schedule


def make_schedule(views: Iterable[Experts], shifts: Shifts) -> Floats:
    """Chebyshev's steps (s, 2) for all views: what each keeps of the step before, what it gains of the residual."""
    most = np.max([relative_betas(experts, shifts).max(axis=0) for experts in views], axis=0)
    if not most.any():
        return np.array([[0.0, 1.0]], np.float32)
    # The matrices' eigenvalues lie above 1. No S_k has one below 0, so the largest betas bound them all.
    half = float(np.linalg.eigvalsh(np.tensordot(most, shifts.components, axes=1))[-1]) / 2.0
    middle = 1.0 + half
    ratio = middle / half
    # The error shrinks by ratio - sqrt(ratio^2 - 1) a step, after a factor of 2.
    steps = math.ceil(math.log(_ACCURACY / 2.0) / math.log(ratio - math.sqrt(ratio * ratio - 1.0)))
    schedule, rho = [(0.0, 1.0 / middle)], 1.0 / ratio
    for _ in range(steps - 1):
        following = 1.0 / (2.0 * ratio - rho)
        schedule.append((following * rho, 2.0 * following / half))
        rho = following
    return np.array(schedule, np.float32)


def _shifts_in(components: F64, window: int) -> list[tuple[int, int]]:
    """The shifts (rows, columns) at which any element stands; not the diagonal."""
    here, there = np.nonzero(components.any(axis=0))
    down, right = there // window - here // window, there % window - here % window
    return sorted({(int(d), int(r)) for d, r in zip(down, right, strict=True)} - {(0, 0)})


def _along(components: F64, window: int, down: int, right: int) -> F64:
    """The elements (c, k) that couple each place with the one `down` rows and `right` columns away."""
    rows = np.arange(max(0, -down), window - max(0, down))[:, None]
    columns = np.arange(max(0, -right), window - max(0, right))[None]
    here, there = rows * window + columns, (rows + down) * window + columns + right
    return components[:, here.reshape(-1), there.reshape(-1)]


def _common(values: dict[tuple[int, int], F64], shifts: list[tuple[int, int]], count: int, window: int) -> F64:
    """The value (c,) that all shifts share, of those that a window has room for."""
    found = [values.get(shift, np.zeros(count)) for shift in shifts if max(map(abs, shift)) < window]
    if not found:
        return np.zeros(count)
    if any((other != found[0]).any() for other in found):
        raise _unfit(window, f"other values at some of the shifts {shifts}")
    return found[0]


def _unfit(window: int, what: str) -> ModelError:
    return ModelError(
        f"patch experts: expected similarity matrices for windows of {window} x {window} that are sums of shifts, "
        f"got {what}; fetch the model files again"
    )
