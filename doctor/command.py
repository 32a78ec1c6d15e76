"""`auflow doctor`: its options and its handler. What looks at the machine is imported only when it is used."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import OutputError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser", "run_doctor"]

DESCRIPTION = """\
Look at this machine and at the installation: what there is, what auflow would use and why, what is broken and the
command that mends it. Nothing is downloaded or sent, and nothing is mended by itself: what it writes to try is taken
away again, but for the empty folder of compiled kernels. It takes about two seconds; a driver or a disk that hangs is
given up after 10 to 30 s, and told."""

EPILOG = """\
Each finding is fine, a note (worth knowing, auflow works all the same) or broken. docs/doctor.md has them all.

examples:
  auflow doctor                          everything
  auflow doctor -o /data/results         also: is there room in the folder that results go to?
  auflow doctor --json | jq '.findings[] | select(.state == "broken")'

exit codes: 0 nothing is broken (there may be notes), 1 something is, 2 wrong usage"""

_NOT_A_TERMINAL = 110  # columns
_WIDEST = 140


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add `doctor`; its `handler` is a function of the namespace to the exit code."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this machine has, what auflow would use, what is broken",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=run_doctor)
    parser.add_argument("--json", action="store_true", help="one JSON document, for programs")
    parser.add_argument(
        "-o", "--output-dir", metavar="DIR", type=Path, default=Path(), help="where results would go (default: here)"
    )
    parser.add_argument(
        "--models-dir",
        metavar="DIR",
        type=Path,
        help="model files (default: $OPENFACE_MODELS_DIR, else OpenFaceModels in the user's data folder)",
    )
    return parser


def run_doctor(args: argparse.Namespace) -> int:
    """Examine and print; 1 where something is broken."""
    environment = dict(os.environ)  # before anything of auflow's is set in it
    from auflow.doctor.examination import examine
    from auflow.doctor.places import Places
    from auflow.doctor.printing import as_json, as_text
    from auflow.threads import pin_threads

    pin_threads()
    models = args.models_dir.expanduser() if args.models_dir else None
    found = examine(Places(environment=environment, output_dir=args.output_dir, models_dir=models))
    if args.json:
        _say(as_json(found))
    else:
        terminal = sys.stdout.isatty()
        width = min(shutil.get_terminal_size().columns, _WIDEST) if terminal else _NOT_A_TERMINAL
        _say(as_text(found, width=width, colour=terminal and not environment.get("NO_COLOR")))
    return found.exit_code


def _say(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; the exit code still tells
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output cannot be written to: {error.strerror}") from error
