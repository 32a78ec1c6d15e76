"""What is known of a face as arrays and back, for the state of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.clnf.face_model import FaceModel, FaceState, PartState
from auflow.stages.clnf.fitter import FitOutcome
from auflow.stages.clnf.pdm import FittingPDM
from auflow.stages.state import Arrays, field

__all__ = ["gathered", "pack_face", "part_of", "unpack_face"]

Floats = NDArray[np.float32]


def pack_face(state: FaceState) -> dict[str, NDArray[Any]]:
    """The face as arrays; without parts where it was never found."""
    outcome = state.outcome
    arrays: dict[str, NDArray[Any]] = {
        "params_global": state.params_global,
        "params_local": state.params_local,
        "landmarks_px": state.landmarks_px,
        "judged": np.array([state.likelihood, state.confidence, outcome.likelihood], np.float64),
        "flags": np.array([state.success, outcome.ok, bool(state.parts)], np.bool_),
        "outcome": np.array([outcome.view, outcome.optimisations, outcome.converged, outcome.iterations], np.int64),
    }
    for part in state.parts:
        arrays[f"{part.name}/params_global"] = part.params_global
        arrays[f"{part.name}/params_local"] = part.params_local
        arrays[f"{part.name}/landmarks_px"] = part.landmarks_px
        arrays[f"{part.name}/refined"] = np.array(part.refined)
    return arrays


def unpack_face(arrays: Mapping[str, NDArray[Any]], model: FaceModel) -> FaceState:
    """The face behind the arrays, as `model` knows faces.

    Raises
    ------
    StateError
        They are of another model.
    """
    likelihood, confidence, fit_likelihood = field(arrays, "judged", np.float64, (3,)).tolist()
    success, ok, has_parts = field(arrays, "flags", np.bool_, (3,)).tolist()
    view, optimisations, converged, iterations = field(arrays, "outcome", np.int64, (4,)).tolist()
    parts = []
    for part in model.parts if has_parts else ():
        own = part_of(arrays, part.name)
        parts.append(PartState(part.name, *_shape(own, part.pdm), bool(field(own, "refined", np.bool_, ()))))
    return FaceState(
        *_shape(arrays, model.pdm),
        parts=tuple(parts),
        likelihood=likelihood,
        confidence=confidence,
        success=success,
        outcome=FitOutcome(ok, fit_likelihood, view, optimisations, converged, iterations),
    )


def gathered(several: Mapping[str, Arrays]) -> dict[str, Any]:
    """The arrays of several things as those of one."""
    return {f"{name}/{key}": array for name, arrays in several.items() for key, array in arrays.items()}


def part_of(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """What `gathered` was given under `name`."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}


def _shape(arrays: Mapping[str, NDArray[Any]], pdm: FittingPDM) -> tuple[Floats, Floats, Floats]:
    return (
        field(arrays, "params_global", np.float32, (6,)),
        field(arrays, "params_local", np.float32, (pdm.mode_count,)),
        field(arrays, "landmarks_px", np.float32, (2 * pdm.point_count,)),
    )
