"""MTCNN face detection: three networks, each judging what the one before let through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.backends.base import GraphBackend, Network
from auflow.backends.ort import OrtBackend
from auflow.errors import ShapeError
from auflow.models.mtcnn import FOLDER, LAYOUTS, read_network
from auflow.models.onnx.mtcnn import SIDES_PX, build_graph
from auflow.models.store import originals
from auflow.stages.detect import boxes as geometry

__all__ = ["MtcnnDetector"]

THRESHOLDS = (0.6, 0.7, 0.7)
OVERLAP_IN_LEVEL = 0.5
OVERLAP = 0.7
# Boxes (k, 5) and their corrections (k, 4).
Proposals: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]

# Calls of the networks are cut to the backend's batch: that bounds the memory that a frame full of false proposals may
# take. ONet's patches have four times the pixels of RNet's.
ONET_SHARE = 4


class MtcnnDetector:
    """OpenFace 2.2's face detector.

    Parameters
    ----------
    models_root : Path
        Root of the model store.
    backend : GraphBackend
        What computes the networks; None is ONNX Runtime on the CPU with one thread.
    batch : int
        RNet's patches to a call; 0 is the backend's choice.

    Raises
    ------
    ModelError
        A network file is missing or is not what it should be.

    References
    ----------
    Zhang, Zhang, Li, Qiao: Joint face detection and alignment using multi-task cascaded convolutional networks,
    IEEE Signal Processing Letters 2016.
    """

    def __init__(self, models_root: Path, backend: GraphBackend | None = None, *, batch: int = 0) -> None:
        backend = backend or OrtBackend("ort-cpu")
        folder = originals(models_root) / FOLDER
        self._pnet, self._rnet, self._onet = (
            backend.load(build_graph(read_network(folder / f"{name}.dat", layout), name))
            for name, layout in LAYOUTS.items()
        )
        self._shares_maps = backend.shares_maps
        batch = batch or backend.batch
        self.batches = {"rnet": batch, "onet": max(1, batch // ONET_SHARE)}

    def detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Faces of at least about 60 px.

        Parameters
        ----------
        bgr : (h, w, 3) uint8

        Returns
        -------
        (k, 5) float32
            Rows x, y, w, h [px, top-left corner], score; corrected so as to hold the 68 landmarks, the best score
            first. (0, 5) where no face is found, as in any image with a side below 60 px.

        Raises
        ------
        ShapeError
        """
        return self.detect_many((bgr,))[0]

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Faces of several pictures: RNet sees the patches of all of them together, then ONet.

        So does PNet, of pictures of one size, where the backend's calls cost more than what they compute.

        Parameters
        ----------
        pictures : of (h, w, 3) uint8 each, of any sizes

        Returns
        -------
        list of (k, 5) float32
            Of each picture what `detect` finds in it, bit by bit.

        Raises
        ------
        ShapeError
        """
        for bgr in pictures:
            _check(bgr)
        squares, patches = [], []
        known = self._propose_together(pictures)
        for number, bgr in enumerate(pictures):
            image = bgr.astype(np.float32)
            squares.append(choose(*(known[number] if number in known else self.propose(image))))
            # Cut while the picture is in the cache: afterwards, of several, no one is any more.
            patches.append(geometry.normalised_patches(image, squares[-1], SIDES_PX["RNet"]))
        candidates = [refine(*each) for each in zip(squares, self.rnet(patches), strict=True)]
        views: Sequence[NDArray[np.float32] | NDArray[np.uint8]] = [image] if len(pictures) == 1 else pictures
        patches = [
            geometry.normalised_patches(view, boxes[:, :4], SIDES_PX["ONet"])
            for view, boxes in zip(views, candidates, strict=True)
        ]
        return [geometry.fit_to_landmarks(judge(*each)) for each in zip(candidates, self.onet(patches), strict=True)]

    def propose(self, image: NDArray[np.float32]) -> Proposals:
        """PNet over the pyramid of a (h, w, 3) float32 BGR image: (k, 5) boxes and their (k, 4) corrections.

        Boxes are suppressed within each level, ordered by level and by score within it.
        """
        return self._propose([image])[0]

    def _propose_together(self, pictures: Sequence[NDArray[np.uint8]]) -> dict[int, Proposals]:
        """PNet's proposals in pictures that share its calls, by their place: where a call costs, those of one size."""
        if not self._shares_maps:
            return {}
        places: dict[tuple[int, ...], list[int]] = {}
        for number, bgr in enumerate(pictures):
            places.setdefault(bgr.shape, []).append(number)
        known: dict[int, Proposals] = {}
        for numbers in places.values():
            images = [pictures[number].astype(np.float32) for number in numbers]
            known |= dict(zip(numbers, self._propose(images), strict=True))
        return known

    def _propose(self, images: Sequence[NDArray[np.float32]]) -> list[Proposals]:
        """`propose` for each of several pictures of one size; PNet sees a level of all of them in one call."""
        height, width = images[0].shape[:2]
        found: list[list[Proposals]] = [[(np.empty((0, 5), np.float32), np.empty((0, 4), np.float32))] for _ in images]
        for scale in geometry.pyramid_scales(height, width):
            level = np.empty((len(images), 3, *geometry.level_size_px(height, width, scale)), np.float32)
            for image, planes in zip(images, level, strict=True):
                geometry.resize_to_planes(image, planes)
            for of_one, cells in zip(found, self._pnet.run(level)[0], strict=True):
                boxes, corrections = geometry.decode_cells(cells, scale, THRESHOLDS[0])
                kept = geometry.suppress(boxes, OVERLAP_IN_LEVEL)
                of_one.append((boxes[kept], corrections[kept]))
        return [
            (np.concatenate([boxes for boxes, _ in of_one]), np.concatenate([fixes for _, fixes in of_one]))
            for of_one in found
        ]

    def rnet(self, patches: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Raw (n, 6) of RNet for the (n, 3, 24, 24) patches of each picture."""
        return _together(self._rnet, patches, self.batches["rnet"], outputs=6)

    def onet(self, patches: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Raw (n, 16) of ONet for the (n, 3, 48, 48) patches of each picture."""
        return _together(self._onet, patches, self.batches["onet"], outputs=16)


def choose(proposals: NDArray[np.float32], corrections: NDArray[np.float32]) -> NDArray[np.float32]:
    """What RNet is asked about: PNet's proposals, suppressed and corrected, as (k, 4) squares of whole pixels."""
    kept = geometry.suppress(proposals, OVERLAP)
    return geometry.square(geometry.regress(proposals[kept, :4], corrections[kept]))


def refine(squares: NDArray[np.float32], outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """After RNet's raw (k, 6) for the (k, 4) squares: (n, 5) squares of whole pixels, suppressed, the best first."""
    score = geometry.face_probability(outputs)
    passed = score > np.float32(THRESHOLDS[1])
    boxes = np.concatenate((squares, score[:, None]), axis=1)[passed]
    kept = geometry.suppress(boxes, OVERLAP)
    boxes = boxes[kept]
    boxes[:, :4] = geometry.square(geometry.regress(boxes[:, :4], outputs[passed][kept, 2:6]))
    return boxes


def judge(candidates: NDArray[np.float32], outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """After ONet's raw (k, 16) for RNet's (k, 5) squares: (n, 5) boxes of faces, corrected by the network, suppressed,
    the best first."""
    score = geometry.face_probability(outputs)
    passed = score > np.float32(THRESHOLDS[2])
    moved = geometry.regress(candidates[passed, :4], outputs[passed, 2:6], extra_px=1)
    boxes = np.concatenate((moved, score[passed, None]), axis=1)
    return boxes[geometry.suppress(boxes, OVERLAP, by_minimum=True)]


def _check(bgr: NDArray[np.uint8]) -> None:
    if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
        raise ShapeError(f"bgr: expected (h, w, 3) uint8, got {bgr.shape} {bgr.dtype}: pass a decoded BGR frame")


def _together(
    network: Network, patches: Sequence[NDArray[np.float32]], batch: int, *, outputs: int
) -> list[NDArray[np.float32]]:
    """Raw (n, outputs) of a patch network for the patches of each picture; the calls go over all of them."""
    everything = patches[0] if len(patches) == 1 else np.concatenate(patches) if patches else np.empty(0, np.float32)
    chunks = [network.run(everything[start : start + batch])[0].copy() for start in range(0, len(everything), batch)]
    found = np.concatenate([np.empty((0, outputs), np.float32), *chunks])
    ends = np.cumsum([len(of_one) for of_one in patches])
    return [found[end - len(of_one) : end] for of_one, end in zip(patches, ends, strict=True)]
