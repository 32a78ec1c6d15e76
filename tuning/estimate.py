"""About how long a session takes, from a run of the first frames."""

from __future__ import annotations

from collections.abc import Sequence

from auflow.errors import InputError
from auflow.stages.settings import StageSettings
from auflow.tuning.bench import Bench
from auflow.tuning.candidates import Candidate, Trial
from auflow.tuning.throughput import FRAMES_A_LANE

__all__ = ["estimate", "seconds_of"]

_LOAD_S = 1.5  # stages and their first use, for each candidate
_START_S = 2.5  # of `auflow run`
_LOOK_ROUNDS_OF_A_RUN = 0.5  # what looks cost in all, in runs of a clip


def estimate(bench: Bench, trials: Sequence[Trial], counts: Sequence[int], exact: StageSettings) -> str:
    """A sentence. The stages of the exact run are loaded and used for it, which is needed anyhow.

    Raises
    ------
    AuflowError
    KeyboardInterrupt
    """
    candidate = Candidate("together", "the reference of all", exact)
    speed = bench.speed(candidate, "all", "", first=True)
    if not all(run.successes for run in speed.runs):
        speed = bench.speed(candidate, "all", "looking for a face:")
        for clip, run in zip(bench.clips, speed.runs, strict=True):
            if not run.successes:
                raise InputError(
                    f"{clip.path.name}: no face was found in its first {run.frames} frames, so nothing could be told of"
                    " landmarks and AUs; give a clip with a face from its beginning"
                )
    fps = max(speed.fps, 0.1)
    seconds = seconds_of(trials, counts, bench.rounds, sum(clip.frames for clip in bench.clips), fps)
    return f"this takes about {_rounded(seconds)} at {fps:.0f} frames a second; after Ctrl-C no profile is saved"


def seconds_of(trials: Sequence[Trial], counts: Sequence[int], rounds: int, frames: int, fps: float) -> float:
    """About how long, if all candidates were as fast as the reference."""
    run_s = frames / fps
    each = [
        (len(trial.others) + 1) * (_LOAD_S + run_s * (_LOOK_ROUNDS_OF_A_RUN if trial.timed == "looks" else rounds))
        for trial in trials
    ]
    at_once = rounds * sum(_START_S + FRAMES_A_LANE / fps for _ in counts)
    return sum(each) + at_once


def _rounded(seconds: float) -> str:
    minutes = seconds / 60
    return f"{max(10 * round(seconds / 10), 10)} s" if minutes < 1.5 else f"{minutes:.0f} minutes"
