"""The names of what a stream leaves: its table in each format, and what lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auflow.stages.settings import Format

__all__ = ["aligned_dir", "all_tables", "hog_path", "overlay_path", "table_path", "work_path"]


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(output.name.removesuffix(".csv") + ending)


def table_path(output: Path, form: Format, *, interrupted: bool = False) -> Path:
    """The table in one format: the CSV `output` itself, NAME.parquet, NAME.jsonl; NAME.partial.* of half a stream."""
    if interrupted:
        return _beside(output, f".partial.{form}")
    return output if form == "csv" else _beside(output, f".{form}")


def all_tables(first: Path, formats: Sequence[Format]) -> list[Path]:
    """The table in all its formats, by the path of the first: whole ones of a whole one, partial ones of a partial."""
    name = first.name.removesuffix(f".{formats[0]}")
    return [first, *(first.with_name(f"{name}.{form}") for form in formats[1:])]


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
