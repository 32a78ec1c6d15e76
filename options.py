"""What a run is asked to do: one frozen record, made once by the command line and passed on as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auflow.errors import UsageError

__all__ = ["Precision", "RunOptions", "check_outputs", "output_path", "overlay_path"]

Precision = Literal["openface", "full"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of `auflow run`, checked and resolved."""

    inputs: tuple[Path, ...]  # video files, image files or folders of images, in the order given
    output_dir: Path  # exists and is writable
    models_root: Path  # complete model store (`auflow.models.store`)
    precision: Precision = "openface"  # decimals of the CSV: OpenFace's own, or six everywhere
    inline: bool = False  # all stages in this process instead of one process each
    jobs: int = 1  # inputs worked on at the same time, at least 1; ignored when inline
    overlay: bool = False  # also write NAME.overlay.mp4
    quiet: bool = False  # no progress and no summary; warnings and errors stay


def output_path(options: RunOptions, source: Path) -> Path:
    """Where the CSV of one input goes: the output folder, the input's name without its suffix, `.csv`."""
    return options.output_dir / f"{_stem(source)}.csv"


def overlay_path(output: Path) -> Path:
    """Where the annotated video of the CSV `output` goes: beside it, as NAME.overlay.mp4."""
    return output.with_name(f"{output.name.removesuffix('.csv')}.overlay.mp4")


def check_outputs(options: RunOptions) -> None:
    """Refuse a run in which one file would overwrite another.

    Raises
    ------
    UsageError
        Two inputs would write the same CSV, or an output would replace an input; both paths are named.
    """
    writers: dict[Path, Path] = {}
    for source in options.inputs:
        output = output_path(options, source)
        if output in writers:
            raise UsageError(
                f"{writers[output]} and {source} would both write {output}; "
                "run them one at a time with different -o folders, or rename one"
            )
        writers[output] = source
    _check_inputs_survive(options, list(writers))


def _check_inputs_survive(options: RunOptions, outputs: Sequence[Path]) -> None:
    sources = {source.resolve(): source for source in options.inputs}
    written = [*outputs, *(overlay_path(output) for output in outputs if options.overlay)]
    for output in written:
        if output.resolve() in sources:
            raise UsageError(
                f"{output} would replace the input {sources[output.resolve()]}; choose another folder with -o"
            )


def _stem(source: Path) -> str:
    resolved = source.resolve()
    # A folder keeps its whole name ("session.2" has no suffix); "." and "/" resolve to something with a name or none.
    return (resolved.name if resolved.is_dir() else resolved.stem) or "images"
