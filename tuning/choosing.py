"""Which candidate is chosen, from measurements alone: within the budget, and better by more than the noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from auflow.profiles.profile import Figure, Verdict
from auflow.tuning.candidates import Candidate

__all__ = ["MARGIN", "Measured", "chosen_of", "decide", "is_hopeless"]

MARGIN = 0.05  # least share by which a candidate must be better: two quiet runs of one program differ by up to 3 %
SINGLE_MARGIN = 0.10  # where there was one round only, so that nobody knows how far rounds are apart
LEAST_GAIN = 0.01  # of a whole frame's CPU time: what saves less is not worth other numbers
HOPELESS = 1.5  # times the reference's cost after which nothing will make it faster


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one candidate; a time for each round, all of them in the same unit."""

    candidate: Candidate
    cpu_ms: tuple[float, ...] = ()  # CPU time of what is compared
    wall_ms: tuple[float, ...] = ()  # the clock on the wall for the same
    frame_cpu_ms: float | None = None  # CPU time of a frame, all stages, the least
    fps: float | None = None  # the most
    landmarks_px: float | None = None
    au_mean_r: float | None = None
    missed: tuple[str, ...] = ()  # budgets
    first_ratio: float | None = None  # of the reference's cost, where only the first frames were run
    error: str = ""  # why it could not be measured

    def costs_ms(self, *, wall: bool) -> tuple[float, ...]:
        """What counts, by round."""
        return self.wall_ms if wall else self.cpu_ms


def decide(
    reference: Measured, others: Sequence[Measured], *, measure: str, wall: bool = False, allowed: bool = True
) -> list[Figure]:
    """A figure for each, the reference's first; exactly one is chosen.

    A candidate replaces the reference only where it misses no budget and costs less by more than the noise, which is
    `MARGIN` (of single rounds `SINGLE_MARGIN`), how far the rounds of either are apart, or a hundredth of the whole
    frame, whichever is most. Of those that are about as good as the best
    the first is chosen.

    Parameters
    ----------
    measure : what is compared, in words, of a candidate on the CPU; "CPU ms ..."
    wall : the clock on the wall counts for all of them; else only for those on a device
    allowed : whether others may be chosen at all
    """
    figures = [_figure(reference, each, measure, wall or each.candidate.on_device, allowed) for each in others]
    better = {place: figure.ratio or 0.0 for place, figure in enumerate(figures) if figure.verdict == "faster"}
    good = min(better.values(), default=0.0) * (1 + MARGIN)
    place = next((place for place, ratio in better.items() if ratio <= good), -1)
    if place >= 0:
        figures[place] = replace(figures[place], chosen=True)
    first = replace(_described(reference, measure, wall), verdict="reference", chosen=place < 0, ratio=1.0)
    return [first, *figures]


def chosen_of(figures: Sequence[Figure], measured: Sequence[Measured]) -> Measured:
    """The measurement that the chosen figure is of; both are in the same order."""
    return next(one for figure, one in zip(figures, measured, strict=True) if figure.chosen)


def is_hopeless(reference: Measured, other: Measured) -> bool:
    """Whether another round would change nothing. Not asked of what computes on a device: it may still warm up."""
    if other.error or other.missed:
        return True
    if other.candidate.on_device or not reference.cpu_ms or not other.cpu_ms:
        return False
    return min(other.cpu_ms) > HOPELESS * min(reference.cpu_ms)


def _figure(reference: Measured, other: Measured, measure: str, wall: bool, allowed: bool) -> Figure:
    figure = _described(other, measure, wall)
    if other.error:
        return replace(figure, verdict="failed", why=other.error)
    if other.first_ratio is not None:
        return replace(figure, verdict="slower", ratio=other.first_ratio, noise=MARGIN, why="on the first frames alone")
    least, own = min(reference.costs_ms(wall=wall)), min(other.costs_ms(wall=wall))
    noise = _noise(reference, other, wall)
    ratio = own / least if least > 0 else 1.0
    verdict = _verdict(other, ratio, noise, allowed)
    return replace(figure, verdict=verdict, ratio=ratio, noise=noise, why="; ".join(other.missed))


def _verdict(other: Measured, ratio: float, noise: float, allowed: bool) -> Verdict:
    if other.missed:
        return "budget missed"
    if ratio < 1 - noise:
        return "faster" if allowed else "not asked for"
    return "slower" if ratio > 1 + noise else "within the noise"


def _described(measured: Measured, measure: str, wall: bool) -> Figure:
    costs = measured.costs_ms(wall=wall)
    return Figure(
        group=measured.candidate.group,
        candidate=measured.candidate.name,
        verdict="reference",
        cost_ms=min(costs, default=None),
        measure=measure.replace("CPU ms", "ms") if wall else measure,
        cpu_ms=measured.frame_cpu_ms,
        fps=measured.fps,
        landmarks_px=measured.landmarks_px,
        au_mean_r=measured.au_mean_r,
    )


def _noise(reference: Measured, other: Measured, wall: bool) -> float:
    costs = [each.costs_ms(wall=wall) for each in (reference, other)]
    margin = MARGIN if min(map(len, costs)) > 1 else SINGLE_MARGIN
    worth = LEAST_GAIN * (reference.frame_cpu_ms or 0.0) / max(min(costs[0]), 1e-9)
    return min(max(margin, worth, *map(_spread, costs)), 1.0)


def _spread(costs_ms: Sequence[float]) -> float:
    """How far the rounds are apart, by the half of them that is nearer to the least."""
    if len(costs_ms) < 2 or min(costs_ms) <= 0:
        return 0.0
    return (statistics.median_low(sorted(costs_ms)[1:]) - min(costs_ms)) / min(costs_ms)
