"""What is counted of one stream: how its fits converged, how long its frames took. Memory does not grow with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auflow.stages.records import AuFrame, FaceFit

__all__ = ["Coherence", "Convergence", "Latency", "RecentTally", "StreamStatistics", "StreamTally"]

_SHORTEST_S = 1e-4
_STEP = math.log(1.02)  # each bin of the histogram is wider than the one before by this factor
_BINS = 815  # up to 1000 s
_NO_FRAMES = (0,) * _BINS
_RECENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Convergence:
    """What the optimisations of a stream's fits did; a fit is one face in one frame."""

    fits: int = 0
    fits_converged: int = 0  # every optimisation of them did
    optimisations: int = 0
    converged: int = 0  # optimisations that ended by the criterion, before their limit of iterations
    iterations: int = 0

    def __add__(self, other: Convergence) -> Convergence:
        return Convergence(
            self.fits + other.fits,
            self.fits_converged + other.fits_converged,
            self.optimisations + other.optimisations,
            self.converged + other.converged,
            self.iterations + other.iterations,
        )


@dataclass(frozen=True, slots=True)
class Coherence:
    """How much of the work was left out, because the picture said nothing new."""

    detections: int = 0  # times that faces were looked for
    faces: int = 0  # faces whose Action Units were predicted; each frame has its own
    reused: int = 0  # of them with the descriptor of an earlier frame

    @classmethod
    def of(cls, fits: Sequence[FaceFit], aus: Sequence[AuFrame], detections: int) -> Coherence:
        """Of one frame: its faces with their values, and how often faces were looked for in it."""
        return cls(detections, sum(fit.accepted for fit in fits) if aus else 0, sum(au.reused for au in aus))

    def __add__(self, other: Coherence) -> Coherence:
        return Coherence(self.detections + other.detections, self.faces + other.faces, self.reused + other.reused)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long the frames took, as a histogram over bins of which each is 2 % wider than the one before."""

    counts: tuple[int, ...] = field(default=_NO_FRAMES, repr=False)  # (815,)
    longest_s: float = 0.0

    def __add__(self, other: Latency) -> Latency:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Latency(counts, max(self.longest_s, other.longest_s))

    def percentile_s(self, percent: float) -> float | None:
        """The time within which `percent` of the frames were done, right to 1 %; None where there is no frame.

        Times below 0.1 ms count as that, those beyond 1000 s as the longest.
        """
        wanted = math.ceil(sum(self.counts) * percent / 100)
        seen = 0
        for number, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                if number == _BINS - 1:
                    return self.longest_s
                return min(_SHORTEST_S * math.exp((number + 0.5) * _STEP), self.longest_s)
        return None


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """The figures of one stream."""

    convergence: Convergence = field(default_factory=Convergence)
    latency: Latency = field(default_factory=Latency)
    first_result_at_s: float | None = None  # monotonic: when the first frame had passed the AU stage
    coherence: Coherence = field(default_factory=Coherence)


class StreamTally:
    """Counts one stream as it goes.

    Parameters
    ----------
    clock : seconds, that by which `taken_s` was taken: monotonic, the same for all processes of a machine
    before : what was counted already, by a process that is gone
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, before: StreamStatistics = StreamStatistics()
    ) -> None:
        self._clock = clock
        self._counts = list(before.latency.counts)
        self._longest_s = before.latency.longest_s
        self._first_result_at_s: float | None = None
        fits = before.convergence
        self._fits, self._fits_converged = fits.fits, fits.fits_converged
        self._optimisations, self._converged, self._iterations = fits.optimisations, fits.converged, fits.iterations
        self._coherence = before.coherence

    def result_came(self) -> None:
        """A frame has passed the AU stage."""
        if self._first_result_at_s is None:
            self._first_result_at_s = self._clock()

    def written(
        self, taken_s: float, fits: Sequence[FaceFit], aus: Sequence[AuFrame] = (), detections: int = 0
    ) -> None:
        """The rows of a frame that left the decoder at `taken_s` were handed over.

        Faces were looked for in it `detections` times.
        """
        self._coherence += Coherence.of(fits, aus, detections)
        took_s = self._clock() - taken_s
        number = int(math.log(took_s / _SHORTEST_S) / _STEP) if took_s > _SHORTEST_S else 0
        self._counts[min(number, _BINS - 1)] += 1
        self._longest_s = max(self._longest_s, took_s)
        for fit in fits:
            if fit.optimisations:  # else the face was not fitted in this frame
                self._fits += 1
                self._fits_converged += fit.converged == fit.optimisations
                self._optimisations += fit.optimisations
                self._converged += fit.converged
                self._iterations += fit.iterations

    def statistics(self) -> StreamStatistics:
        """All so far."""
        return StreamStatistics(
            Convergence(self._fits, self._fits_converged, self._optimisations, self._converged, self._iterations),
            Latency(tuple(self._counts), self._longest_s),
            self._first_result_at_s,
            self._coherence,
        )


class RecentTally:
    """Counts the last one to two minutes of a stream that does not end.

    Parameters
    ----------
    clock : seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before, self._now = StreamStatistics(), StreamTally(clock)
        self._until_s = clock() + _RECENT_S

    def written(
        self, taken_s: float, fits: Sequence[FaceFit], aus: Sequence[AuFrame] = (), detections: int = 0
    ) -> None:
        """As `StreamTally.written`."""
        self._forget()
        self._now.written(taken_s, fits, aus, detections)

    def _forget(self) -> None:
        now_s = self._clock()
        if now_s >= self._until_s:
            recent = now_s < self._until_s + _RECENT_S  # else nobody has asked for a minute or more
            self._before, self._now = self._now.statistics() if recent else StreamStatistics(), StreamTally(self._clock)
            self._until_s = now_s + _RECENT_S

    def statistics(self) -> StreamStatistics:
        """Of the minute at hand and the one before."""
        self._forget()
        now = self._now.statistics()
        before = self._before
        return StreamStatistics(
            before.convergence + now.convergence,
            before.latency + now.latency,
            coherence=before.coherence + now.coherence,
        )
