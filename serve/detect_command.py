"""`auflow detect`: face detection for the services of other hosts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from auflow.option_values import backend_for

__all__ = ["DEFAULT_ADDRESS", "add_parser"]

DEFAULT_ADDRESS = "tcp://127.0.0.1:8719"

DESCRIPTION = """\
Find faces for the services of other hosts: a service whose configuration names this address in workers.detectors_at
sends each picture in which a face has to be looked for, and gets the boxes back. No picture is kept."""

EPILOG = """\
examples:
  auflow keys new keys --name cameras                          keys for this host and for the one with the cameras
  auflow detect --address tcp://0.0.0.0:8719 --keys keys       listen to whoever has them
Several may run on a host, each with an address of its own. SIGTERM or Ctrl-C ends it; a service asks again, or another.
exit codes: 0 ended, 2 wrong usage, 4 model files missing or damaged, 5 the address cannot be taken"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `detect` to the command line."""
    detect = commands.add_parser(
        "detect",
        help="find faces for the services of other hosts",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    detect.set_defaults(handler=_detect)
    detect.add_argument(
        "--address", metavar="ADDRESS", default=DEFAULT_ADDRESS, help=f"to listen on (default: {DEFAULT_ADDRESS})"
    )
    detect.add_argument(
        "--keys", metavar="DIR", type=Path, help="this host's folder of `auflow keys`; needed beyond loopback"
    )
    detect.add_argument(
        "--backend", metavar="NAME", type=backend_for("detect"), default={}, help="what computes the networks: auto"
        " (default), or one that `auflow doctor` tells of",
    )  # fmt: skip


def _detect(parsed: argparse.Namespace) -> int:
    from auflow.backends.ort_files import require_ort_files
    from auflow.models import store
    from auflow.profiles.applying import resolve
    from auflow.profiles.store import load_profile
    from auflow.serve.detection import serve
    from auflow.stages.settings import StageSettings
    from auflow.threads import pin_threads

    pin_threads()
    if warning := require_ort_files():
        sys.stderr.write(f"auflow: warning: {warning}\n")
    root = store.default_root()
    store.require(root)
    return serve(parsed.address, parsed.keys, root, resolve(StageSettings(), parsed.backend, load_profile()).settings)
