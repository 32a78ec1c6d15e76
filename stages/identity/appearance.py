"""How a face looks, in a few hundred numbers: its FHOG against the average face's, and the colours of its parts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.models.au_heads import PREDICTORS, read_au_head
from auflow.models.store import originals

__all__ = ["APPEARANCE_SIZE", "AppearanceDescriber", "as_appearance", "distances"]

Floats = NDArray[np.float32]

_SIDE = 12  # cells of the FHOG across and down
_BLOCKS = 4  # of cells
_CHANNELS = 31
_HOG = _SIDE * _SIDE * _CHANNELS
_SHAPE_SIZE = _BLOCKS * _BLOCKS * _CHANNELS
_COLOUR_SIZE = _BLOCKS * _BLOCKS * 3
_COVERED = 0.3  # share of a block that must be face for its colour to count
_LIGHTNESS = 0.5  # weight of lightness beside hue: light changes more than skin
_COLOUR_SCALE = 10.0  # units of Lab that count as much as a right angle between shapes
_AVERAGE_HEAD = "svr_combined/AU_12_static_intensity_comb.dat"  # any static head: all have the same means
APPEARANCE_SIZE = _SHAPE_SIZE + _COLOUR_SIZE


class AppearanceDescriber:
    """Describes aligned faces so that those of a person are alike.

    The average face is that of the AU heads' training, which their files have.

    Parameters
    ----------
    models_root : the model store

    Raises
    ------
    ModelError
    """

    def __init__(self, models_root: Path) -> None:
        self._average = _average_hog(models_root.resolve())

    def describe(self, aligned: NDArray[np.uint8], hog: NDArray[np.float64]) -> Floats:
        """The appearance of one face.

        Parameters
        ----------
        aligned : (112, 112, 3) uint8 BGR, black outside the face's outline
        hog : (4464,) its FHOG

        Returns
        -------
        (544,) float32: a unit vector of shape, then the colours of 4 x 4 blocks

        Raises
        ------
        ShapeError
        """
        if hog.shape != (_HOG,):
            raise ShapeError(f"hog: expected ({_HOG},), got {hog.shape}; give the FHOG of the aligned face")
        shape = _blocks(hog - self._average)
        shape /= max(float(np.linalg.norm(shape)), 1e-9)
        appearance = np.empty(APPEARANCE_SIZE, np.float32)
        appearance[:_SHAPE_SIZE] = shape
        appearance[_SHAPE_SIZE:] = _colours(aligned)
        return appearance


def as_appearance(embedding: Floats) -> Floats:
    """A vector (d,) of which only the direction counts as an appearance (d + 48,): without colours."""
    length = max(float(np.linalg.norm(embedding)), 1e-9)
    return np.concatenate((embedding / length, np.zeros(_COLOUR_SIZE))).astype(np.float32)


def _blocks(hog: NDArray[np.float64]) -> NDArray[np.float64]:
    cells = _SIDE // _BLOCKS
    means: NDArray[np.float64] = hog.reshape(_BLOCKS, cells, _BLOCKS, cells, _CHANNELS).mean(axis=(1, 3)).reshape(-1)
    return means


def _colours(aligned: NDArray[np.uint8]) -> Floats:
    """Lightness against the face's own mean, and hue, of the blocks; zero where there is hardly any face."""
    size = _BLOCKS, _BLOCKS
    _, mask = cv2.threshold(cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY), 0, 1.0, cv2.THRESH_BINARY)
    covered = np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA))
    sums = np.asarray(cv2.resize(aligned.astype(np.float32), size, interpolation=cv2.INTER_AREA))
    means = (sums / np.maximum(covered, 1e-3)[..., None] / 255.0).clip(0.0, 1.0).astype(np.float32)
    lab = np.asarray(cv2.cvtColor(means, cv2.COLOR_BGR2Lab), np.float32)
    good = covered > _COVERED
    if good.any():
        lab[..., 0] = _LIGHTNESS * (lab[..., 0] - lab[..., 0][good].mean())
    lab[~good] = 0.0
    return lab.reshape(-1) / np.float32(_COLOUR_SCALE)


def distances(one: Floats, others: Floats) -> Floats:
    """How different one appearance (d,) is from each of (n, d): (n,) from 0.

    The angle between the shapes, as one less its cosine, and the root mean square of the colours' differences.
    """
    shape = 1.0 - others[:, :-_COLOUR_SIZE] @ one[:-_COLOUR_SIZE]
    colour = others[:, -_COLOUR_SIZE:] - one[-_COLOUR_SIZE:]
    both: Floats = shape + np.sqrt(np.einsum("ij,ij->i", colour, colour) / _COLOUR_SIZE)
    return both


@lru_cache(maxsize=1)
def _average_hog(models_root: Path) -> NDArray[np.float64]:
    return read_au_head(originals(models_root) / PREDICTORS / _AVERAGE_HEAD, "AU12").means[:_HOG].copy()
