"""What is to be written, and what was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from auflow.export.coreml.weights import Expected
from auflow.models.onnx.graph import OnnxModel

__all__ = ["Exported", "Plan"]


@dataclass(frozen=True, slots=True)
class Exported:
    """One package that was written and checked."""

    path: Path
    size_bytes: int  # of all its files
    operators: Mapping[str, int]  # how often each kind of operation is used
    weights_error: float  # largest difference of a weight from the model files': the rounding to the precision
    errors: Mapping[str, float]  # of the evaluation, by what was compared; all are in the package's metadata too


@dataclass(frozen=True, slots=True)
class Plan:
    """One package that is to be written."""

    model: OnnxModel
    file_name: str
    description: str
    weights: Expected
