"""What a run is asked to do: one frozen record, made once by the command line and passed on as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auflow.errors import UsageError
from auflow.stages.settings import StageSettings
from auflow.stages.sink.paths import aligned_dir, hog_path, overlay_path, table_path

__all__ = ["STDIN", "RunOptions", "check_outputs", "output_path"]

STDIN = Path("-")  # as an input: what comes through standard input


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `auflow run`, checked and resolved."""

    inputs: tuple[Path, ...]  # video files, image files or folders of images, in the order given
    output_dir: Path  # exists and is writable
    models_root: Path  # complete model store (`auflow.models.store`)
    settings: StageSettings = field(default_factory=StageSettings)
    inline: bool = False  # all stages in this process instead of one process each
    jobs: int = 1  # inputs worked on at the same time, at least 1; ignored when inline
    quiet: bool = False  # no progress and no summary; warnings and errors stay
    resume: bool = False  # go on where an earlier run of the same was interrupted
    checkpoint_s: float = 1.0  # how often a place to go on from is kept; more rarely in a long input
    metrics: tuple[str, int] | None = None  # host and port where the metrics of the run are told
    summary: Path | None = None  # where the figures of the run go as JSON
    timeline: Path | None = None  # where the timeline of the run goes
    began_s: float = field(default_factory=time.monotonic, compare=False)  # monotonic; first results count from it


def output_path(options: RunOptions, source: Path) -> Path:
    """Where the CSV of one input goes: the output folder, the input's name without its suffix, `.csv`.

    Of a run without a CSV it is still that after which all its files are named.
    """
    return options.output_dir / f"{_stem(source)}.csv"


def check_outputs(options: RunOptions) -> None:
    """Refuse a run in which one file would overwrite another.

    Raises
    ------
    UsageError
        Two inputs would write the same file, an output would replace an input, or the summary or timeline
        another file; both paths are named.
    """
    writers: dict[Path, Path] = {}
    for source in options.inputs:
        output = output_path(options, source)
        if output in writers:
            raise UsageError(
                f"{writers[output]} and {source} would both write {_tables(output, options.settings)[0]}; "
                "run them one at a time with different -o folders, or rename one"
            )
        for path in _tables(output, options.settings):
            if path.is_dir():
                raise UsageError(f"{path} is a folder, so no file can have this name; choose another folder with -o")
        writers[output] = source
    written = [path for output in writers for path in _files(output, options.settings)]
    _check_inputs_survive(options, written, "choose another folder with -o")
    if options.summary is not None:
        _check_one(options, options.summary, "summary", written)
        written.append(options.summary)
    if options.timeline is not None:
        _check_one(options, options.timeline, "timeline", written)


def _check_one(options: RunOptions, path: Path, what: str, written: Sequence[Path]) -> None:
    if str(path) == "-":
        raise UsageError(f"--{what}: expected the name of a file; standard output is not one")
    if path.exists() and not path.is_file():
        raise UsageError(f"--{what}: expected the name of a file, got {path}, which is none")
    if _is_something_else(path):
        raise UsageError(f"{path} is there, and it is no {what} of an earlier run; choose another name for --{what}")
    for other in written:
        if path.resolve() == other.resolve():
            result = "the summary" if other is options.summary else "a result"
            raise UsageError(f"{path} would be both the {what} and {result}; choose another name for --{what}")
    _check_inputs_survive(options, [path], f"choose another name for --{what}")


def _is_something_else(path: Path) -> bool:
    """Whether there is a file that does not begin as JSON does."""
    try:
        with path.open("rb") as file:
            return file.read(1) not in (b"", b"{", b"[")
    except OSError:
        return False


def _check_inputs_survive(options: RunOptions, written: Sequence[Path], remedy: str) -> None:
    # With their folders: that of aligned faces is emptied of older ones, so nothing in it may be an input.
    taken = {place: source for source in options.inputs for place in source.resolve().parents}
    taken |= {source.resolve(): source for source in options.inputs}
    for path in written:
        if (lost := taken.get(path.resolve())) is not None:
            raise UsageError(f"{path} would replace the input {lost}; {remedy}")


def _tables(output: Path, settings: StageSettings) -> list[Path]:
    return [table_path(output, form) for form in settings.formats]


def _files(output: Path, settings: StageSettings) -> list[Path]:
    wanted = {overlay_path: settings.overlay, hog_path: settings.hog, aligned_dir: settings.aligned}
    return [*_tables(output, settings), *(path(output) for path, asked in wanted.items() if asked)]


def _stem(source: Path) -> str:
    if source == STDIN:
        return "stdin"
    # A link's own name counts, not its target's, which may be a mere hash. "." and "/" have none of their own.
    named = source if source.name not in ("", "..") else source.resolve()
    # A folder keeps its whole name: "session.2" has no suffix.
    return (named.name if named.is_dir() else named.stem) or "images"
