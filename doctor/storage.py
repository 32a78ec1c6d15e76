"""Disks: where results, temporary files and compiled kernels go, and whether there is room and a right to write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auflow import kernel_cache
from auflow.doctor.finding import Finding
from auflow.doctor.places import Places

__all__ = ["Folder", "KernelCache", "Storage", "gather", "judge"]

AREA = "storage"

LEAST_BYTES = 50_000_000  # below it next to nothing can be written
RESULTS_BYTES = 1_000_000_000
CSV_BYTES = 5_400  # of a frame, measured, all columns
_FPS = 30
_TMPDIR = "export TMPDIR=/a/folder/of/yours"


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder that auflow writes to."""

    name: str
    path: Path
    free_bytes: int | None  # None where that could not be found out
    error: str  # why nothing can be written, "" where it can


@dataclass(frozen=True, slots=True)
class KernelCache:
    """Where compiled kernels are kept."""

    path: Path
    warning: str  # that they will not last, "" where they will
    compiled: tuple[str, ...]  # landmark models whose kernels are all there


@dataclass(frozen=True, slots=True)
class Storage:
    """All of them."""

    folders: tuple[Folder, ...]
    kernels: KernelCache


def gather(places: Places) -> Storage:
    """Write a byte to each folder and take it away again; of kernels the folder is made, as a run would do."""
    kernels = _kernel_cache()
    named = {"results": places.output_dir.resolve(), "temporary": _temporary(), "kernels": kernels.path}
    folders = tuple(_folder(name, path, places.free_bytes) for name, path in named.items() if path is not None)
    return Storage(folders, kernels)


def judge(facts: Storage) -> list[Finding]:
    """Findings on them."""
    found = [_room(folder) for folder in facts.folders if folder.name != "kernels"]
    if not any(folder.name == "temporary" for folder in facts.folders):
        found.append(Finding(AREA, "temporary", "broken", "no temporary folder can be written", _TMPDIR))
    cache = next(folder for folder in facts.folders if folder.name == "kernels")
    return [*found, _kernels(facts.kernels, cache)]


def _room(folder: Folder) -> Finding:
    mend = "choose another folder with -o" if folder.name == "results" else _TMPDIR
    if folder.error:
        return Finding(AREA, folder.name, "broken", f"{folder.path} cannot be written: {folder.error}", mend)
    if folder.free_bytes is None:
        return Finding(AREA, folder.name, "note", f"{folder.path}: the system does not tell how much room there is")
    what = f"{folder.path}: {_size(folder.free_bytes)} free"
    if folder.free_bytes < LEAST_BYTES:
        return Finding(AREA, folder.name, "broken", f"{what}, which is next to nothing", f"make room, or {mend}")
    if folder.name == "results" and folder.free_bytes < RESULTS_BYTES:
        minutes = folder.free_bytes / (CSV_BYTES * _FPS * 60)
        what += f", a CSV of about {minutes:.0f} minutes of video at {_FPS} fps"
        return Finding(AREA, folder.name, "note", what, f"make room, or {mend}")
    return Finding(AREA, folder.name, "fine", what)


def _kernels(cache: KernelCache, folder: Folder) -> Finding:
    lasting = "export NUMBA_CACHE_DIR=/a/lasting/folder"
    if folder.error:
        what = f"compiled kernels cannot be kept in {cache.path}: {folder.error}"
        return Finding(AREA, "kernels", "broken", what, lasting)
    if folder.free_bytes is not None and folder.free_bytes < LEAST_BYTES:
        what = f"{cache.path}: {_size(folder.free_bytes)} free, too little for compiled kernels"
        return Finding(AREA, "kernels", "broken", what, f"make room, or {lasting}")
    if cache.warning:
        return Finding(AREA, "kernels", "note", cache.warning, lasting)
    state = f"compiled for {' and '.join(cache.compiled)}" if cache.compiled else "not compiled yet"
    first = "" if "clnf" in cache.compiled else ": the first run does it, and takes about 20 s longer"
    return Finding(AREA, "kernels", "fine", f"{cache.path}: {state}{first}")


def _kernel_cache() -> KernelCache:
    warning = kernel_cache.place_kernel_cache()
    ready = tuple(model for model in ("clnf", "ceclm") if kernel_cache.kernels_are_ready(model))
    return KernelCache(Path(os.environ["NUMBA_CACHE_DIR"]), warning or "", ready)


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # its way to say that none of its candidates can be written
        return None


def _folder(name: str, path: Path, free_bytes: Callable[[Path], int]) -> Folder:
    there = next((place for place in (path, *path.parents) if place.exists()), path)  # a run makes what is missing
    if not there.is_dir():
        return Folder(name, path, None, f"{there} is no folder")
    try:
        free = free_bytes(there)
    except OSError:
        free = None
    return Folder(name, path, free, _write_error(there))


def _write_error(folder: Path) -> str:
    """Only writing tells: permission bits know nothing of read-only or full file systems."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
