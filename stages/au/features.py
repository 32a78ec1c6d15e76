"""A face's descriptor for the AU heads, and the person's running median of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auflow.models.au_heads import FEATURES, PREDICTORS
from auflow.models.pdm import read_pdm, read_triangulation
from auflow.models.store import originals
from auflow.stages.au.align import FaceAligner
from auflow.stages.au.fhog import DESCRIPTOR_SIZE, fhog
from auflow.stages.au.median import RunningMedian
from auflow.stages.clnf.pdm import FittingPDM, calc_params

__all__ = ["DescriptorMedian", "FaceDescriber"]


class FaceDescriber:
    """Landmarks and picture in, 4702 numbers out: 4464 of the FHOG, 204 of the shape's change, 34 parameters.

    Parameters
    ----------
    models_root : the model store

    Raises
    ------
    ModelError
    """

    def __init__(self, models_root: Path) -> None:
        folder = originals(models_root) / PREDICTORS
        pdm = read_pdm(folder / "In-the-wild_aligned_PDM_68.txt")
        self._pdm = FittingPDM.from_model(pdm)
        self._components = np.ascontiguousarray(pdm.principal_components)
        (triangles,) = read_triangulation(folder / "tris_68_full.txt")
        self._aligner = FaceAligner(pdm.mean_shape, triangles)

    @property
    def last_cut(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
        """How the last face was cut out of its picture: `FaceAligner.last`."""
        return self._aligner.last

    def describe(
        self, bgr: NDArray[np.uint8], landmarks_px: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """The descriptor of one face, and the aligned face it was taken from.

        Parameters
        ----------
        bgr : (h, w, 3) uint8
        landmarks_px : (136,) float32, planar

        Returns
        -------
        (4702,) float64, and (112, 112, 3) uint8

        Raises
        ------
        ShapeError
        """
        # A copy is writeable, whatever came: the kernels are compiled for that.
        landmarks_px = landmarks_px.copy()
        params_global, params_local = calc_params(self._pdm, landmarks_px)
        face = self._aligner.align(bgr, landmarks_px, (params_global[4], params_global[5]))
        features = np.empty(FEATURES)
        features[:DESCRIPTOR_SIZE] = fhog(face).reshape(-1)
        change = features[DESCRIPTOR_SIZE : DESCRIPTOR_SIZE + self._components.shape[0]]
        np.matmul(self._components, params_local.astype(np.float64), out=change)
        features[DESCRIPTOR_SIZE + change.size :] = params_local
        return features, face


class DescriptorMedian:
    """The person's running median of the descriptor: their neutral face, for the dynamic heads."""

    def __init__(self) -> None:
        self.value: NDArray[np.float64] = np.zeros(FEATURES)  # (4702,), zero before the first sample
        hog, geometry = self.value[:DESCRIPTOR_SIZE], self.value[DESCRIPTOR_SIZE:]
        self._hog = RunningMedian(hog.size, bins=1000, low=-0.005, high=1.0, floor=0.0, out=hog)
        self._geometry = RunningMedian(geometry.size, bins=10_000, low=-60.0, high=60.0, out=geometry)

    @property
    def count(self) -> int:
        """Samples so far."""
        return self._hog.count

    def insert(self, features: NDArray[np.float64]) -> None:
        """Take one more descriptor, (4702,) float64."""
        self._hog.insert(features[:DESCRIPTOR_SIZE])
        self._geometry.insert(features[DESCRIPTOR_SIZE:])

    def reset(self) -> None:
        """Forget the person."""
        self._hog.reset()
        self._geometry.reset()

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next medians depend on."""
        parts = {"hog": self._hog.snapshot(), "geometry": self._geometry.snapshot()}
        return {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        for part, median in (("hog", self._hog), ("geometry", self._geometry)):
            own = {name.removeprefix(f"{part}/"): array for name, array in arrays.items() if name.startswith(part)}
            median.restore(own)
