"""Time stamps of a video: the container's, started at zero, never running backwards."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["Timeline"]

JUMP_S = 1


class Timeline:
    """Turns presentation time stamps into seconds since the first picture.

    Parameters
    ----------
    time_base_s : length of one tick of the container's clock
    rate_hz : mean picture rate, None when unknown

    A container's clock may be coarser than its picture rate (1 ms in WMV and Matroska: 0.067 for 1/15 s). A stamp
    within one tick of (index - 1) / rate is taken to mean just that, which is also what OpenFace writes. A picture
    without a stamp comes one period after the last. A step back of less than a second repeats the last time; a
    longer one is a clock that was started anew (joined recordings), and time goes on one period after the last.
    """

    def __init__(self, time_base_s: Fraction, rate_hz: Fraction | None) -> None:
        period_s = 1 / rate_hz if rate_hz else Fraction(0)
        # Whole numbers of a unit that divides tick and period: as exact as fractions, at a tenth of their cost.
        self._units_per_s = math.lcm(time_base_s.denominator, period_s.denominator)
        self._tick = int(time_base_s * self._units_per_s)
        self._period = int(period_s * self._units_per_s)
        self._count = 0
        self._origin: int | None = None
        self._last = -self._period

    def stamp(self, pts: int | None) -> float:
        """Seconds of the next picture, whose presentation time stamp is `pts` ticks."""
        ideal = self._count * self._period
        self._count += 1
        if pts is None:
            time = self._last + self._period
        else:
            raw = pts * self._tick
            if self._origin is None:
                self._origin = raw - (self._last + self._period)
            time = raw - self._origin
            if time < self._last - JUMP_S * self._units_per_s:
                time = self._last + self._period
                self._origin = raw - time
        if self._period and abs(time - ideal) <= self._tick:
            time = ideal
        self._last = max(time, self._last)
        return self._last / self._units_per_s
