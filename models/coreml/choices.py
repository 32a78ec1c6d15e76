"""With what precision and for what sizes each of our graphs is translated: for the files, and for the backend."""

from __future__ import annotations

from auflow.models.coreml.translate import Precision, Sides
from auflow.models.onnx.graph import OnnxModel

__all__ = ["precision_of", "sides_of"]

# Half precision is for what was measured with it; see docs/coreml.md. Of the AU heads it would cost up to 0.06 of an
# intensity where sums are in half precision too, which Core ML's documents leave open.
_HALF = frozenset({"PNet", "RNet", "ONet"})
_BATCH = (1, 256)  # faces, patches
# PNet's pyramid has other sizes for each size of picture, so they are a range and no list. The first level is a fifth
# of the picture: 2048 px are enough for pictures of 10,000. Levels go one by one.
_IMAGE_SIDES_PX = (12, 2048)


def precision_of(model: OnnxModel) -> Precision:
    """Of the weights and of all between inputs and outputs."""
    return "float16" if model.name in _HALF else "float32"


def sides_of(model: OnnxModel) -> Sides:
    """Of each side of the inputs that has a name, its size, or its least and its largest."""
    names = {side for value in model.inputs for side in value.shape if isinstance(side, str)}
    if names >= {"h", "w"}:
        return {name: _IMAGE_SIDES_PX if name in ("h", "w") else 1 for name in names}
    return dict.fromkeys(names, _BATCH)
