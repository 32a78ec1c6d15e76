"""Readers of the text models: point distribution models and triangulations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auflow.models.text import TextReader
from auflow.models.types import PDM

__all__ = ["read_pdm", "read_triangulation"]

_MAX_VIEWS = 64


def read_pdm(path: Path) -> PDM:
    """The point distribution model of a text file: mean (3n x 1), components (3n x m), variances (1 x m).

    Returns
    -------
    PDM of float64 arrays, millimetres, planar

    Raises
    ------
    ModelError
    """
    reader = TextReader(path)
    mean = reader.floats("the mean shape")
    components = reader.floats("the principal components")
    eigenvalues = reader.floats("the eigenvalues")
    reader.end()
    rows, modes = components.shape
    if mean.shape[1] != 1 or mean.shape[0] % 3:
        raise reader.fail(f"the mean shape: expected 3n rows and 1 column, got {mean.shape}")
    if rows != mean.shape[0]:
        raise reader.fail(f"the principal components: expected {mean.shape[0]} rows, got {rows}")
    if eigenvalues.size != modes or 1 not in eigenvalues.shape:
        raise reader.fail(f"the eigenvalues: expected 1 x {modes}, got {eigenvalues.shape}")
    if not (eigenvalues > 0).all():
        raise reader.fail(f"the eigenvalues: expected all above 0, got {eigenvalues.min()}")
    return PDM(mean.reshape(-1), components, eigenvalues.reshape(-1))


def read_triangulation(path: Path, *, points: int = 68) -> tuple[NDArray[np.int32], ...]:
    """The triangulations of a text file, one per view: seven in tris_68.txt, one in tris_68_full.txt.

    Parameters
    ----------
    points : number of landmarks that the triangles may name

    Returns
    -------
    tuple of (t, 3) int32 landmark indices, read-only

    Raises
    ------
    ModelError
    """
    reader = TextReader(path)
    # A file of one triangulation leaves out the count: rows, 3, 4 (int32) come at once.
    single = reader.peek(3)[1:] == ["3", "4"]
    views = 1 if single else reader.integer("number of triangulations", low=1, high=_MAX_VIEWS)
    found = []
    for view in range(views):
        triangles = reader.integers(f"triangulation {view + 1}")
        if triangles.shape[1] != 3:
            raise reader.fail(f"triangulation {view + 1}: expected 3 columns, got {triangles.shape[1]}")
        if triangles.min() < 0 or triangles.max() >= points:
            raise reader.fail(f"triangulation {view + 1}: expected landmarks 0 to {points - 1}, got others")
        found.append(triangles)
    reader.end()
    return tuple(found)
