"""With what precision and for what sizes each of our graphs is translated: for the files, and for the backend."""

from __future__ import annotations

from auflow.models.coreml.translate import Precision, Sides
from auflow.models.onnx.graph import OnnxModel

__all__ = ["precision_of", "sides_of"]

# Half precision is for what was measured with it; see docs/coreml.md. Of the AU heads it would cost up to 0.06 of an
# intensity where sums are in half precision too, which Core ML's documents leave open.
_HALF = frozenset({"PNet", "RNet", "ONet"})
# Least, usual and most. With a range the Neural Engine takes the usual size only, says an engineer of Apple's
# (developer.apple.com/forums/thread/724930). PNet's pyramid has other sizes for each size of picture, so they are a
# range and no list; the first level is a fifth of the picture: 96 x 128 of 480 x 640, and 2048 px are enough for
# 10,000. Levels go one by one.
_BATCH = (1, 1, 256)  # faces
_BATCHES = {"RNet": (1, 64, 256), "ONet": (1, 16, 256)}  # patches
_IMAGE_SIDES_PX = {"h": (12, 96, 2048), "w": (12, 128, 2048)}


def precision_of(model: OnnxModel) -> Precision:
    """Of the weights and of all between inputs and outputs."""
    return "float16" if model.name in _HALF else "float32"


def sides_of(model: OnnxModel) -> Sides:
    """Of each side of the inputs that has a name, its size, or the least, usual and most."""
    names = {side for value in model.inputs for side in value.shape if isinstance(side, str)}
    if names >= _IMAGE_SIDES_PX.keys():
        return {name: _IMAGE_SIDES_PX.get(name, 1) for name in names}
    return dict.fromkeys(names, _BATCHES.get(model.name, _BATCH))
