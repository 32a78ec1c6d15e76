"""What is remembered of how the persons of a stream look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.identity.appearance import distances
from auflow.stages.state import field

__all__ = ["Person"]

Floats = NDArray[np.float32]

_EXEMPLARS = 12  # poses and expressions of one person


class Person:
    """One person: some appearances that differ, and where they were last."""

    def __init__(self) -> None:
        self._looks: Floats = np.zeros((0, 0), np.float32)  # (n, d)
        self.box = np.zeros(4, np.float32)  # x, y, w, h [px]
        self.seen_at = 0  # frame

    @property
    def is_known(self) -> bool:
        """Whether there is an appearance to recognise the person by."""
        return len(self._looks) > 0

    def distance(self, appearance: Floats) -> float:
        """From the appearance (d,) to the nearest that is remembered; infinite where none is."""
        return float(distances(appearance, self._looks).min()) if self.is_known else np.inf

    def learn(self, appearance: Floats) -> None:
        """Remember one more appearance (d,); when there are too many, of the two most alike the older is forgotten."""
        if not self.is_known:
            self._looks = appearance[None].copy()
            return
        self._looks = np.concatenate((self._looks, appearance[None]))
        if len(self._looks) > _EXEMPLARS:
            between = np.array([distances(look, self._looks) for look in self._looks])
            between[np.tril_indices(len(between))] = np.inf
            older = int(between.argmin()) // len(between)
            self._looks = np.delete(self._looks, older, axis=0)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next answers depend on."""
        return {"looks": self._looks, "box": self.box, "seen_at": np.array(self.seen_at)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self._looks = field(arrays, "looks", np.float32, (None, None))
        self.box = field(arrays, "box", np.float32, (4,))
        self.seen_at = int(field(arrays, "seen_at", np.int64, ()))
