"""The whole CLNF with response maps from a compute backend, which takes those of several fits in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend
from auflow.models.types import ClnfModels
from auflow.stages.clnf.face_model import FaceModel, FaceState, FitStart, PartFitter, PartState, likeliest
from auflow.stages.clnf.map_fitter import GraphFitter

__all__ = ["BatchedFaceModel"]

Floats = NDArray[np.float32]
_Key: TypeAlias = tuple[int, bool, bytes, bytes]  # of a fit: its picture's array, tracking, parameters


class BatchedFaceModel(FaceModel):
    """`FaceModel` that fits the starts of a face, the faces of a picture and those of several streams together.

    What is fitted ahead is what `fit` would compute: it waits until it is asked for, or the picture changes.
    """

    main: GraphFitter

    def __init__(
        self,
        models: ClnfModels,
        backend: GraphBackend,
        *,
        wild: bool = False,
        iterations: int | None = None,
        tolerance_px: float | None = None,
    ) -> None:
        super().__init__(models, wild=wild, iterations=iterations, tolerance_px=tolerance_px, backend=backend)
        self._ahead: dict[_Key, FaceState] = {}

    def best_of(self, gray: Floats, starts: Iterable[Floats]) -> FaceState:
        """As `FaceModel.best_of`; all starts go through each scale together."""
        local = np.zeros(self.pdm.mode_count, np.float32)
        tried = [FitStart(gray, start, local, False) for start in starts]
        return self.complete(gray, likeliest(self._fit_main_many(tried, self._windows_of(False))))

    def fit(self, gray: Floats, params_global: Floats, params_local: Floats, *, tracking: bool) -> FaceState:
        """As `FaceModel.fit`."""
        known = self._ahead.pop(_key(FitStart(gray, params_global, params_local, tracking)), None)
        return known or super().fit(gray, params_global, params_local, tracking=tracking)

    def fit_ahead(self, starts: Sequence[FitStart]) -> None:
        """Fit all of these together."""
        for tracking in (False, True):
            chosen = [s for s in starts if s.tracking == tracking and _key(s) not in self._ahead]
            if len(chosen) < 2:
                continue
            states = self._fit_main_many(chosen, self._windows_of(tracking))
            grays = [start.gray for start in chosen]
            parts = [self._fit_part_many(part, grays, states) for part in self.parts]
            for k, (start, state) in enumerate(zip(chosen, states, strict=True)):
                state.parts = tuple(part[k] for part in parts)
                self._ahead[_key(start)] = self.conclude(start.gray, state)

    def forget_ahead(self, gray: Floats) -> None:
        """As `FaceModel.forget_ahead`."""
        for key in [key for key in self._ahead if key[0] == id(gray)]:
            del self._ahead[key]

    def _fit_main_many(self, starts: Sequence[FitStart], windows: Sequence[int]) -> list[FaceState]:
        """`fit_main` of each."""
        params = [(start.params_global.copy(), start.params_local.copy()) for start in starts]
        outcomes = self.main.fit_many([start.gray for start in starts], windows, params, judge=True)
        return [
            FaceState(g, p, self.pdm.landmarks_px(g, p), likelihood=outcome.likelihood, outcome=outcome)
            for (g, p), outcome in zip(params, outcomes, strict=True)
        ]

    def _fit_part_many(self, part: PartFitter, grays: Sequence[Floats], states: Sequence[FaceState]) -> list[PartState]:
        """`PartFitter.fit` for each face."""
        params = [part.begin(state.landmarks_px) for state in states]
        wanted = [part.wanted(float(state.params_global[0])) for state in states]
        chosen = [k for k, is_wanted in enumerate(wanted) if is_wanted]
        fitter = cast(GraphFitter, part.fitter)
        outcomes = fitter.fit_many([grays[k] for k in chosen], part.windows, [params[k] for k in chosen], judge=False)
        for k, outcome in zip(chosen, outcomes, strict=True):
            states[k].outcome.add(outcome)
        return [part.end(*own, is_wanted) for own, is_wanted in zip(params, wanted, strict=True)]


def _key(start: FitStart) -> _Key:
    return id(start.gray), start.tracking, start.params_global.tobytes(), start.params_local.tobytes()
