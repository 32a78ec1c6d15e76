"""MTCNN face detection: three networks in ONNX Runtime, each judging what the one before let through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from auflow.errors import ShapeError
from auflow.models.mtcnn import FOLDER, LAYOUTS, read_network
from auflow.models.mtcnn_onnx import INPUT, OUTPUT, build_batch_graph, build_map_graph
from auflow.models.store import originals
from auflow.stages.detect import boxes as geometry

__all__ = ["MtcnnDetector"]

THRESHOLDS = (0.6, 0.7, 0.7)
OVERLAP_IN_LEVEL = 0.5
OVERLAP = 0.7
RNET_SIDE_PX = 24
ONET_SIDE_PX = 48
BATCH = 16  # bounds the memory that a frame full of false proposals may take; larger ones are no faster


class MtcnnDetector:
    """OpenFace 2.2's face detector, on the CPU with one thread.

    Parameters
    ----------
    models_root : Path
        Root of the model store.

    Raises
    ------
    ModelError
        A network file is missing or is not what it should be.

    References
    ----------
    Zhang, Zhang, Li, Qiao: Joint face detection and alignment using multi-task cascaded convolutional networks,
    IEEE Signal Processing Letters 2016.
    """

    def __init__(self, models_root: Path) -> None:
        folder = originals(models_root) / FOLDER
        layers = {name: read_network(folder / f"{name}.dat", layout) for name, layout in LAYOUTS.items()}
        self._pnet = _session(build_map_graph(layers["PNet"], "PNet"))
        self._rnet = _session(build_batch_graph(layers["RNet"], "RNet", RNET_SIDE_PX))
        self._onet = _session(build_batch_graph(layers["ONet"], "ONet", ONET_SIDE_PX))

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
        if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
            raise ShapeError(f"bgr: expected (h, w, 3) uint8, got {bgr.shape} {bgr.dtype}: pass a decoded BGR frame")
        image = bgr.astype(np.float32)
        proposals, corrections = self.propose(image)
        return geometry.fit_to_landmarks(self.judge(image, self.refine(image, proposals, corrections)))

    def propose(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """PNet over the pyramid of a (h, w, 3) float32 BGR image: (k, 5) boxes and their (k, 4) corrections.

        Boxes are suppressed within each level, ordered by level and by score within it.
        """
        height, width = image.shape[:2]
        found = [(np.empty((0, 5), np.float32), np.empty((0, 4), np.float32))]
        for scale in geometry.pyramid_scales(height, width):
            rows, columns = geometry.level_size_px(height, width, scale)
            level = np.empty((1, 3, rows, columns), np.float32)
            geometry.resize_to_planes(image, level[0])
            boxes, corrections = geometry.decode_cells(_run(self._pnet, level)[0], scale, THRESHOLDS[0])
            kept = geometry.suppress(boxes, OVERLAP_IN_LEVEL)
            found.append((boxes[kept], corrections[kept]))
        return np.concatenate([boxes for boxes, _ in found]), np.concatenate([fixes for _, fixes in found])

    def refine(
        self, image: NDArray[np.float32], proposals: NDArray[np.float32], corrections: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """RNet on the corrected proposals: (k, 5) squares of whole pixels, suppressed, the best first."""
        kept = geometry.suppress(proposals, OVERLAP)
        squares = geometry.square(geometry.regress(proposals[kept, :4], corrections[kept]))
        outputs = self._batched(self._rnet, image, squares, RNET_SIDE_PX, outputs=6)
        score = geometry.face_probability(outputs)
        passed = score > np.float32(THRESHOLDS[1])
        boxes = np.concatenate((squares, score[:, None]), axis=1)[passed]
        kept = geometry.suppress(boxes, OVERLAP)
        boxes = boxes[kept]
        boxes[:, :4] = geometry.square(geometry.regress(boxes[:, :4], outputs[passed][kept, 2:6]))
        return boxes

    def judge(self, image: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.float32]:
        """ONet on RNet's squares: (k, 5) boxes of faces, corrected by the network, suppressed, the best first."""
        outputs = self._batched(self._onet, image, candidates[:, :4], ONET_SIDE_PX, outputs=16)
        score = geometry.face_probability(outputs)
        passed = score > np.float32(THRESHOLDS[2])
        moved = geometry.regress(candidates[passed, :4], outputs[passed, 2:6], extra_px=1)
        boxes = np.concatenate((moved, score[passed, None]), axis=1)
        return boxes[geometry.suppress(boxes, OVERLAP, by_minimum=True)]

    @staticmethod
    def _batched(
        session: ort.InferenceSession,
        image: NDArray[np.float32],
        boxes: NDArray[np.float32],
        side_px: int,
        *,
        outputs: int,
    ) -> NDArray[np.float32]:
        """Raw (n, outputs) of a patch network for every box, in batches."""
        chunks = [
            _run(session, geometry.normalised_patches(image, boxes[start : start + BATCH], side_px))
            for start in range(0, len(boxes), BATCH)
        ]
        return np.concatenate([np.empty((0, outputs), np.float32), *chunks])


def _session(model: bytes) -> ort.InferenceSession:
    """One thread, and none that spins: two were three times slower, and a spinning one burns a core at 30 Hz."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it plans memory for each shape; here the shapes keep changing
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, images: NDArray[np.float32]) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
    return outputs
