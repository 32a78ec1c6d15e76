"""`auflow run --summary FILE`: the figures of a whole run as one JSON document. docs/summary.md has its keys."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import auflow
from auflow.errors import AuflowError, OutputError
from auflow.options import RunOptions
from auflow.report import INTERRUPTED_EXIT_CODE, PERCENTILES, Reporter, StreamSummary, exit_code
from auflow.stages.settings import Format
from auflow.stages.sink.paths import all_tables
from auflow.stages.statistics import Coherence, Convergence, Latency
from auflow.whole_file import write_whole

if TYPE_CHECKING:
    from auflow.run_timeline import RunTimeline
    from auflow.stages.records import SourceInfo

__all__ = ["run_and_summarise"]

_SCHEMA = 1  # raised when a key goes or changes its meaning
_NOTHING = StreamSummary("", None, 0, 0, 0, 0.0, interrupted=False, error=None)


def run_and_summarise(
    run: Callable[[RunOptions, Reporter], list[StreamSummary]],
    options: RunOptions,
    reporter: Reporter,
    *,
    timeline: RunTimeline | None = None,
) -> list[StreamSummary]:
    """Run, and write `options.summary` whatever comes of it, with the figures of `timeline`.

    Raises
    ------
    OutputError
        The file cannot be written. Where the run failed too, its own error is raised and this is told as a warning.
    """
    assert options.summary is not None
    path = options.summary.resolve()  # the file that a link means, not the link, is replaced
    with _writing(path):
        path.unlink(missing_ok=True)  # a run that is killed writes none, and must not leave an older one's
    listener = _Listener(reporter)
    try:
        summaries = run(options, listener)
    except BaseException as error:
        try:
            _write(path, _document(options, listener.summaries, error, timeline))
        except OutputError as second:
            reporter.warning(str(second))
        raise
    _write(path, _document(options, listener.summaries, None, timeline))
    return summaries


class _Listener:
    """Passes everything on to `reporter` and keeps the summaries: also those of a run that raises later."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.summaries: dict[str, StreamSummary] = {}

    def stream_started(self, info: SourceInfo) -> None:
        self._reporter.stream_started(info)

    def advanced(self, path: str, frames: int) -> None:
        self._reporter.advanced(path, frames)

    def stream_finished(self, summary: StreamSummary) -> None:
        self.summaries[summary.path] = summary
        self._reporter.stream_finished(summary)

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def warning(self, text: str) -> None:
        self._reporter.warning(text)

    def close(self) -> None:
        self._reporter.close()


def _document(
    options: RunOptions,
    summaries: dict[str, StreamSummary],
    error: BaseException | None,
    timeline: RunTimeline | None,
) -> dict[str, Any]:
    code, text = _outcome(list(summaries.values()), error)
    settings = {**asdict(options.settings), "inline": options.inline, "jobs": options.jobs}
    formats = options.settings.formats
    inputs = [_input(str(path), summaries.get(str(path)), formats) for path in options.inputs]
    return {
        "schema": _SCHEMA,
        "version": auflow.__version__,
        "options": settings,
        "exit_code": code,
        "error": text,
        "inputs": inputs,
        "totals": _totals(list(summaries.values()), [entry["state"] for entry in inputs], options.began_s),
        "timeline": None if timeline is None else timeline.figures,
    }


def _outcome(summaries: Sequence[StreamSummary], error: BaseException | None) -> tuple[int, str | None]:
    """Exit code and message of the run as such."""
    if error is None:
        return exit_code(summaries), None
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED_EXIT_CODE, None
    if isinstance(error, AuflowError):
        return error.exit_code, str(error)
    return 1, f"{type(error).__name__}: {error}"


def _input(path: str, summary: StreamSummary | None, formats: Sequence[Format]) -> dict[str, Any]:
    found = summary or _NOTHING
    if summary is None:
        state = "unfinished"  # the run ended before this input did, or before its turn
    elif summary.error is not None:
        state = "failed"
    else:
        state = "interrupted" if summary.interrupted else "complete"
    return {
        "path": path,
        "state": state,
        "output": found.output,
        "outputs": [] if found.output is None else [str(path) for path in all_tables(Path(found.output), formats)],
        "overlay_encoder": found.overlay_encoder,
        "error": found.error,
        "exit_code": found.exit_code,
        **_amounts([found], found.seconds),
    }


def _totals(summaries: Sequence[StreamSummary], states: Sequence[str], began_s: float) -> dict[str, Any]:
    counts = {state: states.count(state) for state in ("complete", "interrupted", "failed", "unfinished")}
    return {"inputs": len(states), **counts, **_amounts(summaries, time.monotonic() - began_s)}


def _amounts(summaries: Sequence[StreamSummary], seconds: float) -> dict[str, Any]:
    frames = sum(summary.frames for summary in summaries)
    dropped = sum(summary.dropped_frames for summary in summaries)
    failed = sum(summary.failed_frames for summary in summaries)
    firsts = [summary.first_result_s for summary in summaries if summary.first_result_s is not None]
    return {
        "frames": frames,
        "successes": sum(summary.successes for summary in summaries),
        "corrupt": sum(summary.corrupt_frames for summary in summaries),
        # in == done + dropped + failed
        "pictures": {"in": frames + dropped, "done": frames - failed, "dropped": dropped, "failed": failed},
        "restarts": sum(summary.restarts for summary in summaries),
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 3) if frames and seconds > 0 else None,
        "first_result_s": round(min(firsts), 3) if firsts else None,
        "latency_ms": _latency(sum((summary.statistics.latency for summary in summaries), Latency())),
        "convergence": _convergence(sum((summary.statistics.convergence for summary in summaries), Convergence())),
        "coherence": _coherence(sum((summary.statistics.coherence for summary in summaries), Coherence()), frames),
    }


def _latency(latency: Latency) -> dict[str, float | None]:
    times_s = {f"p{percent}": latency.percentile_s(percent) for percent in PERCENTILES}
    times_s["max"] = latency.longest_s or None
    return {name: None if at_s is None else round(1e3 * at_s, 3) for name, at_s in times_s.items()}


def _convergence(convergence: Convergence) -> dict[str, float | None]:
    return {
        "fits": convergence.fits,
        "fits_converged": convergence.fits_converged,
        "fits_converged_share": _share(convergence.fits_converged, convergence.fits),
        "optimisations": convergence.optimisations,
        "optimisations_converged": convergence.converged,
        "optimisations_converged_share": _share(convergence.converged, convergence.optimisations),
        "iterations": convergence.iterations,
        "iterations_per_fit": _share(convergence.iterations, convergence.fits),
    }


def _coherence(coherence: Coherence, frames: int) -> dict[str, float | None]:
    return {
        "detections": coherence.detections,
        "detections_per_frame": _share(coherence.detections, frames),
        "faces": coherence.faces,
        "reused": coherence.reused,
        "reused_share": _share(coherence.reused, coherence.faces),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _write(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    with _writing(path):
        write_whole(path, text)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}; free some space or choose another place with --summary"
        ) from error
