"""The command line: reads it, checks what can be checked before any work starts, and turns errors into sentences."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import auflow
from auflow.errors import AuflowError, UsageError

__all__ = ["main"]

DESCRIPTION = """\
Facial Action Units, landmarks and head pose from video, as OpenFace 2.2 computes them:
17 AU intensities (0 to 5), 18 AU presences, 68 landmarks in 2-D and 3-D, per frame, as CSV."""

EPILOG = """\
first steps:
  auflow models fetch --accept-license    get OpenFace's model files (for research, see its licence)
  auflow doctor                           is everything here? what is broken, and what mends it
  auflow run interview.mp4                write interview.csv to this folder
  auflow plot interview.csv               draw its Action Units, head and gaze to interview.png
  auflow report interview.csv             one page: can its numbers be used, and where not?
  auflow serve serve.toml                 run cameras day and night; `auflow ctl status` tells how it goes
  auflow tune interview.mp4               measure what is fastest here, for `run` and `serve` to use
  auflow validate openface.csv ours.csv   compare two results, column group by column group

`auflow COMMAND --help` tells more about each."""

_BROKEN_PIPE = 141  # as shells have it: 128 and the number of SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process) and return its exit code."""
    _open_closed_streams()
    parser = _parser()
    parsed, left = parser.parse_known_args(arguments)
    if left:
        _take_inputs(parser, parsed, left)
    if parsed.handler is None:
        parser.print_help()
        return UsageError.exit_code
    try:
        code: int = parsed.handler(parsed)
        return code
    except AuflowError as error:
        _say(f"auflow: error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return _interrupted()
    except ImportError as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # in the middle of a library that was being loaded
            return _interrupted()
        raise
    except BrokenPipeError:
        # `| head` has seen enough. Python must not try to flush again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _interrupted() -> int:
    _say("auflow: interrupted\n")
    return 130


def _take_inputs(parser: argparse.ArgumentParser, parsed: argparse.Namespace, left: Sequence[str]) -> None:
    """Inputs of `run` that come after its options (argparse takes only one block of them); the rest is an error."""
    if not isinstance(getattr(parsed, "inputs", None), list) or any(word.startswith("-") for word in left):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    parsed.inputs += [Path(word) for word in left]


def _open_closed_streams() -> None:
    """Standard streams that the caller has closed lead nowhere; else the next file opened would stand in for them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it: the exit code still tells
        sys.stderr.write(text)


def _parser() -> argparse.ArgumentParser:
    from auflow.benchmarks.command import add_parser as add_bench_parser
    from auflow.coherence.command import add_budget_options
    from auflow.doctor.command import add_parser as add_doctor_parser
    from auflow.export.command import add_parser as add_export_parser
    from auflow.live.command import add_parser as add_listen_parser
    from auflow.live.keys_command import add_parser as add_keys_parser
    from auflow.models.commands import add_parser as add_models_parser
    from auflow.plots.command import add_parser as add_plot_parser
    from auflow.run_command import add_parser as add_run_parser
    from auflow.serve.command import add_parser as add_serve_parser
    from auflow.serve.ctl_command import add_parser as add_ctl_parser
    from auflow.serve.detect_command import add_parser as add_detect_parser
    from auflow.serve.top.command import add_parser as add_top_parser
    from auflow.tuning.command import add_parser as add_tune_parser
    from auflow.validation.command import add_parser as add_validate_parser
    from auflow.video_report.command import add_parser as add_report_parser

    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("auflow", description=DESCRIPTION, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"auflow {auflow.__version__}")
    parser.set_defaults(handler=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    add_run_parser(commands)
    add_serve_parser(commands)
    add_ctl_parser(commands)
    add_top_parser(commands)
    add_detect_parser(commands)
    add_export_parser(add_models_parser(commands))
    add_plot_parser(commands)
    add_report_parser(commands)
    add_budget_options(*add_validate_parser(commands))
    add_listen_parser(commands)
    add_keys_parser(commands)
    add_bench_parser(commands)
    add_doctor_parser(commands)
    add_tune_parser(commands)
    return parser
