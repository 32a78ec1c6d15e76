"""When to look for faces: when OpenFace would, but rarely where the picture shows nothing new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.stages.state import field
from auflow.stages.tracking.scene import Change

__all__ = ["LookDemand", "SearchDemand"]

_EMPTY_AT_MOST = 5  # looks in a row that find no face: it may be hidden for a moment; then looking is no longer urgent
_REFUSED_AT_MOST = 3  # starts in a row that the validator refuses, until looking is no longer urgent
_LONGEST, _LONGEST_ALONE = 4, 2  # looks that found nobody new are so many times the usual frames apart at most
_ANYHOW = 10  # a picture that shows nothing new is looked at after so many times the usual number of frames


class LookDemand:
    """Says which of the looks that OpenFace would take are worth it.

    A face that was lost not long ago is looked for as often as OpenFace does, until several looks in a row have found
    none, or several starts have been refused. Else it depends on what has changed since the last look: as much as a
    face, then at once; something, then when `every` frames have passed; nothing, then after ten times as many.

    Parameters
    ----------
    every : frames, from 1
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._frames = _ANYHOW * self._every  # since the last look; at the beginning one is due
        self._empty = 0  # looks in a row that found no face
        self._refused = 0  # starts in a row

    @property
    def is_urgent(self) -> bool:
        """Whether another look may well help."""
        return self._empty < _EMPTY_AT_MOST and self._refused < _REFUSED_AT_MOST

    def next_frame(self) -> None:
        """A frame has come."""
        self._frames += 1

    def is_worth_it(self, change: Callable[[], Change]) -> bool:
        """Whether to look in this frame; `change`, since the last look, is asked for where it matters."""
        if self.is_urgent or self._frames >= _ANYHOW * self._every:
            return True
        return change() >= (Change.SOME if self._frames >= self._every else Change.FACE)

    def followed(self) -> None:
        """The face is where the tracker has it: should it be lost, a look is urgent."""
        self._empty = self._refused = 0

    def looked(self, *, found: bool) -> None:
        """Faces were looked for in this frame."""
        self._frames = 0
        self._empty = 0 if found else self._empty + 1

    def started(self, *, accepted: bool) -> None:
        """A face that was found was started anew, and the validator has judged."""
        self._refused = 0 if accepted else self._refused + 1

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        return {"demand": np.array([self._frames, self._empty, self._refused], np.int64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self._frames, self._empty, self._refused = field(arrays, "demand", np.int64, (3,)).tolist()


class SearchDemand:
    """Says in which frames to look for further faces while some are followed, and for those that were just lost.

    Never sooner than `every` frames after the last look. While a face that was lost is searched for, then, until five
    looks have not found it. Else where the picture has changed, but looks that found nobody new make the next one wait
    twice as long, up to four times `every`, or twice where nobody is followed; where nothing has changed, after ten
    times `every`.

    Parameters
    ----------
    every : frames, from 1
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._frames = _ANYHOW * self._every  # since the last look; at the beginning one is due
        self._patience = 1
        self._searches = 0  # looks that a lost face is still worth

    def next_frame(self) -> None:
        """A frame has come."""
        self._frames += 1

    def lost(self) -> None:
        """A face that was followed could not be fitted in this frame, or is not followed any more."""
        self._searches = _EMPTY_AT_MOST

    def is_due(self, change: Callable[[], Change], *, alone: bool) -> bool:
        """Whether to look in this frame; `alone` is whether nobody is followed."""
        if self._frames < self._every:
            return False
        if self._searches > 0:
            return True
        patience = min(self._patience, _LONGEST_ALONE) if alone else self._patience
        if self._frames < patience * self._every:
            return False
        return self._frames >= _ANYHOW * self._every or change() >= Change.SOME

    def looked(self, *, found: bool) -> None:
        """Faces were looked for in this frame; `found`: one that was not followed."""
        self._frames = 0
        self._patience = 1 if found else min(2 * self._patience, _LONGEST)
        self._searches = 0 if found else max(0, self._searches - 1)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next frames depend on."""
        return {"demand": np.array([self._frames, self._patience, self._searches], np.int64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self._frames, self._patience, self._searches = field(arrays, "demand", np.int64, (3,)).tolist()
