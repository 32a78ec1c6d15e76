"""The model files that auflow uses, with size and SHA-256: `manifest.csv` and `ceclm.json` as records."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

__all__ = ["CeclmFile", "ModelFile", "load_ceclm_files", "load_manifest", "sha256_of"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of OpenFace's repository."""

    path: str  # relative to the repository, with forward slashes
    size: int  # bytes
    sha256: str  # lower-case hexadecimal
    needed: bool = True  # false for the licence texts: fetched where they can be had, not used at run time


@dataclass(frozen=True, slots=True)
class CeclmFile:
    """One file that only CE-CLM needs."""

    file: ModelFile
    urls: tuple[str, ...]  # where it can be had, in this order; none: from the repository or the wheel, as the others


@cache
def load_manifest() -> tuple[ModelFile, ...]:
    """Every file in use, sorted by path; without those that only CE-CLM needs."""
    lines = (files("auflow.models") / "manifest.csv").read_text(encoding="ascii").splitlines()
    rows = csv.DictReader(lines)
    return tuple(ModelFile(row["path"], int(row["bytes"]), row["sha256"], row["role"] == "model") for row in rows)


@cache
def load_ceclm_files() -> tuple[CeclmFile, ...]:
    """Every file that only CE-CLM needs."""
    entries = json.loads((files("auflow.models") / "ceclm.json").read_text(encoding="ascii"))["files"]
    return tuple(
        CeclmFile(ModelFile(entry["path"], entry["size"], entry["sha256"]), tuple(entry["urls"])) for entry in entries
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal; OSError passes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
