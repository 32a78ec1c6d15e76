"""Faces between their description and the prediction of their Action Units, alone or several in one matrix product."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auflow.stages.au.heads import Heads

__all__ = ["Described", "fill_products"]

F64 = NDArray[np.float64]


@dataclass(slots=True)
class Described:
    """What is predicted from: one face of one frame."""

    features: F64  # (4702,)
    face: NDArray[np.uint8]  # (112, 112, 3) BGR, black outside its outline
    products: F64 | None = None  # (k,) of the heads; None: not yet
    reused: bool = False


def fill_products(heads: Heads, faces: Iterable[Described | None]) -> None:
    """The products of all faces that have none yet, in one call.

    Those of a face that is alone and those of one among several may differ in their last bits.
    """
    missing = [face for face in faces if face is not None and face.products is None]
    if len(missing) == 1:
        missing[0].products = heads.products(missing[0].features)
    elif missing:
        products = heads.products_of(np.stack([face.features for face in missing]))
        for face, own in zip(missing, products, strict=True):
            face.products = own
