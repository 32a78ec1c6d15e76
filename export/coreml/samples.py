"""What an export is checked on: real pictures and descriptors of a clip, and made-up ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.inline import load_stages
from auflow.models.au_heads import FEATURES
from auflow.stages.au.features import DescriptorMedian
from auflow.stages.au.fhog import DESCRIPTOR_SIZE
from auflow.stages.au.heads import load_describer
from auflow.stages.decode import open_source
from auflow.stages.records import Frame
from auflow.stages.settings import StageSettings

__all__ = ["Samples", "made_up_descriptors", "made_up_images", "take_samples"]

_FRAMES = 150  # of the clip; more say nothing new
_PICTURE_EVERY, _DESCRIPTOR_EVERY = 30, 5
_MEDIAN_EVERY = 2  # as the AU stage does
_LARGEST_FHOG, _GEOMETRY_SPREAD = 0.4, 10.0  # of FHOG by its making; of shapes about as in videos


@dataclass(frozen=True, slots=True)
class Samples:
    """Of one clip; empty where there is none."""

    clip: str  # its name, "" where there is none
    pictures: tuple[NDArray[np.uint8], ...]  # of (h, w, 3) BGR
    descriptors: NDArray[np.float64]  # (k, 4702) of faces that the validator accepted
    medians: NDArray[np.float64]  # (k, 4702) of the person at that time


def take_samples(clip: Path | None, models_root: Path) -> Samples:
    """Run the exact stages over the beginning of a clip.

    Raises
    ------
    InputError
        The clip cannot be read, or there is no face in it.
    ModelError
    """
    none = np.empty((0, FEATURES))
    if clip is None:
        return Samples("", (), none, none)
    stages, describer = load_stages(models_root, StageSettings()), load_describer(models_root.resolve())
    median, found = DescriptorMedian(), []
    pictures: list[NDArray[np.uint8]] = []
    with open_source(clip) as source:
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while (read := source.read_into(bgr)) is not None and read[0] <= _FRAMES:
            frame = Frame(*read, bgr)
            if frame.index % _PICTURE_EVERY == 1:
                pictures.append(bgr.copy())
            for fit in stages.clnf.process(frame, partial(stages.detector.detect, bgr)):
                if not fit.accepted:
                    continue
                features, _ = describer.describe(bgr, fit.landmarks_px)
                if frame.index % _MEDIAN_EVERY == 1:
                    median.insert(features)
                if frame.index % _DESCRIPTOR_EVERY == 0:
                    found.append((features, median.value.copy()))
    if not found:
        raise InputError(f"{clip}: no face in its first {_FRAMES} frames: give a clip with one to check the export on")
    descriptors, medians = (np.stack(each) for each in zip(*found, strict=True))
    return Samples(clip.name, tuple(pictures), descriptors, medians)


def made_up_images(name: str) -> list[NDArray[np.float32]]:
    """Inputs for a network of MTCNN: noise, for PNet of odd and even sizes from the smallest on."""
    rng = np.random.default_rng(5)
    shapes = {
        "PNet": [(1, 3, 12, 12), (1, 3, 13, 29), (1, 3, 47, 60), (1, 3, 64, 33)],
        "RNet": [(1, 3, 24, 24), (7, 3, 24, 24)],
        "ONet": [(1, 3, 48, 48), (5, 3, 48, 48)],
    }
    return [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes[name]]


def made_up_descriptors(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Descriptors and medians of nobody, (count, 4702) each, in the range of real ones."""
    rng = np.random.default_rng(6)

    def one() -> NDArray[np.float64]:
        out = rng.uniform(0, _LARGEST_FHOG, (count, FEATURES))
        out[:, DESCRIPTOR_SIZE:] = rng.normal(0, _GEOMETRY_SPREAD, (count, FEATURES - DESCRIPTOR_SIZE))
        return out

    return one(), one()
