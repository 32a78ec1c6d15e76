"""The command line: reads it, checks what can be checked before any work starts, and turns errors into sentences."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import auflow
from auflow.errors import AuflowError, OutputError, UsageError
from auflow.threads import pin_threads

if TYPE_CHECKING:
    from auflow.options import RunOptions
    from auflow.report import Reporter, StreamSummary

__all__ = ["main"]

DESCRIPTION = """\
Facial Action Units, landmarks and head pose from video, as OpenFace 2.2 computes them:
17 AU intensities (0 to 5), 18 AU presences, 68 landmarks in 2-D and 3-D, per frame, as CSV."""

EPILOG = """\
first steps:
  auflow models fetch --accept-license    get OpenFace's model files (for research, see its licence)
  auflow run interview.mp4                write interview.csv to this folder
  auflow plot interview.csv               draw its AU intensities to interview.png

`auflow COMMAND --help` tells more about each."""

RUN_EPILOG = """\
examples:
  auflow run interview.mp4                          one video: interview.csv in this folder
  auflow run *.mp4 -o results                       many: results/NAME.csv each, all independent of each other
  auflow run frames/ --precision full               a folder of .jpg, .png or .bmp in the order of their names
  auflow run interview.mp4 --overlay                also interview.overlay.mp4 with what was found drawn in

Ctrl-C stops at the picture in hand; the rows so far are in NAME.partial.csv.
exit codes: 0 all written, 2 wrong usage or an input that cannot be read, 3 output cannot be written,
            4 model files missing or damaged, 5 a stage failed, 130 interrupted"""

PLOT_EPILOG = """\
examples:
  auflow plot interview.csv                         interview.png beside it
  auflow plot interview.csv -o figures/aus.png"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process) and return its exit code."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.handler is None:
        parser.print_help()
        return UsageError.exit_code
    try:
        code: int = parsed.handler(parsed)
        return code
    except AuflowError as error:
        sys.stderr.write(f"auflow: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("auflow: interrupted\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    from auflow.models.commands import add_parser as add_models_parser
    from auflow.validation.command import add_parser as add_validate_parser

    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("auflow", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"auflow {auflow.__version__}")
    parser.set_defaults(handler=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_run(commands)
    add_models_parser(commands)
    plot = commands.add_parser(
        "plot",
        help="draw the AU intensities of a CSV over time",
        description="Draw the AU intensities of a CSV over time, presence shaded, as a PNG.",
        epilog=PLOT_EPILOG,
        formatter_class=raw,
    )
    plot.add_argument("csv", metavar="CSV", type=Path, help="a file that `auflow run` (or OpenFace) has written")
    plot.add_argument("-o", "--output", metavar="PNG", type=Path, help="default: the CSV's name with .png, beside it")
    plot.set_defaults(handler=_plot)
    add_validate_parser(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="read videos or images, write a CSV for each",
        description="Read videos, folders of images or single images and write OpenFace's CSV for each.",
        epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("inputs", metavar="INPUT", nargs="+", type=Path, help="video file, image file or folder of images")
    run.add_argument(
        "-o", "--output-dir", metavar="DIR", type=Path, default=Path(), help="where the results go (default: here)"
    )
    run.add_argument(
        "--precision",
        choices=("openface", "full"),
        default="openface",
        help="decimals: those that OpenFace writes (default), or six everywhere",
    )
    run.add_argument("--inline", action="store_true", help="one process instead of one per stage: same CSV, slower")
    run.add_argument("--jobs", metavar="N", type=_positive, help="inputs worked on at the same time (default: by CPUs)")
    run.add_argument("--overlay", action="store_true", help="also write NAME.overlay.mp4 with what was found drawn in")
    run.add_argument("--quiet", action="store_true", help="no progress and no summary; errors are still told")
    run.set_defaults(handler=_run)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return number


def _run(parsed: argparse.Namespace) -> int:
    pin_threads()
    from auflow.report import exit_code, make_reporter

    options = _checked_options(parsed)
    reporter = make_reporter(quiet=options.quiet)
    try:
        return exit_code(_runner(options)(options, reporter))
    finally:
        reporter.close()


def _runner(options: RunOptions) -> Callable[[RunOptions, Reporter], list[StreamSummary]]:
    # Each brings what the other does not need: the transport here, the stages there.
    if options.inline:
        from auflow import inline

        return inline.run
    from auflow import orchestrator

    return orchestrator.run


def _checked_options(parsed: argparse.Namespace) -> RunOptions:
    from auflow.models import store
    from auflow.options import RunOptions, check_outputs

    options = RunOptions(
        inputs=tuple(parsed.inputs),
        output_dir=parsed.output_dir,
        models_root=store.default_root(),
        precision=parsed.precision,
        inline=parsed.inline,
        jobs=parsed.jobs or min(len(parsed.inputs), _available_cpus()),
        overlay=parsed.overlay,
        quiet=parsed.quiet,
    )
    check_outputs(options)
    store.require(options.models_root)
    _prepare_folder(options.output_dir)
    return options


def _available_cpus() -> int:
    # Not the machine's: a container or batch job may have been given fewer.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prepare_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only writing tells: permission bits know nothing of read-only or full file systems.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise OutputError(
            f"{folder}: no file can be written in this folder: {error.strerror}; choose another one with -o"
        ) from error


def _plot(parsed: argparse.Namespace) -> int:
    from auflow.plot import plot_csv

    path = plot_csv(parsed.csv, parsed.output or parsed.csv.with_suffix(".png"))
    sys.stdout.write(f"{path}\n")
    return 0
