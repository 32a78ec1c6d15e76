"""The names of what a stream leaves beside its CSV."""

from __future__ import annotations

from pathlib import Path

__all__ = ["aligned_dir", "hog_path", "overlay_path", "work_path"]


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(output.name.removesuffix(".csv") + ending)


def overlay_path(output: Path) -> Path:
    """The annotated video of the CSV `output`: NAME.overlay.mp4."""
    return _beside(output, ".overlay.mp4")


def hog_path(output: Path) -> Path:
    """The FHOG descriptors of the CSV `output`: NAME.hog."""
    return _beside(output, ".hog")


def aligned_dir(output: Path) -> Path:
    """The folder of aligned faces of the CSV `output`: NAME_aligned."""
    return _beside(output, "_aligned")


def work_path(output: Path) -> Path:
    """The hidden folder of what is unfinished of the CSV `output`: .NAME.auflow."""
    return output.with_name(f".{output.name.removesuffix('.csv')}.auflow")
