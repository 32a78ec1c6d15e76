"""The names of the compute backends, and what each stage may be computed by."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["BACKENDS", "REFERENCE", "STAGES", "BackendName", "StageName"]

BackendName = Literal["numba", "ort-cpu", "ort-cuda", "ort-tensorrt", "tensorrt", "ort-coreml", "coreml"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

StageName = Literal["detect", "clnf", "au"]  # that have a choice
STAGES: tuple[StageName, ...] = get_args(StageName)

# What OpenFace's numbers were compared with. MTCNN has no kernels of our own: its reference is ONNX Runtime.
REFERENCE: dict[StageName, BackendName] = {"detect": "ort-cpu", "clnf": "numba", "au": "numba"}
