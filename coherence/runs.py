"""One clip through the real stages, tracked exactly as OpenFace does and coherently, with a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from auflow import inline
from auflow.errors import AuflowError, InputError, ModelError, OutputError, StageError
from auflow.inline import Stages
from auflow.options import RunOptions, check_outputs, output_path
from auflow.report import Reporter, StreamSummary
from auflow.stages.settings import StageSettings, Tracking

if TYPE_CHECKING:
    from auflow.stages.records import SourceInfo

__all__ = ["MODES", "Load", "Pair", "Plan", "Run", "run_clip", "run_once"]

Load = Callable[[Path, StageSettings], Stages]

MODES: dict[Tracking, str] = {"openface": "exact", "coherent": "coherent"}  # as they are shown, in the order of tables


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and how often."""

    settings: Mapping[Tracking, StageSettings]
    models_root: Path
    folder: Path  # the tables go to `folder/exact` and `folder/coherent`
    repeat: int = 1

    def options(self, tracking: Tracking, clips: tuple[Path, ...]) -> RunOptions:
        """Of one run."""
        output = self.folder / MODES[tracking]
        return RunOptions(
            clips, output, self.models_root, settings=self.settings[tracking], inline=True, jobs=1, quiet=True
        )

    def check(self, clips: tuple[Path, ...]) -> None:
        """Refuse clips whose tables would overwrite each other, or a clip.

        Raises
        ------
        UsageError
        """
        for tracking in MODES:
            check_outputs(self.options(tracking, clips))


@dataclass(frozen=True, slots=True)
class Run:
    """What one clip took, in one of the two ways: the quickest of all its runs."""

    table: Path  # the CSV
    frames: int
    successes: int  # frames in which a face was tracked
    detections: int  # times that faces were looked for
    faces: int  # with Action Units, over all frames
    reused: int  # of them those that kept their descriptor
    cpu_s: float  # of all threads, without loading the models
    wall_s: float

    @property
    def cpu_ms(self) -> float:
        """CPU time of a frame."""
        return 1e3 * self.cpu_s / max(self.frames, 1)

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def reused_share(self) -> float:
        """Of the faces."""
        return self.reused / self.faces if self.faces else 0.0


Pair = Mapping[Tracking, Run]


def run_clip(clip: Path, plan: Plan, reporter: Reporter, load: Load) -> Pair:
    """Both ways, `plan.repeat` times each in turn, so that what else the machine does meets both.

    Parameters
    ----------
    reporter : hears how far each run is; the path of an input has the way behind it
    load : the stages of a run; they are reset for each

    Raises
    ------
    AuflowError
        Of the input, the models, the disk or a stage.
    KeyboardInterrupt
        The user has had enough.
    """
    best: dict[Tracking, Run] = {}
    for number in range(plan.repeat):
        for tracking in MODES if number % 2 == 0 else reversed(MODES):
            which = f"{MODES[tracking]}, {number + 1} of {plan.repeat}" if plan.repeat > 1 else MODES[tracking]
            run = run_once(clip, plan.options(tracking, (clip,)), reporter, load, label=f"{clip} ({which})")
            before = best.get(tracking, run)
            best[tracking] = replace(run, cpu_s=min(run.cpu_s, before.cpu_s), wall_s=min(run.wall_s, before.wall_s))
    return {tracking: best[tracking] for tracking in MODES}


def run_once(clip: Path, options: RunOptions, reporter: Reporter, load: Load, *, label: str) -> Run:
    """One run of one clip in this process.

    Parameters
    ----------
    options : of a run whose only input is the clip
    reporter, load : as in `run_clip`
    label : what the reporter hears in place of the clip's path

    Raises
    ------
    AuflowError, KeyboardInterrupt
        As in `run_clip`.
    """
    clock = _Clocked(reporter, label)
    with _making(options.output_dir):
        options.output_dir.mkdir(parents=True, exist_ok=True)
    (summary,) = inline.run(options, clock, load=load)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.error is not None:
        raise _error(summary.exit_code)(summary.error)
    work = summary.statistics.coherence
    return Run(
        table=output_path(options, clip),
        frames=summary.frames,
        successes=summary.successes,
        detections=work.detections,
        faces=work.faces,
        reused=work.reused,
        cpu_s=clock.cpu_s,
        wall_s=summary.seconds,
    )


def _error(code: int) -> type[AuflowError]:
    kinds = (InputError, OutputError, ModelError)
    return next((kind for kind in kinds if kind.exit_code == code), StageError)


@contextmanager
def _making(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another folder with --keep") from error


@dataclass(slots=True)
class _Clocked:
    """Passes on how far a run is, and takes the CPU time between its start and its end, less that of the telling."""

    reporter: Reporter
    label: str
    cpu_s: float = 0.0
    _began_s: float = field(default=0.0)

    def stream_started(self, info: SourceInfo) -> None:
        """The stages are there, and work begins."""
        self.reporter.stream_started(replace(info, path=self.label))
        self._began_s = time.process_time()

    def advanced(self, path: str, frames: int) -> None:
        """So many frames are done."""
        before_s = time.process_time()
        self.reporter.advanced(self.label, frames)
        self._began_s += time.process_time() - before_s

    def stream_finished(self, summary: StreamSummary) -> None:
        """The table is written."""
        self.cpu_s = time.process_time() - self._began_s
        self.reporter.stream_finished(replace(summary, path=self.label))

    def note(self, text: str) -> None:
        """Passed on."""
        self.reporter.note(text)

    def warning(self, text: str) -> None:
        """Passed on."""
        self.reporter.warning(text)

    def close(self) -> None:
        """The reporter is closed by whoever made it."""
