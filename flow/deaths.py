"""Which frames have ended workers: the second death at a frame is laid at its door.

So is the third before the first frame of a stream or after its last, where it is the stream itself that cannot be
worked on.
"""

from __future__ import annotations

from collections import Counter

from auflow.flow.groups import Down
from auflow.flow.topology import Role

__all__ = ["Deaths"]

_AT_A_FRAME, _BESIDE_FRAMES = 2, 3


class Deaths:
    """Counts the deaths of workers at frames of files. A picture of a live stream never comes a second time."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, Role, int]] = Counter()

    def is_enough(self, down: Down) -> bool:
        """Count a death; whether it is the last that this frame, or the stream beside its frames, is allowed."""
        if down.stream < 0:
            return False
        place = (down.stream, down.role, max(0, down.frame))
        self._counts[place] += 1
        return self._counts[place] >= (_AT_A_FRAME if down.frame > 0 else _BESIDE_FRAMES)
