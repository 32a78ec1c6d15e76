"""What the user sees of a run: progress, warnings and the summary, all on standard error."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO, TypeAlias

from auflow.stages.statistics import StreamStatistics

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from auflow.stages.records import SourceInfo

__all__ = [
    "INTERRUPTED_EXIT_CODE",
    "PERCENTILES",
    "BarReporter",
    "PlainReporter",
    "Reporter",
    "StreamSummary",
    "Words",
    "cut_short_warning",
    "describe",
    "exit_code",
    "make_reporter",
]

LINE_INTERVAL_S = 5.0
DRAW_INTERVAL_S = 0.2
# Containers are often a few pictures off; a tenth is a file that ends too early.
LEAST_SHARE = 0.9
INTERRUPTED_EXIT_CODE = 130
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """How one input ended."""

    path: str
    output: str | None  # the CSV that was written, None when there is none
    frames: int  # rows of the CSV
    successes: int  # rows in which a face was fitted
    corrupt_frames: int  # pictures that were damaged: repaired by the decoder, or lost
    seconds: float  # wall time of this input
    interrupted: bool
    error: str | None  # the message of the error that ended it
    exit_code: int = 0  # of that error
    statistics: StreamStatistics = field(default_factory=StreamStatistics)
    first_result_s: float | None = None  # from the run's begin until the first frame had passed the AU stage
    failed_frames: int = 0  # of `frames`: ended a worker twice, so that no stage looked at them
    dropped_frames: int = 0  # have no row
    restarts: int = 0  # of the workers, while they were at this input
    overlay_encoder: str | None = None  # that made the annotated video, where there is one


Words: TypeAlias = Callable[[StreamSummary], str]


class Reporter(Protocol):
    """What a runner tells while it works; called from one thread only."""

    def stream_started(self, info: SourceInfo) -> None:
        """An input was opened; `info.path` names it from here on."""

    def advanced(self, path: str, frames: int) -> None:
        """`frames` rows of the input `path` are done in all."""

    def stream_finished(self, summary: StreamSummary) -> None:
        """An input ended, well or not; also called for one that never started."""

    def note(self, text: str) -> None:
        """Something that explains a wait."""

    def warning(self, text: str) -> None:
        """Something the user should know that does not end the run."""

    def close(self) -> None:
        """The run is over: take the bars away and print the total."""


def make_reporter(
    *, quiet: bool, stream: TextIO | None = None, words: Words | None = None, threaded: bool = True
) -> Reporter:
    """The reporter that fits `stream` (default: standard error): bars on a terminal, otherwise plain lines.

    Parameters
    ----------
    quiet : only warnings and errors
    stream : where it is told
    words : of the end of an input, by default `describe`; "" for nothing, and none of it in the total
    threaded : bars are drawn in a thread; else by the calls, so that whoever takes the time can leave that out
    """
    stream = stream or sys.stderr or io.StringIO()  # no standard error at all: nobody reads it
    if stream.isatty() and not quiet:
        return BarReporter(stream, words, threaded=threaded)
    return PlainReporter(stream, quiet=quiet, words=words)


def describe(summary: StreamSummary, *, coherent: bool = False) -> str:
    """One paragraph on one input: frames, faces, speed, corrupt frames, where the file is; below it what they took.

    Of coherent tracking it tells also how many faces kept their descriptor.
    """
    name = Path(summary.path).name or summary.path
    if summary.error is not None and summary.output is None:
        return f"auflow: error: {summary.error}"
    text = f"{name}: {_amounts(summary.frames, summary.successes, summary.seconds)}."
    if summary.corrupt_frames:
        text += f" {_count(summary.corrupt_frames, 'corrupt picture')} (damaged or lost)."
    text += _mishaps(summary.failed_frames, summary.restarts)
    if summary.error is not None:
        text += f" It ended with an error: {summary.error}"
    if summary.interrupted:
        text += " Interrupted before its end."
    text += f" Written to {summary.output}" if summary.output else " Nothing was written."
    return "\n  ".join([text, *_figures(summary, coherent)])


def cut_short_warning(info: SourceInfo, frames: int) -> str | None:
    """A warning when an input ended long before the length that its file declares, else None."""
    if info.frame_count is None or frames >= LEAST_SHARE * info.frame_count:
        return None
    return (
        f"{info.path}: ended after {_count(frames, 'picture')} of the {info.frame_count} that the file declares; "
        "it may be damaged or cut short"
    )


def exit_code(summaries: Sequence[StreamSummary]) -> int:
    """The exit code of a run: 130 when it was interrupted, else that of the first error, else 0."""
    if any(summary.interrupted for summary in summaries):
        return INTERRUPTED_EXIT_CODE
    return next((summary.exit_code or 1 for summary in summaries if summary.error is not None), 0)


def _amounts(frames: int, successes: int, seconds: float) -> str:
    share = f" ({100 * successes / frames:.1f} %)" if frames else ""
    speed = f" ({frames / seconds:.1f} fps)" if seconds > 0 else ""
    return f"{_count(frames, 'frame')} in {seconds:.1f} s{speed}, a face in {successes}{share}"


def _mishaps(failed: int, restarts: int) -> str:
    """Sentences on what went wrong and was mended, or nothing."""
    text = f" {_count(failed, 'frame')} failed: no stage could work on it." if failed == 1 else ""
    text = f" {failed} frames failed: no stage could work on them." if failed > 1 else text
    return text + (f" Workers were started again {_count(restarts, 'time')}." if restarts else "")


def _figures(summary: StreamSummary, coherent: bool) -> list[str]:
    """A line on convergence, detection and latency, or none where there is nothing to tell."""
    parts = []
    convergence, latency = summary.statistics.convergence, summary.statistics.latency
    if convergence.fits:
        parts.append(
            f"{convergence.iterations / convergence.fits:.1f} iterations a fit, "
            f"{100 * convergence.converged / convergence.optimisations:.1f} % of the optimisations converged"
        )
    parts += _work(summary, coherent)
    times = [f"p{p} {1e3 * at_s:.1f} ms" for p in PERCENTILES if (at_s := latency.percentile_s(p)) is not None]
    if times:
        parts.append(f"latency {', '.join(times)}")
    if summary.first_result_s is not None:
        parts.append(f"first result after {summary.first_result_s:.2f} s")
    return ["; ".join(parts)] if parts else []


def _work(summary: StreamSummary, coherent: bool) -> list[str]:
    work = summary.statistics.coherence
    parts = [f"faces looked for {_count(work.detections, 'time')}"] if work.detections or work.faces else []
    if coherent and work.faces:
        parts.append(f"{100 * work.reused / work.faces:.1f} % of the descriptors kept")
    return parts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _total(summaries: Sequence[StreamSummary], seconds: float) -> str:
    failed = sum(summary.error is not None for summary in summaries)
    frames = sum(summary.frames for summary in summaries)
    successes = sum(summary.successes for summary in summaries)
    corrupt = sum(summary.corrupt_frames for summary in summaries)
    text = f"Total: {_count(len(summaries), 'input')}" + (f", {failed} failed" if failed else "")
    text += f"; {_amounts(frames, successes, seconds)}"
    text += f"; {_count(corrupt, 'corrupt picture')} (damaged or lost)." if corrupt else "."
    return text + _mishaps(
        sum(summary.failed_frames for summary in summaries), sum(summary.restarts for summary in summaries)
    )


class PlainReporter:
    """Lines for a log file or a pipe: at most one of progress every few seconds, one paragraph per input.

    Parameters
    ----------
    stream : where the lines go
    quiet : only warnings and errors
    words : as in `make_reporter`
    clock : seconds, monotonic
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        quiet: bool = False,
        words: Words | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._words = words or describe
        self._quiet = quiet
        self._clock = clock
        self._opened_s = self._line_s = clock()
        self._running: dict[str, tuple[SourceInfo, float]] = {}
        self._summaries: list[StreamSummary] = []

    def stream_started(self, info: SourceInfo) -> None:
        """Remember the input and when it began."""
        self._running[info.path] = (info, self._clock())

    def advanced(self, path: str, frames: int) -> None:
        """Print a line when the last one is old enough."""
        now = self._clock()
        if self._quiet or path not in self._running or now - self._line_s < LINE_INTERVAL_S:
            return
        self._line_s = now
        info, began_s = self._running[path]
        fps = frames / (now - began_s) if now > began_s else 0.0
        total = info.frame_count
        text = f"{Path(path).name}: {frames}{f' of {total}' if total else ''} frames, {fps:.1f} fps"
        if total and fps > 0 and total > frames:
            text += f", {(total - frames) / fps:.0f} s left"
        self._print(text)

    def stream_finished(self, summary: StreamSummary) -> None:
        """Print the input's paragraph; when quiet, only an error."""
        self._running.pop(summary.path, None)
        if not (text := self._words(summary)):
            return
        self._summaries.append(summary)
        if not self._quiet or summary.error is not None:
            self._print(text)

    def note(self, text: str) -> None:
        """Print the line unless quiet."""
        if not self._quiet:
            self._print(f"auflow: {text}")

    def warning(self, text: str) -> None:
        """Print the warning."""
        self._print(f"auflow: warning: {text}")

    def close(self) -> None:
        """Print the total of more than one input."""
        if len(self._summaries) > 1 and not self._quiet:
            self._print(_total(self._summaries, self._clock() - self._opened_s))

    def _print(self, text: str) -> None:
        # The reader may be gone (`| head -1`) or the log's disk full: the results do not depend on it.
        with suppress(OSError):
            print(text, file=self._stream, flush=True)


class BarReporter:
    """A bar per running input with its speed and the time left, for a terminal."""

    def __init__(self, stream: TextIO, words: Words | None = None, *, threaded: bool = True) -> None:
        self._progress = _bars(stream, threaded)
        self._threaded = threaded
        self._drawn_s = 0.0
        self._words = words or describe
        self._began_s = time.monotonic()
        self._tasks: dict[str, TaskID] = {}
        self._summaries: list[StreamSummary] = []
        self._progress.start()

    def stream_started(self, info: SourceInfo) -> None:
        """Show a bar for the input; a pulsing one when its length is unknown."""
        name = Path(info.path).name or info.path
        self._tasks[info.path] = self._progress.add_task(name, total=info.frame_count, fps="")

    def advanced(self, path: str, frames: int) -> None:
        """Move the input's bar."""
        if path not in self._tasks:
            return
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[path])]
        elapsed_s = task.elapsed or 0.0
        fps = f"{frames / elapsed_s:.1f} fps" if elapsed_s > 0 else ""
        # A container may declare too few frames: a bar beyond its end would look finished.
        total = None if task.total is not None and frames > task.total else task.total
        self._progress.update(self._tasks[path], completed=frames, total=total, fps=fps)
        now = time.monotonic()
        if not self._threaded and now - self._drawn_s >= DRAW_INTERVAL_S:
            self._drawn_s = now
            self._progress.refresh()

    def stream_finished(self, summary: StreamSummary) -> None:
        """Replace the input's bar by its paragraph."""
        task = self._tasks.pop(summary.path, None)
        if task is not None:
            self._progress.remove_task(task)
        if text := self._words(summary):
            self._summaries.append(summary)
            self._print(text)

    def note(self, text: str) -> None:
        """Print the line above the bars."""
        self._print(f"auflow: {text}")

    def warning(self, text: str) -> None:
        """Print the warning above the bars."""
        self._print(f"auflow: warning: {text}")

    def close(self) -> None:
        """Take the bars away and print the total of more than one input."""
        self._progress.stop()
        if len(self._summaries) > 1:
            self._print(_total(self._summaries, time.monotonic() - self._began_s))

    def _print(self, text: str) -> None:
        # File names are not markup, and a path must survive being copied: no highlighting, no wrapping.
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _bars(stream: TextIO, threaded: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]}"),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
        auto_refresh=threaded,
    )
