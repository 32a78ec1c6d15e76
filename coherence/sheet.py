"""What was measured, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from auflow.coherence.runs import MODES, Run
from auflow.coherence.verdict import Outcome
from auflow.validation.text import Sheet

__all__ = ["as_dict", "lines", "sheet"]

_HEAD = ("clip", "frames", "looks", "fps", "CPU ms", "kept", "px", "mean r", "min r", "success", "verdict")
_EMPTY = "-"


def sheet(outcomes: Sequence[Outcome]) -> Sheet:
    """A line for each clip; where there are two figures, exact / coherent."""
    return Sheet("exact / coherent", ("", *_HEAD[1:]), tuple(_row(outcome) for outcome in outcomes))


def _row(outcome: Outcome) -> tuple[str, ...]:
    pair, result, rs = outcome.pair, outcome.result, outcome.au_r
    if pair is None:
        return (outcome.clip.name, *(_EMPTY,) * (len(_HEAD) - 2), "error")

    def both(figure: Callable[[Run], str]) -> str:
        return " / ".join(figure(pair[tracking]) for tracking in MODES)

    return (
        outcome.clip.name,
        str(pair["openface"].frames),
        both(lambda run: str(run.detections)),
        both(lambda run: f"{run.fps:.0f}"),
        both(lambda run: f"{run.cpu_ms:.2f}"),
        f"{pair['coherent'].reused_share:.1%}",
        _EMPTY if outcome.landmarks_px is None else f"{outcome.landmarks_px:.4f}",
        f"{sum(rs) / len(rs):.4f}" if rs else _EMPTY,
        f"{min(rs):.4f}" if rs else _EMPTY,
        _EMPTY if result is None else f"{result.success_agreement:.2%}",
        "met" if outcome.met else "missed",
    )


def lines(outcomes: Sequence[Outcome], asked: int) -> Iterator[str]:
    """What was missed, failed or needs a word; then what is saved over all clips, of which there are `asked`."""
    for outcome in outcomes:
        name = outcome.clip.name
        if outcome.note:
            yield f"note    {name}: {outcome.note}"
        yield from (f"missed  {name}: {text}" for text in outcome.missed)
        if outcome.error:
            yield f"error   {outcome.error}"
    done = [outcome.pair for outcome in outcomes if outcome.pair is not None]
    if not done:
        return
    looks = [sum(pair[tracking].detections for pair in done) for tracking in MODES]
    cpu_s = [sum(pair[tracking].cpu_s for pair in done) for tracking in MODES]
    share = f", {cpu_s[1] / cpu_s[0]:.1%} of the CPU time" if cpu_s[0] > 0 else ""
    yield f"in all, looks for faces: {looks[1]} instead of {looks[0]}{share}"
    if len(outcomes) == asked and all(outcome.met for outcome in outcomes):
        yield "all budgets are met"


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """The figures of one clip, for JSON."""
    pair = outcome.pair
    return {
        "clip": str(outcome.clip),
        "met": outcome.met,
        "missed": list(outcome.missed),
        "note": outcome.note or None,
        "error": outcome.error or None,
        **{shown: _figures(pair[tracking]) if pair is not None else None for tracking, shown in MODES.items()},
        "comparison": None if outcome.result is None else outcome.result.as_dict(),
    }


def _figures(run: Run) -> dict[str, float]:
    return {
        "frames": run.frames,
        "successes": run.successes,
        "detections": run.detections,
        "faces": run.faces,
        "reused": run.reused,
        "reused_share": round(run.reused_share, 4),
        "fps": round(run.fps, 2),
        "cpu_ms": round(run.cpu_ms, 4),
    }
