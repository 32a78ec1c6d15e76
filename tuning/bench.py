"""Measures candidates on clips: the stages in this process, each in turn with the reference it is held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.coherence.runs import Load, Run, run_once
from auflow.coherence.verdict import judge_tables
from auflow.errors import AuflowError, ModelError, OutputError
from auflow.inline import Stages
from auflow.options import RunOptions
from auflow.report import Reporter
from auflow.stages.settings import StageSettings
from auflow.tuning.candidates import Candidate, Trial
from auflow.tuning.choosing import Measured, decide, is_hopeless
from auflow.tuning.clocks import Lap, StageClock, clocked
from auflow.validation.budgets import Budgets
from auflow.validation.comparison import LANDMARKS

__all__ = ["Bench", "Clip", "Speed", "measure_trial"]

_LOOK_ROUNDS = 3  # to one of whole runs, for they are short
_MUCH_SLOWER = 2.0  # times the reference's CPU time on the first frames: the whole clip would tell nothing more


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of the user's."""

    path: Path  # what is run: its first frames
    first: Path  # of them the very first, to warm up with and to see who is hopeless
    frames: int  # of `path`, about
    looks: tuple[NDArray[np.uint8], ...] = ()  # pictures (h, w, 3) in which faces are looked for


@dataclass(frozen=True, slots=True)
class Speed:
    """One run of all clips."""

    runs: tuple[Run, ...]
    cost: Lap  # of what is compared, a frame

    @property
    def frames(self) -> int:
        """Of all clips."""
        return sum(run.frames for run in self.runs)

    @property
    def cpu_ms(self) -> float:
        """CPU time of a frame, all stages."""
        return 1e3 * sum(run.cpu_s for run in self.runs) / max(self.frames, 1)

    @property
    def fps(self) -> float:
        """Frames a second."""
        wall_s = sum(run.wall_s for run in self.runs)
        return self.frames / wall_s if wall_s > 0 else 0.0


@dataclass(slots=True)
class Bench:
    """What all measurements of a session share."""

    clips: tuple[Clip, ...]
    budgets: Budgets
    models_root: Path
    folder: Path  # for tables
    reporter: Reporter
    rounds: int
    load: Load
    clock: StageClock = field(default_factory=StageClock)
    _stages: dict[StageSettings, Stages] = field(default_factory=dict)
    _warm: set[StageSettings] = field(default_factory=set)

    def speed(self, candidate: Candidate, timed: str, label: str, *, first: bool = False) -> Speed:
        """One run of all clips, or of their first frames only.

        Raises
        ------
        AuflowError
        KeyboardInterrupt
        """
        self._prepare(candidate)
        cost, runs = Lap(), []
        for clip in self.clips:
            path = clip.first if first else clip.path
            self.clock.clear()
            runs.append(self._run(candidate, path, f"{label} {candidate.name}"))
            whole = Lap(runs[-1].cpu_s, runs[-1].wall_s)
            cost += whole if timed == "all" else self.clock.of(timed)
        frames = max(sum(run.frames for run in runs), 1)
        return Speed(tuple(runs), Lap(cost.cpu_s / frames, cost.wall_s / frames))

    def look(self, candidate: Candidate) -> Lap:
        """A look for faces in one picture, the mean over some of all clips."""
        self._prepare(candidate)
        pictures = [picture for clip in self.clips for picture in clip.looks]
        before = Lap.now()
        for picture in pictures:
            self._stages[candidate.settings].detector.detect(picture)
        took = Lap.now() - before
        return Lap(took.cpu_s / max(len(pictures), 1), took.wall_s / max(len(pictures), 1))

    def forget(self, keep: StageSettings) -> None:
        """Let go of all stages but these: models and sessions take memory."""
        for settings in [each for each in self._stages if each != keep]:
            del self._stages[settings]
            self._warm.discard(settings)

    def judged(self, exact: Speed, speed: Speed, measured: Measured) -> Measured:
        """With how far the tables are from the exact run's, the worst of all clips, and the budgets that are missed."""
        missed, pixels, correlations = [], [], []
        for clip, reference, run in zip(self.clips, exact.runs, speed.runs, strict=True):
            judged = judge_tables(
                reference.table,
                run.table,
                self.budgets,
                other_is=f"{measured.candidate.group} {measured.candidate.name}",
            )
            where = f" ({clip.path.stem})" if len(self.clips) > 1 else ""
            missed += [f"{text}{where}" for text in judged.missed]
            if judged.result is None:
                continue
            group = judged.result.groups.get(LANDMARKS.key)
            pixels += [group.mean] if group is not None and group.mean is not None else []
            rs = [au.r for au in judged.result.intensities.values()]
            correlations += [sum(rs) / len(rs)] if rs else []
        return replace(
            measured,
            landmarks_px=max(pixels, default=None),
            au_mean_r=min(correlations, default=None),
            missed=tuple(dict.fromkeys(missed)),
        )

    def _prepare(self, candidate: Candidate) -> None:
        """Load the stages and use them once: what is loaded, built or compiled at the first use is nobody's cost."""
        settings = candidate.settings
        if settings not in self._stages:
            with _failing(candidate):
                self._stages[settings] = clocked(self.load(self.models_root, settings), self.clock)
        if settings not in self._warm:
            self._warm.add(settings)
            for clip in self.clips[:1]:
                self._run(candidate, clip.first, f"warming up: {candidate.group} {candidate.name}")

    def _run(self, candidate: Candidate, path: Path, label: str) -> Run:
        output = self.folder / f"{candidate.group}-{_file_name(candidate.name)}"
        options = RunOptions((path,), output, self.models_root, settings=candidate.settings, inline=True, quiet=True)
        return run_once(path, options, self.reporter, lambda *_: self._stages[candidate.settings], label=label)


def measure_trial(bench: Bench, trial: Trial) -> list[Measured]:
    """The reference and the others, in turn, so that what else the machine does meets all; the reference first.

    Tables are held against the reference's.

    Raises
    ------
    AuflowError
        Of the reference; that of another candidate is its result.
    KeyboardInterrupt
    """
    entries = [_Entry(candidate) for candidate in (trial.reference, *trial.others)]
    if trial.timed == "looks":
        _measure_looks(bench, trial, entries)
    else:
        _measure_runs(bench, trial, entries)
    return [entry.measured for entry in entries]


def _measure_runs(bench: Bench, trial: Trial, entries: Sequence[_Entry]) -> None:
    first = entries[0]
    base = bench.speed(first.candidate, trial.timed, f"{trial.group}:", first=True)
    for entry in entries[1:]:
        with _told(entry):
            _try_first_frames(bench, trial, entry, base)
    for number in range(bench.rounds):
        for entry in entries if number % 2 == 0 else reversed(entries):
            if entry.over or (entry is not first and number and is_hopeless(first.measured, entry.measured)):
                continue
            with _told(entry, fatal=entry is first):
                label = f"{trial.group} {number + 1} of {bench.rounds}:"
                entry.add(bench.speed(entry.candidate, trial.timed, label))
        if number == 0:  # later rounds write the same tables
            _judge(bench, entries)


def _measure_looks(bench: Bench, trial: Trial, entries: Sequence[_Entry]) -> None:
    for number in range(_LOOK_ROUNDS * bench.rounds):
        for entry in entries if number % 2 == 0 else reversed(entries):
            if not entry.over:
                with _told(entry, fatal=entry is entries[0]):
                    entry.time(bench.look(entry.candidate))
    figures = decide(entries[0].measured, [entry.measured for entry in entries[1:]], measure="")
    better = [entry for entry, figure in zip(entries, figures, strict=True) if figure.verdict == "faster"]
    for entry in [entries[0]] * bool(better) + better:  # whoever is no faster need not be exact
        with _told(entry, fatal=entry is entries[0]):
            entry.speed = bench.speed(entry.candidate, "all", f"{trial.group}:")
    _judge(bench, [entries[0], *better])


@dataclass(slots=True)
class _Entry:
    """A candidate on its way through the rounds."""

    candidate: Candidate
    measured: Measured = field(init=False)
    speed: Speed | None = None  # of the last run
    over: bool = False  # no further rounds

    def __post_init__(self) -> None:
        self.measured = Measured(self.candidate)

    def time(self, lap: Lap) -> None:
        """One more round of what is compared."""
        cpu_ms, wall_ms = 1e3 * lap.cpu_s, 1e3 * lap.wall_s
        self.measured = replace(
            self.measured,
            cpu_ms=(*self.measured.cpu_ms, cpu_ms),
            wall_ms=(*self.measured.wall_ms, wall_ms),
        )

    def add(self, speed: Speed) -> None:
        """One more round of whole runs."""
        self.time(speed.cost)
        before = self.measured
        self.speed = speed
        self.measured = replace(
            before,
            frame_cpu_ms=min(speed.cpu_ms, before.frame_cpu_ms or speed.cpu_ms),
            fps=max(speed.fps, before.fps or 0.0),
        )


def _try_first_frames(bench: Bench, trial: Trial, entry: _Entry, base: Speed) -> None:
    """Where a candidate on the CPU is far slower on the first frames already, they are all that is run of it."""
    speed = bench.speed(entry.candidate, trial.timed, f"{trial.group}:", first=True)
    tracked = sum(run.successes for run in base.runs)
    if entry.candidate.on_device or 2 * tracked < base.frames or base.cost.cpu_s <= 0:
        return
    ratio = speed.cost.cpu_s / base.cost.cpu_s
    if ratio > _MUCH_SLOWER:
        entry.add(speed)
        entry.measured = replace(entry.measured, first_ratio=ratio)
        entry.over = True


def _judge(bench: Bench, entries: Sequence[_Entry]) -> None:
    reference = entries[0].speed
    for entry in entries[1:]:
        if reference is not None and entry.speed is not None and not entry.over:
            with _told(entry):
                entry.measured = bench.judged(reference, entry.speed, entry.measured)


@contextmanager
def _told(entry: _Entry, *, fatal: bool = False) -> Iterator[None]:
    """What goes wrong with a candidate is its result, and the end of its rounds."""
    try:
        yield
    except OutputError:
        raise  # the disk is full: that is nobody's fault
    except AuflowError as error:
        if fatal:
            raise
        entry.measured = replace(entry.measured, error=str(error))
        entry.over = True


@contextmanager
def _failing(candidate: Candidate) -> Iterator[None]:
    """A library of another maker raises what it likes where it cannot load a network."""
    try:
        yield
    except (AuflowError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ModelError(f"{candidate.group} {candidate.name}: {type(error).__name__}: {error}") from error


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
