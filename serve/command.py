"""`auflow serve`: its options, and what is checked before the service starts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import UsageError

if TYPE_CHECKING:
    from auflow.profiles.store import Loaded
    from auflow.serve.config import ServeConfig

__all__ = ["add_parser"]

EPILOG = """\
examples:
  auflow serve serve.toml                                 the streams of a file, until SIGTERM or Ctrl-C
  auflow serve --check serve.toml                         is the file right, and what does it come to?
  auflow serve --stream desk=webcam:0                     a quick start without a file
  auflow serve --stream a=rtsp://10.0.0.7/1 --stream b=rtsp://10.0.0.8/1
  auflow serve --stream desk=webcam:0 --web               with the live page, at http://127.0.0.1:8716
  auflow ctl status                                       in another terminal: how it goes

docs/serve.md has every key of the file; deploy/ has an example and a unit for systemd.
SIGTERM or Ctrl-C takes no more pictures, finishes what is under way within limits.drain_s and ends; a second one ends
at once.
exit codes: 0 stopped when asked, 2 wrong usage or configuration, 3 output cannot be written,
            4 model files missing or damaged, 5 a stage failed for good, 130 interrupted twice"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `serve` to the command line."""
    serve = commands.add_parser(
        "serve",
        help="run streams (cameras, RTSP, files) day and night",
        description="Run many streams at once, cameras and files, and publish their Action Units as they happen.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    serve.set_defaults(handler=_serve)
    serve.add_argument("config", metavar="CONFIG", nargs="?", type=Path, help="the configuration, in TOML")
    serve.add_argument("--check", action="store_true", help="only check it and print it with all defaults filled in")
    serve.add_argument(
        "--stream", metavar="NAME=SOURCE", dest="streams", action="append", default=[], help="instead of CONFIG: a"
        " stream to run; may come more than once",
    )  # fmt: skip
    serve.add_argument("--policy", choices=("live", "file"), help="of all --stream (default: by the kind of source)")
    serve.add_argument(
        "--web", metavar="HOST:PORT", nargs="?", const="", help="show the streams on a page for browsers (default:"
        " CONFIG's web.address, else 127.0.0.1:8716)",
    )  # fmt: skip


def _serve(parsed: argparse.Namespace) -> int:
    config = _configuration(parsed)
    if parsed.check:
        from auflow.backends.choice import read_asked
        from auflow.profiles.applying import resolve
        from auflow.profiles.store import load_profile
        from auflow.serve.describe import describe
        from auflow.stages.settings import StageSettings

        # Refuses what is not to be had.
        found = resolve(StageSettings(), read_asked(config.workers.backend), load_profile())
        sys.stderr.write("".join(f"auflow: note: {note}\n" for note in found.notes))
        sys.stdout.write(describe(config))
        return 0
    from auflow.serve import service

    code: int = service.run(config)
    return code


def _configuration(parsed: argparse.Namespace) -> ServeConfig:
    from auflow.profiles.store import load_profile
    from auflow.serve.loading import load_config, parse_config, with_page

    if parsed.web and ":" not in parsed.web and parsed.config is None:
        parsed.config, parsed.web = Path(parsed.web), ""  # `--web CONFIG`
    if parsed.config is not None:
        if parsed.streams or parsed.policy:
            raise UsageError(
                "--stream and --policy stand instead of CONFIG: write the streams into it, or leave it out"
            )
        return load_config(parsed.config, web=parsed.web, jobs=_jobs(load_profile()))
    if not parsed.streams:
        raise UsageError(
            "nothing to serve: give a configuration, or --stream NAME=SOURCE; `auflow serve --help` has examples"
        )
    document: dict[str, object] = {"stream": _tables(parsed.streams, parsed.policy)}
    if parsed.web is not None:
        document = with_page(document, parsed.web)
    return parse_config(document, Path.cwd(), "--stream", jobs=_jobs(load_profile()))


def _jobs(loaded: Loaded) -> int | None:
    return None if loaded.profile is None else loaded.profile.choices.jobs


def _tables(words: Sequence[str], policy: str | None) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    for number, word in enumerate(words, 1):
        name, equals, source = word.partition("=")
        if not equals or not name or ":" in name or "/" in name:
            # The word itself may be a URL with a password in it.
            raise UsageError(f"--stream number {number}: expected NAME=SOURCE, for example door=rtsp://10.0.0.7/1")
        if name in tables:
            raise UsageError(f"--stream: two streams have the name {name}; give each its own")
        tables[name] = {"source": source} | ({"policy": policy} if policy else {})
    return tables
