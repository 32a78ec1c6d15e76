"""The two times of a live picture: stream time that only grows, and the wall clock at its capture."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Literal

__all__ = ["ClockSource", "Gaps", "Stamp", "StreamClock"]

ClockSource = Literal["rtcp", "arrival"]

# A camera's time stamps that leave the time of arrival by so much were started anew.
PTS_APART_S = 10.0
# A camera's wall clock that moves by so much against its own time stamps was set; wait until it keeps still again.
WALL_JUMP_S = 1.0
WALL_SETTLES_S = 10.0
# A camera that has never been told the time counts from 1970 or 2000.
WALL_ABSURD_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a picture was: in stream time, and by the wall clock in unix seconds, with where that comes from."""

    timestamp_s: float
    captured_s: float
    clock: ClockSource


class StreamClock:
    """Stream time from time stamps, over all connections of one source.

    Stream time begins at zero with the first picture. Within a connection it follows the time stamps; at its first
    picture, at pictures without a stamp and where the stamps jump it follows the arrival. It never runs backwards.
    """

    def __init__(self) -> None:
        self._origin_s: float | None = None
        self._last_s = 0.0
        self._anchor_s: float | None = None  # stream time of time stamp zero
        self._wall_s: float | None = None  # unix time of time stamp zero, by the sender
        self._trusted_from_s = float("-inf")  # time stamp

    def connected(self) -> None:
        """The next time stamps are those of a new connection."""
        self._anchor_s = self._wall_s = None
        self._trusted_from_s = float("-inf")

    def sender_time(self, pts_s: float, unix_s: float) -> None:
        """The sender says that the time stamp `pts_s` was captured at `unix_s`."""
        wall_s = unix_s - pts_s
        if self._wall_s is not None and abs(wall_s - self._wall_s) > WALL_JUMP_S:
            self._trusted_from_s = pts_s + WALL_SETTLES_S
        self._wall_s = wall_s

    def stamp(self, pts_s: float | None, *, arrived_s: float, arrived_unix_s: float) -> Stamp:
        """The times of the next picture.

        Parameters
        ----------
        pts_s : presentation time stamp, None when the picture has none
        arrived_s : monotonic
        arrived_unix_s : wall clock at the same moment
        """
        if self._origin_s is None:
            self._origin_s = arrived_s
        arrival_s = arrived_s - self._origin_s
        if pts_s is None:
            time_s = arrival_s
        else:
            if self._anchor_s is None or abs(pts_s + self._anchor_s - arrival_s) > PTS_APART_S:
                self._anchor_s = max(arrival_s, self._last_s) - pts_s
            time_s = pts_s + self._anchor_s
        self._last_s = max(time_s, self._last_s)
        captured_s = self._sender_clock(pts_s)
        if captured_s is None or abs(captured_s - arrived_unix_s) > WALL_ABSURD_S:
            return Stamp(self._last_s, arrived_unix_s, "arrival")
        return Stamp(self._last_s, captured_s, "rtcp")

    def _sender_clock(self, pts_s: float | None) -> float | None:
        if pts_s is None or self._wall_s is None or pts_s < self._trusted_from_s:
            return None
        return pts_s + self._wall_s


class Gaps:
    """Pictures that are missing, by the gaps between the time stamps of those that came.

    A gap of more than one and a half usual steps counts as the steps that fit. The estimate fails on a camera that
    varies its rate on purpose; FFmpeg does not pass on the sequence numbers that would tell.
    """

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=15)
        self._last_s: float | None = None

    def connected(self) -> None:
        """The next time stamps are those of a new connection."""
        self._last_s = None

    def missing(self, pts_s: float | None) -> int:
        """How many pictures are missing between the last one and this one."""
        last_s, self._last_s = self._last_s, pts_s
        if pts_s is None or last_s is None or not 0 < pts_s - last_s < PTS_APART_S:
            return 0
        step_s = pts_s - last_s
        usual_s = median(self._steps) if len(self._steps) >= 5 else step_s
        self._steps.append(step_s)
        return round(step_s / usual_s) - 1 if step_s > 1.5 * usual_s else 0
