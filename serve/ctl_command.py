"""`auflow ctl`: asks a running service how it is, and tells it what to do."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from auflow.errors import AuflowError, UsageError

__all__ = ["add_parser", "interval"]

EPILOG = """\
examples:
  auflow ctl status                       streams, processes, frames, ages
  auflow ctl status --watch               the same, every two seconds until Ctrl-C
  auflow ctl status --json | jq .streams
  auflow ctl add door rtsp://10.0.0.7/1 --set username=bob --set password_env=DOOR_PASSWORD
  auflow ctl add hall webcam:0 --set csv=hall-{start}.csv --set rotate_s=600
  auflow ctl pause door ; auflow ctl resume door ; auflow ctl remove door
  auflow ctl stop                         finish what is under way and end the service

--set takes the keys of [stream.NAME], as docs/serve.md has them; relative paths count from here.
The socket is looked for where `auflow serve` puts it; with a [control] socket of your own, name it with --socket.
exit codes: 0 done, 2 wrong usage or refused by the service, 6 no service answers"""

_WAIT_S = 30.0
_NOT_A_TERMINAL = 200  # columns: nothing is folded where a file or a program reads


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ctl` with its own sub-commands to the command line."""
    ctl = commands.add_parser(
        "ctl",
        help="ask and steer a running `auflow serve`",
        description="Ask a running `auflow serve` how it is, add, remove, pause and resume streams, stop it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    ctl.add_argument("--socket", metavar="PATH", type=Path, help="the control socket (default: where services put it)")
    operations = ctl.add_subparsers(dest="operation", metavar="OPERATION", required=True)
    status = operations.add_parser("status", help="how everything is")
    status.add_argument("--json", action="store_true", help="as JSON, for programs")
    status.add_argument(
        "--watch", metavar="SECONDS", nargs="?", type=interval, const=2.0, help="again and again (default: every 2 s)"
    )
    status.set_defaults(handler=_status)
    add = operations.add_parser("add", help="begin another stream")
    add.add_argument("name", metavar="NAME", help="what to call it")
    add.add_argument("source", metavar="SOURCE", help="rtsp://..., http://..., webcam:0, a file or folder, file:CLIP")
    add.add_argument(
        "--set", metavar="KEY=VALUE", dest="settings", action="append", default=[], help="a key of [stream.NAME]; may"
        " come more than once",
    )  # fmt: skip
    add.set_defaults(handler=_add)
    for operation, meaning in (("remove", "end a stream"), ("pause", "take no pictures of it"), ("resume", "go on")):
        of_one = operations.add_parser(operation, help=meaning)
        of_one.add_argument("name", metavar="NAME", help="of the stream")
        of_one.set_defaults(handler=_of_stream)
    for operation, meaning in (
        ("drain", "take no more pictures and finish what is under way; the service stays"),
        ("stop", "drain, and end the service"),
    ):
        operations.add_parser(operation, help=meaning).set_defaults(handler=_of_service)
    for each in operations.choices.values():  # behind the operation as well as before it
        each.add_argument("--socket", metavar="PATH", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


class _RefusedError(AuflowError):
    """The service's own error, with its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code  # type: ignore[misc]  # of this error, not of its class


def _ask(parsed: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    from auflow.serve.client import ask, find_socket

    answer = ask(find_socket(parsed.socket), request, _WAIT_S)
    if answer.get("ok") is True:
        return answer
    code = answer.get("code")
    raise _RefusedError(str(answer.get("error", "refused, and no reason given")), code if isinstance(code, int) else 1)


def _of_service(parsed: argparse.Namespace) -> int:
    _ask(parsed, {"op": parsed.operation})
    return _said({"drain": "the service drains", "stop": "the service ends"}[parsed.operation])


def _of_stream(parsed: argparse.Namespace) -> int:
    _ask(parsed, {"op": parsed.operation, "name": parsed.name})
    done = {"remove": "removed", "pause": "paused", "resume": "resumed"}[parsed.operation]
    return _said(f"{parsed.name}: {done}")


def _add(parsed: argparse.Namespace) -> int:
    table = {"source": parsed.source} | _settings(parsed.settings)
    _ask(parsed, {"op": "add", "name": parsed.name, "stream": table, "base": str(Path.cwd())})
    return _said(f"{parsed.name}: added")


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE as TOML reads the value; what is no TOML is text, so quotes are not needed."""
    import tomllib

    values: dict[str, Any] = {}
    for number, word in enumerate(words, 1):
        name, equals, written = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set number {number}: expected KEY=VALUE, for example max_age_s=0.5")
        if name in values or name == "source":
            raise UsageError(f"--set {name}: is given twice")
        try:
            values[name] = tomllib.loads(f"value = {written}")["value"]
        except (ValueError, RecursionError):
            values[name] = written
        if not isinstance(values[name], (bool, int, float, str, list)):
            values[name] = written  # dates, tables: no key takes them
    return values


def _status(parsed: argparse.Namespace) -> int:
    show = _show_json if parsed.json else _show_table
    if parsed.watch is None:
        show(_ask(parsed, {"op": "status"})["status"])
        return 0
    return _watch(parsed, show)


def _watch(parsed: argparse.Namespace, show: Callable[[dict[str, Any]], None]) -> int:
    clears = not parsed.json and sys.stdout.isatty()
    try:
        while True:
            status = _ask(parsed, {"op": "status"})["status"]
            if clears:
                sys.stdout.write("\x1b[H\x1b[2J")
            show(status)
            sys.stdout.flush()
            time.sleep(parsed.watch)
    except KeyboardInterrupt:  # the way to end it
        return 0


def _show_json(status: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(status) + "\n")


def _show_table(status: dict[str, Any]) -> None:
    from rich.console import Console

    from auflow.serve.table import render

    console = Console(width=None if sys.stdout.isatty() else _NOT_A_TERMINAL, highlight=False)
    console.print(render(status))


def _said(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 0


def interval(text: str) -> float:
    """Seconds between two looks, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to 86400, got {text!r}")
    return seconds
