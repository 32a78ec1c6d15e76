"""Face detection: MTCNN as OpenFace 2.2 runs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auflow.stages.detect.boxes import widest
from auflow.stages.settings import StageSettings

if TYPE_CHECKING:
    from auflow.stages.detect.mtcnn import MtcnnDetector

__all__ = ["MtcnnDetector", "load_detector", "widest"]

# ONNX Runtime reports its use to its maker unless told not to, and keeps files for that. Videos of patients are
# analysed here: nothing is sent. Read when the library loads, which is later than this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load_detector(models_root: Path, settings: StageSettings) -> MtcnnDetector:
    """The detector by the backend that the settings name.

    Raises
    ------
    ModelError
    BackendError
    """
    from auflow.backends.load import load_backend
    from auflow.stages.detect.mtcnn import MtcnnDetector

    return MtcnnDetector(models_root, load_backend(settings.detect_backend), batch=settings.detect_batch)


def __getattr__(name: str) -> Any:
    # Imported at first use: the workers that only ask for the widest box do without ONNX Runtime.
    if name == "MtcnnDetector":
        from auflow.stages.detect.mtcnn import MtcnnDetector

        return MtcnnDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
