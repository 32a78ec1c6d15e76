"""Appearances by a face-embedding network that the user brings, in place of our own descriptor."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.errors import ModelError
from auflow.stages.identity.appearance import as_appearance

__all__ = ["Embedder", "load_embedder"]

Floats = NDArray[np.float32]

_SIDE_PX = 112
# Where such networks expect the eyes, the tip of the nose and the corners of the mouth.
_EXPECTED = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_POINTS = (range(36, 42), range(42, 48), (30,), (48,), (54,))  # landmarks whose mean each of them is
_LEAST_VALUES = 16


class Embedder:
    """Runs the network on the CPU with one thread.

    Parameters
    ----------
    path : an ONNX file with one input (n, 3, 112, 112) float32, RGB from -1 to 1, and one output (n, d)

    Raises
    ------
    ModelError
        It cannot be read, or is no such network.

    References
    ----------
    Deng, Guo, Xue, Zafeiriou, ArcFace: additive angular margin loss for deep face recognition, CVPR 2019: the places
    of the five points.
    """

    def __init__(self, path: Path) -> None:
        # Brings ONNX Runtime, which the AU workers do without otherwise.
        import onnxruntime as ort

        import auflow.stages.detect  # noqa: F401 - sets what the library reads when it loads

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library has a dozen kinds, and one for a file that is not there
            raise ModelError(f"{path}: cannot be read as an ONNX model: {str(error).splitlines()[0]}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape[1:] if len(inputs) == 1 else None
        if shape != [3, _SIDE_PX, _SIDE_PX] or inputs[0].type != "tensor(float)" or len(outputs) != 1:
            told = ", ".join(f"{one.name} {one.shape} {one.type}" for one in inputs)
            raise ModelError(
                f"{path}: expected one input (n, 3, {_SIDE_PX}, {_SIDE_PX}) of floats and one output, got {told}, "
                f"{len(outputs)} outputs; give a network for face recognition, such as an ArcFace one"
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        size = self._run(np.zeros((_SIDE_PX, _SIDE_PX, 3), np.uint8)).size
        if size < _LEAST_VALUES:
            raise ModelError(f"{path}: expected an embedding of {_LEAST_VALUES} numbers or more, got {size}")

    def describe(self, bgr: NDArray[np.uint8], landmarks_px: Floats) -> Floats:
        """The appearance of the face with these landmarks (136,) in a picture (h, w, 3): (d + 48,) float32."""
        face = cv2.warpAffine(bgr, _matrix(landmarks_px), (_SIDE_PX, _SIDE_PX), flags=cv2.INTER_LINEAR)
        return as_appearance(self._run(np.asarray(face, np.uint8)))

    def _run(self, face: NDArray[np.uint8]) -> Floats:
        planes = (face[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) - 127.5) / 127.5
        embedding: Any = self._session.run([self._output], {self._input: planes[None]})[0]
        return np.asarray(embedding, np.float32).reshape(-1)


def _matrix(landmarks_px: Floats) -> NDArray[np.float64]:
    """The similarity (2, 3) that brings the five points nearest to where they are expected, by least squares."""
    points = landmarks_px.reshape(2, -1).astype(np.float64)
    found = np.array([points[:, list(those)].mean(axis=1) for those in _POINTS])
    from_mean, to_mean = found.mean(axis=0), _EXPECTED.mean(axis=0)
    a, b = (found - from_mean) @ [1, 1j], (_EXPECTED - to_mean) @ [1, 1j]
    turn = (a.conj() @ b) / max(float((a.conj() @ a).real), 1e-9)
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack((rotation, to_mean - rotation @ from_mean))


@lru_cache(maxsize=1)
def load_embedder(path: Path) -> Embedder:
    """The network of a file, once for all streams of a process.

    Raises
    ------
    ModelError
    """
    return Embedder(path)
