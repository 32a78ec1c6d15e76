"""Stages that have worked before, so that the first clip is not charged for what is loaded when it is first used."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from auflow import inline
from auflow.inline import Stages
from auflow.options import RunOptions
from auflow.report import PlainReporter
from auflow.stages import au, clnf
from auflow.stages.settings import StageSettings

__all__ = ["warm_stages"]

_HEIGHT_PX, _WIDTH_PX = 240, 320


def warm_stages(models_root: Path, wanted: Iterable[StageSettings]) -> dict[StageSettings, Stages]:
    """Stages for each of these settings, whose kernels, networks and files have been used once.

    Raises
    ------
    ModelError
        Model files are missing or damaged.
    """
    made = {settings: inline.load_stages(models_root, settings) for settings in wanted}
    clnf.warm_up(models_root)
    au.warm_up(models_root)
    with tempfile.TemporaryDirectory(prefix="auflow-warm-") as folder:
        picture = Path(folder) / "noise.png"
        noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT_PX, _WIDTH_PX, 3), np.uint8)
        cv2.imwrite(str(picture), noise)
        for settings, stages in made.items():
            _run(picture, models_root, settings, stages)
    return made


def _run(picture: Path, models_root: Path, settings: StageSettings, stages: Stages) -> None:
    options = RunOptions((picture,), picture.parent, models_root, settings=settings, inline=True, quiet=True)
    inline.run(options, PlainReporter(io.StringIO(), quiet=True), load=lambda *_: stages)
