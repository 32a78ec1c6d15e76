"""Where a table comes from: what its Parquet and JSON lines say of themselves. docs/formats.md has every key."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from auflow import __version__
from auflow.errors import InputError
from auflow.models.manifest import load_ceclm_files, load_manifest
from auflow.stages.records import SourceInfo
from auflow.stages.settings import Model, StageSettings
from auflow.stages.sink.columns import Layout

__all__ = ["PARQUET_KEY", "Provenance", "created_now", "models_digest", "provenance_of", "read_provenance"]

Provenance: TypeAlias = dict[str, Any]

PARQUET_KEY = b"auflow"  # of the file's metadata; the value is JSON
SCHEMA = 1  # raised when a key goes or changes its meaning
OPENFACE = "2.2.0"  # whose numbers these are
_LONGEST_HEADER = 1 << 20  # bytes of the first line of JSON lines
_AU_VALUES = {
    "offline": "after OpenFace's pass over the whole video: relative to the person's own neutral face, then smoothed",
    "static": "of each row by itself: static models, no pass over the whole video",
}
_FACE_NUMBERS = {
    "person": "the number is a person's, who keeps it through crossings and after an absence",
    "tracker": "the number is that of the tracker which follows the face: with OpenFace's tracking its place, which may"
    " pass to another person when the first is lost, with coherent tracking of several faces never given again",
    "picture": "faces are numbered in each picture anew",
}


def provenance_of(
    settings: StageSettings,
    info: SourceInfo,
    *,
    frames: int,
    rows: int,
    interrupted: bool = False,
    created: str | None = None,
) -> Provenance:
    """What is known of a table when it is written.

    Of the input its name and size are told, not its folder: a file that is passed on should not tell of its maker's
    disk.

    Parameters
    ----------
    settings, info : of the stream
    frames : that were worked on
    rows : of the table: one per face and frame
    interrupted : the stream did not reach its end
    created : ISO 8601, UTC; None is now
    """
    values = "static" if settings.independent else "offline"
    numbers = "person" if settings.identities else "picture" if settings.faces == "pictures" else "tracker"
    told = asdict(settings)
    del told["overlay_encoders"]  # of the machine, and nothing of the table's
    if settings.boxes_dir is not None:
        told["boxes_dir"] = _text(Path(settings.boxes_dir).name)
    return {
        "program": "auflow",
        "version": __version__,
        "schema": SCHEMA,
        "created": created or created_now(),
        "openface": OPENFACE,
        "source": _source(info),
        "frames": frames,
        "rows": rows,
        "interrupted": interrupted,
        "au_values": values,
        "au_values_meaning": _AU_VALUES[values],
        "tracking": settings.tracking,
        "face_numbers": numbers,
        "face_numbers_meaning": _FACE_NUMBERS[numbers],
        "models": {"landmarks": settings.model, "sha256": models_digest(settings.model)},
        "settings": told,
        "columns": Layout.of(settings).names(),
    }


def created_now() -> str:
    """Now, as ISO 8601 in UTC, to the second; of $SOURCE_DATE_EPOCH where that is set, for files that must not vary."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    at_s = int(fixed) if fixed.isascii() and fixed.isdecimal() and len(fixed) < 12 else int(time.time())
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def models_digest(model: Model = "clnf") -> str:
    """SHA-256 over the paths and SHA-256 of all model files in use, which every run compares with the files."""
    files = [file for file in load_manifest() if file.needed]
    files += [extra.file for extra in load_ceclm_files() if model == "ceclm"]
    return hashlib.sha256(json.dumps([(file.path, file.sha256) for file in files]).encode()).hexdigest()


def read_provenance(path: Path) -> Provenance:
    """What a Parquet file or JSON lines of auflow say of themselves, by the ending of the name.

    Raises
    ------
    InputError
        It cannot be read, or is none of auflow's.
    UsageError
        A Parquet file, and the package for it is not there.
    """
    text = _parquet_text(path) if path.suffix.lower() == ".parquet" else _first_line(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("program") != "auflow":
        raise InputError(f"{path}: says nothing of its origin; give a .parquet or .jsonl that `auflow run` has written")
    if found.get("schema") != SCHEMA:
        raise InputError(f"{path}: expected schema {SCHEMA}, got {found.get('schema')!r}; update the older auflow")
    return {key: value for key, value in found.items() if key not in ("type", "units")}


def _source(info: SourceInfo) -> Mapping[str, Any]:
    path, size = Path(info.path), None
    with suppress(OSError):  # it may be gone by now
        size = path.stat().st_size if info.kind != "live" and path.is_file() else None
    return {
        "name": _text(path.name or path.resolve().name),
        "bytes": size,
        "kind": info.kind,
        "width_px": info.width_px,
        "height_px": info.height_px,
        "fps": info.fps if math.isfinite(info.fps) else None,
        "frames": info.frame_count,
        "rotation_deg": info.rotation_deg,
    }


def _text(name: str) -> str:
    """A file's name need not be UTF-8: what cannot be said in it becomes a question mark."""
    return name.encode("utf-8", "replace").decode()


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline(_LONGEST_HEADER)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _parquet_text(path: Path) -> bytes:
    from auflow.stages.sink.parquet_file import read_metadata

    return read_metadata(path).get(PARQUET_KEY, b"")
