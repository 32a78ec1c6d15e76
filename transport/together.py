"""Detection requests that wait together: how many are taken at once, and which of them share the networks' calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from auflow.transport.messages import DetectRequest

__all__ = ["BUDGET_S", "MOST", "Together"]

BUDGET_S = 0.025  # the latency that the first of them may gain from the others
MOST = 8
_MOST_BYTES = 64 << 20  # of pictures: then no more are taken
_WEIGHT_OF_LAST = 0.2
_SIZES = 64  # of pictures whose time is remembered

R = TypeVar("R", tuple[bytes, DetectRequest], tuple[bytes, DetectRequest, NDArray[np.uint8]])
Size = tuple[int, int]


class Together:
    """Decides which requests are worked on together, by the time that pictures of their sizes have taken so far.

    A request is (client, request, ...).

    Parameters
    ----------
    alone : never more than one
    budget_s : seconds that the first may have to wait for the others; None: `BUDGET_S`
    """

    def __init__(self, *, alone: bool = False, budget_s: float | None = None) -> None:
        self._alone = alone
        self._budget_s = BUDGET_S if budget_s is None else budget_s
        self._times_s: OrderedDict[Size, float] = OrderedDict()  # for each size of picture, the last used at the end

    def take(self, receive: Callable[[], R | None]) -> list[list[R]]:
        """The requests that are there already, in sets to be worked on one after the other; waits for none.

        Pictures of live streams share a set. One of a file is a set of its own: what comes out may then not depend on
        what else happened to wait, on any processor, and a death is laid at the right frame's door. So is one of a
        size that was not seen before. Of a client that has asked again only the last request counts.

        Parameters
        ----------
        receive : gives the next request, None when there is none now
        """
        latest: dict[bytes, R] = {}
        held_bytes = 0
        while len(latest) < (1 if self._alone else MOST) and held_bytes < _MOST_BYTES:
            found = receive()
            if found is None:
                break
            latest[found[0]] = found
            held_bytes += 3 * found[1].frame.height_px * found[1].frame.width_px
        return self._sets(list(latest.values()))

    def _sets(self, requests: Sequence[R]) -> list[list[R]]:
        sets: list[list[R]] = []
        shared: list[R] | None = None
        left_s = 0.0  # of the budget of `shared`
        for request in requests:
            expected_s = self._times_s.get(_size(request), float("inf"))
            if request[1].frame.clock == "file" or expected_s == float("inf"):
                sets.append([request])
            elif shared is not None and expected_s <= left_s:
                shared.append(request)
                left_s -= expected_s
            else:
                shared, left_s = [request], self._budget_s
                sets.append(shared)
        return sets

    def took(self, requests: Sequence[R], seconds: float) -> None:
        """A set took so long."""
        sizes = [_size(request) for request in requests]
        expected_s = sum(self._times_s.get(size, seconds / len(sizes)) for size in sizes)
        for size in dict.fromkeys(sizes):
            known_s = self._times_s.pop(size, seconds / len(sizes))
            last_s = known_s * seconds / expected_s if expected_s > 0 else 0.0
            self._times_s[size] = known_s + _WEIGHT_OF_LAST * (last_s - known_s)
        while len(self._times_s) > _SIZES:
            self._times_s.popitem(last=False)


def _size(request: R) -> Size:
    frame = request[1].frame
    return frame.height_px, frame.width_px
