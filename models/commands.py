"""`auflow models fetch | list | verify | path`: the sub-parser and its handlers."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import AuflowError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser", "run_fetch", "run_list", "run_path", "run_verify"]


def add_parser(subparsers: Subparsers) -> Subparsers:
    """Add `models` with its own sub-commands; each sets `handler`, a function of the namespace to the exit code.

    Returns the sub-commands, for those that need more of auflow than the model files.
    """
    parser = subparsers.add_parser("models", help="fetch, list and verify OpenFace's model files")
    commands = parser.add_subparsers(dest="models_command", metavar="COMMAND", required=True)
    fetch = commands.add_parser("fetch", help="download what is missing or damaged, once the licence is accepted")
    fetch.add_argument("--accept-license", action="store_true", help="agree to OpenFace's licence (shown without this)")
    fetch.add_argument(
        "--with-ceclm", action="store_true", help="also OpenFace's CE-CLM model (432 MB from Dropbox or OneDrive)"
    )
    listing = commands.add_parser("list", help="every file with its size, and which are missing or damaged")
    listing.add_argument("--verify", action="store_true", help="compare every SHA-256, not just the sizes")
    verify = commands.add_parser("verify", help="compare every file with its SHA-256")
    path = commands.add_parser("path", help="print the folder of the store")
    handlers = ((fetch, run_fetch), (listing, run_list), (verify, run_verify), (path, run_path))
    for command, handler in handlers:
        command.add_argument(
            "--dir",
            type=Path,
            metavar="FOLDER",
            help="the store (default: $OPENFACE_MODELS_DIR, else OpenFaceModels in the user's data folder)",
        )
        command.set_defaults(handler=handler)
    return commands


def run_fetch(args: argparse.Namespace) -> int:
    """Fetch what is missing; without the licence accepted show its summary and touch nothing (exit code 2)."""
    from auflow.models.fetch import fetch
    from auflow.models.progress import ConsoleProgress

    root = _root(args)
    progress = ConsoleProgress(sys.stderr)
    started_s = time.monotonic()
    try:
        result = fetch(root, progress, accept_license=args.accept_license, with_ceclm=args.with_ceclm)
    except AuflowError as error:
        progress.close()
        return _failed(error)
    progress.close()
    _say(
        f"{result.folder}: complete, every SHA-256 is right\n"
        f"{result.kept} files were there, {result.downloaded} came from OpenFace's repository, "
        f"{result.unpacked} from the wheel, "
        + (f"{result.linked} from the links of CE-CLM, " if args.with_ceclm else "")
        + f"in {time.monotonic() - started_s:.1f} s"
    )
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print one line per file: size, state, path. Exit code 4 where a needed one is missing, or any is damaged."""
    from auflow.errors import ModelError
    from auflow.models.manifest import load_ceclm_files, load_manifest
    from auflow.models.store import missing_files, originals, state_of

    root = _root(args)
    files = load_manifest()
    states = [state_of(root, file, full=args.verify) for file in files]
    lines = [
        f"{file.size:>11,}  {state:<7}  {file.path}{'' if file.needed else ' (licence)'}"
        for file, state in zip(files, states, strict=True)
    ]
    total = sum(file.size for file in files)
    lines.append(f"{states.count('present')} of {len(files)} files ({total / 1e6:.1f} MB) in {originals(root)}")
    extras = [extra.file for extra in load_ceclm_files()]
    held = [state_of(root, file, full=args.verify) for file in extras]
    lines += [
        f"{file.size:>11,}  {'not fetched' if state == 'missing' else state}  {file.path} (CE-CLM)"
        for file, state in zip(extras, held, strict=True)
    ]
    lines.append(
        f"{held.count('present')} of {len(extras)} files of CE-CLM (`auflow models fetch --with-ceclm`), "
        "not needed by CLNF"
    )
    bad = (states + held).count("damaged")
    if bad:
        extra = "--with-ceclm " if "damaged" in held else ""
        lines.append(f"{bad} damaged: type `auflow models fetch {extra}--accept-license` to fetch them anew")
    elif not args.verify:
        lines.append("sizes compared; `auflow models list --verify` compares every SHA-256 too")
    _say("\n".join(lines))
    return ModelError.exit_code if bad or missing_files(root) else 0


def run_verify(args: argparse.Namespace) -> int:
    """Hash every file. Exit code 4 where a needed one is missing or any is damaged."""
    from auflow.models.manifest import load_ceclm_files, load_manifest
    from auflow.models.store import originals, verify_ceclm_files, verify_files

    root = _root(args)
    try:
        verify_files(root)
        extra = verify_ceclm_files(root)
    except AuflowError as error:
        return _failed(error)
    _say(
        f"{originals(root)}: all {sum(f.needed for f in load_manifest())} model files have the right SHA-256, "
        f"and so have {extra} of {len(load_ceclm_files())} of CE-CLM"
    )
    return 0


def run_path(args: argparse.Namespace) -> int:
    """Print the folder of the store, whether it is there or not."""
    _say(str(_root(args)))
    return 0


def _root(args: argparse.Namespace) -> Path:
    from auflow.models.store import default_root

    chosen: Path | None = args.dir
    return default_root() if chosen is None else chosen.expanduser()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _failed(error: AuflowError) -> int:
    sys.stderr.write(f"{error}\n")
    return error.exit_code
