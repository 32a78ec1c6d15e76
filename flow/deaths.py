"""Which frames have ended workers: the second death at a frame is laid at its door.

So is the third before the first frame of a stream or after its last, where it is the stream itself that cannot be
worked on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from auflow.errors import AuflowError, InputError, StageError
from auflow.flow.groups import Down
from auflow.flow.job import StreamJob
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

    def verdict(self, down: Down, job: StreamJob) -> StreamJob | AuflowError | None:
        """Count a death at a file: the job without the frame that is to blame, the error that the file ends with, or
        None, which is another attempt."""
        if not self.is_enough(down):
            return None
        if down.frame < 1:
            return StageError(f"{down.cause} again and again at {job.name}; this input is given up")
        if down.role is Role.DECODE:
            return InputError(
                f"{job.name}: frame {down.frame} ended the decoder twice; the file is damaged there: re-encode it, or "
                f"cut it before that frame"
            )
        return replace(job, quarantined=(*job.quarantined, down.frame), resume=True)
