"""Options of `auflow run` on faces: which are taken, how they are fitted and followed, and what they come to."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from auflow.backends.int8 import require_int8
from auflow.errors import UsageError
from auflow.option_values import frames, percent, pixels, positive, tolerance
from auflow.stages.settings import CenChoice, Faces, Model, StageSettings, Tracking

__all__ = ["add_coherence_bounds", "add_face_options", "cen_precision", "coherence_bounds", "face_settings"]

_COHERENT = "coherent"


def add_face_options(run: argparse.ArgumentParser) -> None:
    """Add the groups `faces` and `tracking` to `run`."""
    faces = run.add_argument_group("faces")
    which = faces.add_mutually_exclusive_group()
    which.add_argument(
        "--multi-face",
        action="store_true",
        help="up to four faces (FaceLandmarkVidMulti): static AUs without --identities",
    )
    which.add_argument(
        "--images", action="store_true", help="each picture by itself, all its faces (FaceLandmarkImg): static AUs"
    )
    faces.add_argument(
        "--model", choices=get_args(Model), default="clnf", help="landmark model (default: clnf); ceclm is slower and"
        " needs `auflow models fetch --with-ceclm`",
    )  # fmt: skip
    faces.add_argument(
        "--cen-precision", choices=get_args(CenChoice), default="auto", help="with --model ceclm: numbers"
        " of its experts' dense layers; int8 is about three times faster and moves landmarks a little, auto is float32"
        " where nothing was measured (see docs/ceclm.md)",
    )  # fmt: skip
    faces.add_argument("--au-static", "-au_static", action="store_true", help="AU models without a running median")
    faces.add_argument("--wild", "-wild", action="store_true", help="search wider and longer: faces in unusual poses")
    faces.add_argument(
        "--boxes", "-bboxdir", metavar="DIR", type=Path, help="with --images: take the faces of NAME.jpg from"
        " DIR/NAME.txt (min x, min y, max x, max y a line) instead of looking for them",
    )  # fmt: skip
    faces.add_argument(
        "--clnf-iterations", metavar="N", type=positive, help="most iterations of an optimisation of the landmark fit"
        " (default: 5, with --wild 10)",
    )  # fmt: skip
    faces.add_argument(
        "--clnf-tolerance", metavar="PX", type=tolerance, help="an optimisation has converged when all landmarks"
        " together move less than this between two iterations (default: 0.01; 0: never)",
    )  # fmt: skip
    for name, what in (("fx", "focal length"), ("fy", "focal length"), ("cx", "centre"), ("cy", "centre")):
        faces.add_argument(
            f"--{name}", f"-{name}", metavar="PX", type=pixels, help=f"{what} of the camera (default: by the size)"
        )
    _add_tracking(run)


def _add_tracking(run: argparse.ArgumentParser) -> None:
    tracking = run.add_argument_group("tracking")
    tracking.add_argument(
        "--tracking", choices=get_args(Tracking), help="openface: its logic to the letter (default,"
        " unless `auflow tune --allow-coherent` has found better); coherent: looks for faces only where that may tell"
        " something new, keeps descriptors of faces that have not changed (see `auflow validate --budget`)",
    )  # fmt: skip
    add_coherence_bounds(tracking)
    tracking.add_argument(
        "--identities", action=argparse.BooleanOptionalAction, help="number faces by the person, who keeps the number"
        " through crossings and after an absence, and correct AUs by each person's own medians (default: with"
        " --multi-face and --tracking coherent together); else by the tracker",
    )  # fmt: skip

    tracking.add_argument(
        "--identity-model", metavar="FILE", type=Path, help="ONNX network for face recognition (input n x 3 x 112 x"
        " 112) to tell persons apart, instead of by auflow's own descriptor",
    )  # fmt: skip


def add_coherence_bounds(group: argparse._ArgumentGroup) -> None:
    """Add `--detect-every` and `--reuse-below`; each is None where it is not given."""
    defaults = StageSettings()
    group.add_argument(
        "--detect-every", metavar="N", type=frames, help="coherent: least frames from one look for faces to the next"
        f" where nobody was lost lately; with several faces always (default: {defaults.detect_every})",
    )  # fmt: skip
    group.add_argument(
        "--reuse-below", metavar="PERCENT", type=percent, help="coherent: a face no pixel of which has changed by more"
        f" keeps its descriptor and AUs (default: {defaults.reuse_below_percent:g}; 0: never)",
    )  # fmt: skip


def coherence_bounds(parsed: argparse.Namespace) -> dict[str, Any]:
    """Fields of `StageSettings` by `--detect-every` and `--reuse-below`, as far as they are given."""
    given = {"detect_every": parsed.detect_every, "reuse_below_percent": parsed.reuse_below}
    return {name: value for name, value in given.items() if value is not None}


def face_settings(parsed: argparse.Namespace) -> Mapping[str, Any]:
    """Fields of `StageSettings` that all these options come to.

    Raises
    ------
    UsageError
        Options that do not go together.
    BackendError
        This CPU has no fast way to do what was asked for.
    """
    _check_faces(parsed)
    _check_tracking(parsed)
    given = (parsed.fx, parsed.fy, parsed.cx, parsed.cy)
    faces: Faces = "all" if parsed.multi_face else "pictures" if parsed.images else "widest"
    coherent = parsed.tracking == _COHERENT
    return {
        "model": parsed.model,
        "faces": faces,
        "tracking": parsed.tracking or StageSettings().tracking,
        **coherence_bounds(parsed),
        "identities": _wants_identities(parsed, coherent and faces == "all"),
        "identity_model": "" if parsed.identity_model is None else str(parsed.identity_model.resolve()),
        "wild": parsed.wild,
        **cen_precision(parsed.cen_precision),
        "clnf_iterations": parsed.clnf_iterations,
        "clnf_tolerance_px": parsed.clnf_tolerance,
        "camera": None if None in given else given,
        "boxes_dir": None if parsed.boxes is None else str(parsed.boxes),
        "au_static": parsed.au_static,
    }


def cen_precision(asked: str) -> dict[str, Any]:
    """The field of `StageSettings` that `--cen-precision` comes to; none with "auto", which leaves it to others."""
    return {} if asked == "auto" else {"cen_precision": asked}


def _wants_identities(parsed: argparse.Namespace, by_default: bool) -> bool:
    if parsed.identities is not None:
        return bool(parsed.identities)
    return by_default or parsed.identity_model is not None


def _check_faces(parsed: argparse.Namespace) -> None:
    if parsed.boxes is not None and not parsed.images:
        raise UsageError("--boxes goes with --images: in a video the faces are followed from frame to frame")
    if parsed.wild and parsed.model == "ceclm":
        raise UsageError("--wild is for the clnf model: CE-CLM has no such settings")
    if parsed.cen_precision != "auto" and parsed.model != "ceclm":
        raise UsageError("--cen-precision is for CE-CLM: add --model ceclm, or leave it out")
    if parsed.cen_precision == "int8":
        require_int8()
    given = (parsed.fx, parsed.fy, parsed.cx, parsed.cy)
    if any(value is not None for value in given) and None in given:
        raise UsageError("--fx, --fy, --cx and --cy describe one camera: give all four, or none")


def _check_tracking(parsed: argparse.Namespace) -> None:
    bounds = {"--detect-every": parsed.detect_every, "--reuse-below": parsed.reuse_below}
    told = [option for option, value in bounds.items() if value is not None]
    if parsed.images:
        told += ["--tracking coherent"] * (parsed.tracking == _COHERENT) + ["--identities"] * bool(parsed.identities)
        told += ["--identity-model"] * (parsed.identity_model is not None)
        if told:
            raise UsageError(
                f"{told[0]} does not go with --images: each picture stands for itself, so there is nothing to follow; "
                "leave out one of them"
            )
    if parsed.identity_model is not None and parsed.identities is False:
        raise UsageError("--identity-model and --no-identities do not go together: leave out one of them")
    if parsed.identity_model is not None and not parsed.identity_model.is_file():
        raise UsageError(f"--identity-model: {parsed.identity_model}: expected an ONNX file, got none")
    if told and not parsed.images and parsed.tracking != _COHERENT:
        raise UsageError(f"{told[0]} is for coherent tracking: add --tracking coherent, or leave it out")
