"""The persons of a stream by their numbers, of whom only so many are known at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.au.heads import Heads
from auflow.stages.au.person import Person
from auflow.stages.state import StateError, field

__all__ = ["KEPT", "Persons"]

F64 = NDArray[np.float64]

KEPT = 16  # at a time: the histograms of a person's median take up to 14 MB


class Persons:
    """Makes a person when a number is asked for that is not known, and forgets the one that was not seen for longest.

    Of those who are forgotten the part of their median in the predictions is kept, for the offline pass.

    Parameters
    ----------
    heads : the same for all
    keep_forgotten : whether there will be an offline pass
    """

    def __init__(self, heads: Heads, *, keep_forgotten: bool = True) -> None:
        self._heads = heads
        self._keep_forgotten = keep_forgotten
        self._spare = [Person(heads)]  # fresh ones; most streams have one person
        self._known: dict[int, Person] = {}
        self._forgotten: dict[int, tuple[int, F64]] = {}  # samples of the median, its part in the predictions

    def reset(self) -> None:
        """Forget all."""
        if self._known:
            spare = next(iter(self._known.values()))
            spare.reset()
            self._spare = [spare]
        self._known.clear()
        self._forgotten.clear()

    def next_segment(self) -> None:
        """The offline pass is over: what was kept of those who are forgotten is not needed any more."""
        self._forgotten.clear()

    def person(self, number: int, frame: int) -> Person:
        """The person of this number, seen in the frame of that number."""
        person = self._known.get(number)
        if person is None:
            person = self._new(number)
        person.seen_at = frame
        return person

    def _new(self, number: int) -> Person:
        if len(self._known) == KEPT:
            longest = min(self._known, key=lambda known: (self._known[known].seen_at, known))
            gone = self._known.pop(longest)
            if self._keep_forgotten:
                samples, of_median = self._forgotten.get(longest, (0, gone.predictor.of_median))
                if gone.samples >= samples:
                    samples, of_median = gone.samples, gone.predictor.of_median.copy()
                self._forgotten[longest] = samples, of_median
            gone.reset()
            self._spare.append(gone)
        self._known[number] = self._spare.pop() if self._spare else Person(self._heads)
        return self._known[number]

    def of_median(self, number: int) -> F64:
        """(k,) what the person's median of most samples takes off each head's product."""
        person = self._known.get(number)
        samples, of_median = self._forgotten.get(number, (-1, None))
        if person is not None and (of_median is None or person.samples >= samples):
            return person.predictor.of_median
        assert of_median is not None
        return of_median

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        numbers = np.array(sorted(self._known), np.int64)
        gone = np.array(sorted(self._forgotten), np.int64)
        known = [self._forgotten[number] for number in sorted(self._forgotten)]
        medians = np.array([of_median for _, of_median in known]).reshape(len(gone), self._heads.count)
        own: dict[str, NDArray[Any]] = {
            "numbers": numbers,
            "forgotten": gone,
            "forgotten_samples": np.array([samples for samples, _ in known], np.int64),
            "forgotten_medians": medians,
        }
        for number in sorted(self._known):
            own |= {f"{number}/{name}": array for name, array in self._known[number].snapshot().items()}
        return own

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self.reset()
        numbers = field(arrays, "numbers", np.int64, (None,)).tolist()
        gone = field(arrays, "forgotten", np.int64, (None,)).tolist()
        medians = field(arrays, "forgotten_medians", np.float64, (len(gone), self._heads.count))
        if len(numbers) > KEPT or len(set(numbers)) != len(numbers):
            raise StateError(f"state: expected up to {KEPT} persons, got {numbers}; start from the first frame")
        samples = field(arrays, "forgotten_samples", np.int64, (len(gone),)).tolist()
        self._forgotten = dict(zip(gone, zip(samples, medians.copy(), strict=True), strict=True))
        for number in numbers:
            own = {
                name.removeprefix(f"{number}/"): array
                for name, array in arrays.items()
                if name.startswith(f"{number}/")
            }
            self._new(number).restore(own)
