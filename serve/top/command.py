"""`auflow top`: its options."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from auflow.errors import OutputError, UsageError
from auflow.serve.ctl_command import interval

__all__ = ["add_parser"]

EPILOG = """\
keys:
  q quit   p pause   s sort   ? what the columns mean   arrows, page up and down: scroll

examples:
  auflow top                              this machine's service, every second
  auflow top --interval 5                 over a slow link
  auflow top --once                       one look (two, a second apart), for scripts

The socket is looked for where `auflow serve` puts it; with a [control] socket of your own, name it with --socket.
Stages need metrics: [http] address and [telemetry] metrics of the service. For programs: `auflow ctl status --json`.
exit codes: 0 ended, 2 wrong usage, 6 no service answers"""

_NOT_A_TERMINAL = 200  # columns: nothing is left out where a file or a program reads


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `top` to the command line."""
    top = commands.add_parser(
        "top",
        help="watch a running `auflow serve`: streams, stages, processes",
        description="Watch a running `auflow serve`: its streams, how busy its stages are, its processes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--socket", metavar="PATH", type=Path, help="the control socket (default: where services put it)")
    top.add_argument("--interval", metavar="SECONDS", type=interval, default=1.0, help="between two looks (default: 1)")
    top.add_argument("--once", action="store_true", help="print what there is to see after two looks, and end")
    top.set_defaults(handler=_top)


def _top(parsed: argparse.Namespace) -> int:
    is_terminal = sys.stdout.isatty()
    if parsed.once:
        from auflow.serve.top.loop import once

        width = os.get_terminal_size(sys.stdout.fileno()).columns or 80 if is_terminal else _NOT_A_TERMINAL
        text = once(parsed.socket, parsed.interval, width, colour=is_terminal)
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            # What is left in the buffer must not fail again when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise OutputError(f"the look cannot be written: {error.strerror or error}") from error
        return 0
    if not is_terminal or os.environ.get("TERM", "dumb") in ("dumb", ""):
        raise UsageError("auflow top needs a terminal that can place its text; `auflow top --once` prints one look")
    from auflow.serve.top.loop import watch

    try:
        watch(parsed.socket, parsed.interval)
    except OSError as error:
        raise OutputError(f"the terminal cannot be written to any more: {error.strerror or error}") from error
    return 0
