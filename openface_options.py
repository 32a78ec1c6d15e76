"""OpenFace's options that `auflow run` has no option of its own for: what they become, or why they are refused.

docs/openface-options.md has the whole table. They are named one by one, for argparse would read `-of NAME` as `-o f`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

__all__ = ["add_openface_options"]

# Windows on the screen and words on the terminal: without any effect on what is written.
_NO_EFFECT = ("-verbose", "-vis-track", "-vis-hog", "-vis-align", "-vis-aus")

_CAMERA = "cameras cannot be read yet; record a video first"
_NAMES = "results have the name of their input; choose their folder with -out_dir"
_ALIGNED = (
    "faces are aligned as the Action Unit models need them: 112 x 112 pixels, scale 0.7, masked, in colour, as .bmp"
)
_FIT = "the fit has OpenFace's own values for its model; `-wild` has the others"
_FOLDERS = "give the inputs with their folders"
_REFUSED = {
    "-device": _CAMERA,
    "-cam_width": _CAMERA,
    "-cam_height": _CAMERA,
    "-of": _NAMES,
    "-outroot": _NAMES,
    "-root": _FOLDERS,
    "-inroot": _FOLDERS,
    "-oc": "the annotated video is H.264, or MPEG-4 where x264 is not there",
    "-format_aligned": _ALIGNED,
    "-format_vis_image": "`-tracked` writes a video, of pictures too",
    "-simscale": _ALIGNED,
    "-simsize": _ALIGNED,
    "-nomask": _ALIGNED,
    "-noMask": _ALIGNED,
    "-g": _ALIGNED,
    "-rigid": _ALIGNED,
    "-nobadaligned": "every row has its face, black where the fit failed; the column `success` tells which",
    "-fdloc": "faces are found by MTCNN",
    "-multi_view": "`-wild` tries eleven head rotations",
    "-validate_detections": "every fit is validated",
    "-n_iter": _FIT,
    "-sigma": _FIT,
    "-reg": _FIT,
    "-w_reg": _FIT,
    # Names of OpenFace 0.x, and a slip that looks like them.
    **dict.fromkeys(("-op", "-ogaze", "-oparams", "-oaus", "-ohog", "-oalign", "-ov", "-outdir"), _NAMES),
}
_MODELS = {"main_clnf_general.txt": "clnf", "main_ceclm_general.txt": "ceclm"}


def add_openface_options(run: argparse.ArgumentParser) -> None:
    """Add them to `run`; they are not in its help. `-mloc` sets `model`."""
    run.add_argument("-mloc", dest="model", action=_ModelByFile, help=argparse.SUPPRESS)
    for option in _NO_EFFECT:
        run.add_argument(option, dest="no_effect", action="store_true", help=argparse.SUPPRESS)
    for option in _REFUSED:
        run.add_argument(option, nargs="?", dest="refused", action=_Refuse, help=argparse.SUPPRESS)


class _ModelByFile(argparse.Action):
    """OpenFace's model file by its name; auflow has its own copy of what is in it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        name = PurePath(str(values)).name
        if name not in _MODELS:
            parser.error(f"argument {option_string}: expected {' or '.join(_MODELS)}, got {values!r}")
        namespace.model = _MODELS[name]


class _Refuse(argparse.Action):
    """An option of OpenFace that would change the result, or say where it goes, and cannot be followed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"OpenFace's {option_string} is not supported: {_REFUSED[str(option_string)]}")
