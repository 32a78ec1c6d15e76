"""The model files that auflow uses, with size and SHA-256: `manifest.csv` and `ceclm.json` as records."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from auflow.errors import ModelError

if TYPE_CHECKING:
    from importlib.abc import Traversable

__all__ = [
    "CeclmFile",
    "ModelFile",
    "load_ceclm_files",
    "load_manifest",
    "read_ceclm_files",
    "read_manifest",
    "sha256_of",
]

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
    return read_manifest(files("auflow.models") / "manifest.csv")


@cache
def load_ceclm_files() -> tuple[CeclmFile, ...]:
    """Every file that only CE-CLM needs."""
    return read_ceclm_files(files("auflow.models") / "ceclm.json")


def read_manifest(source: Traversable) -> tuple[ModelFile, ...]:
    """The files that a manifest in CSV lists: path, bytes, sha256, role.

    Raises
    ------
    ModelError
    """
    with _reading(source):
        rows = list(csv.DictReader(source.read_text(encoding="ascii").splitlines(), strict=True))
        if any(row["role"] not in ("model", "licence") for row in rows):
            raise ValueError("expected the roles model and licence")
        entries = [ModelFile(row["path"], int(row["bytes"]), row["sha256"], row["role"] == "model") for row in rows]
        return _checked(entries)


def read_ceclm_files(source: Traversable) -> tuple[CeclmFile, ...]:
    """The files that a list in JSON names: path, size, sha256, urls.

    Raises
    ------
    ModelError
    """
    with _reading(source):
        entries = json.loads(source.read_text(encoding="ascii"))["files"]
        listed = _checked([ModelFile(entry["path"], entry["size"], entry["sha256"]) for entry in entries])
        urls = [tuple(entry["urls"]) for entry in entries]
        if not all(isinstance(url, str) and url.startswith("https://") for several in urls for url in several):
            raise ValueError("expected addresses that begin with https://")
        return tuple(map(CeclmFile, listed, urls))


@contextlib.contextmanager
def _reading(source: Traversable) -> Iterator[None]:
    """Turns whatever a damaged list brings about into one error that says what to do."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{source}: cannot be read: {error.strerror}; install auflow again") from error
    # A list of another shape shows as any of these, RecursionError where JSON is nested without end.
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error, RecursionError) as error:
        what = f"no {error} in it" if isinstance(error, KeyError) else error
        raise ModelError(
            f"{source}: not the list of files that came with auflow: {what}; install auflow again"
        ) from error


def _checked(entries: list[ModelFile]) -> tuple[ModelFile, ...]:
    """The entries, each a path below the store, a size and a SHA-256; ValueError where one is not."""
    for entry in entries:
        parts = entry.path.split("/")
        if not all(parts) or "." in parts or ".." in parts or "\\" in entry.path or not entry.path.isprintable():
            raise ValueError(f"expected a path below the store, got {entry.path!r}")
        if type(entry.size) is not int or entry.size < 0:
            raise ValueError(f"{entry.path}: expected a size in bytes, got {entry.size!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
            raise ValueError(f"{entry.path}: expected a SHA-256, got {entry.sha256!r}")
    if not entries or len({entry.path for entry in entries}) != len(entries):
        raise ValueError("expected each file once, and at least one")
    return tuple(entries)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal; OSError passes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
