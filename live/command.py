"""`auflow listen`: what the live bus says, a line of JSON each."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auflow.live.listener import Listener

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser", "run_listen"]

_TURN_S = 0.5  # between two looks at the connection

DESCRIPTION = """\
Print what a live bus publishes (`auflow serve`): one line of JSON per face and frame, and per change of a stream.
Lost messages and the state of the connection are told on standard error. Ends with Ctrl-C."""

EPILOG = """\
examples:
  auflow listen                                        everything, from this machine's bus
  auflow listen --stream door | jq .au_r.AU12          one stream, one value
  auflow listen tcp://10.0.0.7:8718 --keys keys/clients/laptop
                                                       from another machine (see `auflow keys`)
  auflow listen --msgpack > day.msgpack                the messages as they come, one after the other

The fields are described in docs/live-bus.md.
exit codes: 0 ended, 2 wrong usage, 3 standard output cannot be written"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add `listen`; its `handler` is a function of the namespace to the exit code."""
    parser = subparsers.add_parser(
        "listen",
        help="print what a live bus publishes, as JSON lines",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    from auflow.transport.address import DEFAULT_ADDRESS

    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        default=DEFAULT_ADDRESS,
        help=f"of the bus (default: {DEFAULT_ADDRESS})",
    )
    parser.add_argument("--stream", metavar="NAME", help="this stream only")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="msgpack", action="store_false", help="lines of JSON (default)")
    form.add_argument("--msgpack", action="store_true", help="msgpack, as it travels")
    parser.add_argument("--keys", metavar="DIR", type=Path, help="our keys, for a bus on another machine")
    parser.add_argument("--count", metavar="N", type=_count, help="end after N messages")
    parser.set_defaults(handler=run_listen, msgpack=False)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def run_listen(args: argparse.Namespace) -> int:
    """Print until Ctrl-C, `--count`, or nobody reads any more."""
    from auflow.errors import OutputError
    from auflow.live.listener import Listener

    listener = Listener(args.address, args.stream, args.keys)
    try:
        _print_all(listener, msgpack=args.msgpack, count=args.count)
    except KeyboardInterrupt:
        pass  # the ordinary end
    except BrokenPipeError:
        _forget_output()  # `| head` has seen enough
    except OSError as error:
        _forget_output()
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from error
    finally:
        listener.close()
    return 0


def _forget_output() -> None:
    # Python must not try to flush again at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_all(listener: Listener, *, msgpack: bool, count: int | None) -> None:
    from auflow.live.gaps import Gaps
    from auflow.transport.faults import TransportError
    from auflow.transport.refusals import Refusals
    from auflow.transport.schema import to_json_line, unpack_message

    gaps, refusals = Gaps(), Refusals(listener.address, _say)
    out = sys.stdout.buffer
    printed, looked_s = 0, -_TURN_S
    while printed != count:
        payload = listener.receive(_TURN_S)
        if payload is None or time.monotonic() - looked_s >= _TURN_S:
            looked_s = time.monotonic()
            for sentence in listener.news():
                _say(sentence)
        if payload is None:
            continue
        try:
            message = unpack_message(payload)
            line = payload if msgpack else to_json_line(message).encode()
        except TransportError as error:
            refusals.add(str(error))
            continue
        gap = gaps.take(message)
        if gap is not None:
            _say(gap)
        out.write(line)
        out.flush()
        printed += 1


def _say(sentence: str) -> None:
    with suppress(OSError):  # nobody reads it
        # What others have named must not steer the terminal.
        sys.stderr.write("auflow: " + "".join(c if c.isprintable() else "?" for c in sentence) + "\n")
        sys.stderr.flush()
