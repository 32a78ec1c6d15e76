"""Face detection: MTCNN as OpenFace 2.2 runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from auflow.stages.detect.boxes import widest

if TYPE_CHECKING:
    from auflow.stages.detect.mtcnn import MtcnnDetector

__all__ = ["MtcnnDetector", "widest"]

# ONNX Runtime reports its use to its maker unless told not to, and keeps files for that. Videos of patients are
# analysed here: nothing is sent. Read when the library loads, which is later than this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    # Imported at first use: the workers that only ask for the widest box do without ONNX Runtime.
    if name == "MtcnnDetector":
        from auflow.stages.detect.mtcnn import MtcnnDetector

        return MtcnnDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
