"""`auflow keys new | list`: the sub-parser and its handlers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser", "run_list", "run_new"]

DESCRIPTION = """\
Keys for what auflow opens beyond this machine (CurveZMQ): they encrypt, prove the server to its clients, and let in
only the clients that are known. `new` makes the server's keys in DIR once, and a folder DIR/clients/NAME for each
client, to be carried there. Deleting that folder shuts the client out at its next connection."""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Add `keys` with its own sub-commands; each sets `handler`, a function of the namespace to the exit code."""
    parser = subparsers.add_parser(
        "keys",
        help="make and list the keys for a live bus that others on the network may read",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="keys_command", metavar="COMMAND", required=True)
    new = commands.add_parser("new", help="make keys for a client, and those of the server if there are none")
    new.add_argument("--name", metavar="NAME", default="client", help="of the client (default: client)")
    listing = commands.add_parser("list", help="the server's public key and who is admitted")
    for command, handler in ((new, run_new), (listing, run_list)):
        command.add_argument("dir", metavar="DIR", type=Path, help="the server's folder of keys")
        command.set_defaults(handler=handler)
    return parser


def run_new(args: argparse.Namespace) -> int:
    """Make what is missing; nothing is written over."""
    from auflow.transport.keys import new_keys

    client = new_keys(args.dir, args.name)
    sys.stdout.write(
        f"{args.dir}: the server's keys; keep them here\n"
        f"{client}: for {args.name}: carry this folder there by a safe way, and delete client.secret here\n"
    )
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print the server's public key and each client's; exit code 2 where one cannot be used."""
    from auflow.errors import UsageError
    from auflow.transport.keys import admitted_clients, load_server_keys

    server = load_server_keys(args.dir)
    clients, faults = admitted_clients(args.dir)
    lines = [f"{server.public.decode()}  server"]
    for public, name in sorted(clients.items(), key=lambda item: item[1]):
        left = (args.dir / "clients" / name / "client.secret").exists()
        lines.append(f"{public.decode()}  {name}{'  (its secret key still lies here)' if left else ''}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stderr.write("".join(f"auflow: {fault}\n" for fault in faults))
    return UsageError.exit_code if faults else 0
