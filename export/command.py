"""`auflow models export onnx | coreml`: the sub-parsers and their handlers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import OutputError

if TYPE_CHECKING:
    from auflow.export.onnx_files import Written

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_GROUPS = ("mtcnn", "ccnf", "fhog", "heads")
_ASKED_FOR = "cen"  # whose model files come apart, and whose graphs take a gigabyte

DESCRIPTION = """\
Write what auflow computes with OpenFace's model files for other runtimes. Each file is compared with auflow's own
computation before it is written; what the comparison found is in its metadata and in index.json.

The weights are OpenFace's and stay under its licence: academic and non-profit research only, not to be passed on."""


def add_parser(commands: Subparsers) -> None:
    """Add `export` to the commands of `auflow models`."""
    raw = argparse.RawDescriptionHelpFormatter
    export = commands.add_parser(
        "export", help="write the networks for other runtimes", description=DESCRIPTION, formatter_class=raw
    )
    formats = export.add_subparsers(dest="export_format", metavar="FORMAT", required=True)
    onnx = formats.add_parser(
        "onnx", help="ONNX graphs (IR 10, opset 17), batched over faces", description=DESCRIPTION, formatter_class=raw
    )
    onnx.set_defaults(handler=_export_onnx)
    _add_places(onnx, "onnx")
    onnx.add_argument(
        "--only",
        metavar="GROUP[,GROUP]",
        type=_groups,
        default=_GROUPS,
        help=f"some of {', '.join(_GROUPS)}"
        f" (default: all of these), {_ASKED_FOR} (CE-CLM, needs its model files; about 1 GB)",
    )
    coreml = formats.add_parser(
        "coreml",
        help="Core ML packages (macOS 13, iOS 16) of MTCNN and the AU heads, on any platform",
        description=DESCRIPTION.replace(" and index.json", ""),
        formatter_class=raw,
    )
    coreml.set_defaults(handler=_export_coreml)
    _add_places(coreml, "coreml")
    coreml.add_argument(
        "--clip", metavar="VIDEO", type=Path, help="with a face, to check on (default: the demo clip of a checkout)"
    )


def _add_places(parser: argparse.ArgumentParser, kind: str) -> None:
    parser.add_argument(
        "-o", "--output-dir", metavar="DIR", type=Path, default=Path(kind), help=f"where they go (default: {kind})"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="FOLDER",
        help="the store (default: $OPENFACE_MODELS_DIR, else OpenFaceModels in the user's data folder)",
    )


def _groups(text: str) -> tuple[str, ...]:
    wanted = [word.strip() for word in text.split(",")]
    known = (*_GROUPS, _ASKED_FOR)
    unknown = [word for word in wanted if word not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got {unknown[0]!r}")
    return tuple(group for group in known if group in wanted)


def _export_onnx(parsed: argparse.Namespace) -> int:
    from auflow.export.graphs import exports
    from auflow.export.onnx_files import write_onnx

    root, folder = _places(parsed, ceclm=_ASKED_FOR in parsed.only)
    sys.stdout.write(f"{'file':<28} {'MB':>6} {'s':>6}  largest error\n")
    written = write_onnx(folder, exports(root, parsed.only), _tell)
    sys.stdout.write(
        f"{len(written)} graphs, {sum(each.bytes for each in written) / 1e6:.1f} MB, in {folder}; index.json has their"
        " inputs, outputs and errors\n"
    )
    return 0


def _export_coreml(parsed: argparse.Namespace) -> int:
    from auflow.export.coreml import export_coreml
    from auflow.models.coreml.tools import coremltools

    coremltools()  # before kernels are compiled for nothing
    root, folder = _places(parsed)

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    for each in export_coreml(folder, root, tell, clip=parsed.clip):
        errors = ", ".join(f"{what} {error:.2g}" for what, error in each.errors.items())
        tell(f"{each.path} {each.size_bytes / 1e6:.2f} MB; weights to {each.weights_error:.1g}; {errors}")
    tell("computed here by NumPy from what was saved; Core ML itself computes on a Mac only")
    return 0


def _tell(written: Written) -> None:
    flips = written.decision_flips
    told = "" if flips is None else f"; {flips:.2%} of the presences come out otherwise"
    sys.stdout.write(
        f"{written.file:<28} {written.bytes / 1e6:>6.2f} {written.seconds:>6.1f}  {written.largest_error:.1e} "
        f"{written.error_of}{told}\n"
    )
    sys.stdout.flush()


def _places(parsed: argparse.Namespace, *, ceclm: bool = False) -> tuple[Path, Path]:
    """The store, complete and undamaged, and the folder, made."""
    from auflow.flow.stagekit import ensure_kernels
    from auflow.kernel_cache import place_kernel_cache
    from auflow.models.store import default_root, require, require_ceclm
    from auflow.stages.settings import StageSettings
    from auflow.threads import pin_threads

    pin_threads()
    place_kernel_cache()
    root = default_root() if parsed.dir is None else parsed.dir.expanduser()
    (require_ceclm if ceclm else require)(root)
    folder: Path = parsed.output_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another folder with -o") from error
    ensure_kernels(root, StageSettings(model="ceclm" if ceclm else "clnf"))
    return root, folder
