"""OpenFace's model files: there, missing or damaged, by their SHA-256."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auflow.doctor.finding import Finding
from auflow.doctor.places import Places
from auflow.models import store
from auflow.models.manifest import ModelFile, load_ceclm_files, load_manifest

__all__ = ["Files", "Models", "gather", "judge"]

AREA = "models"

CECLM_PATIENCE_S = 2.5  # they are 432 MB
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Files:
    """Some files of the store, by their paths in it."""

    total: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    hashed: int  # whose SHA-256 was compared; of the others the size


@dataclass(frozen=True, slots=True)
class Models:
    """The store."""

    root: Path
    exists: bool
    chosen: str  # how it was chosen, for commands: "", " --dir FOLDER"
    needed: Files
    ceclm: Files


def gather(places: Places, clock: Callable[[], float] = time.monotonic) -> Models:
    """Compare the files with the manifest: all that a run needs by SHA-256, those of CE-CLM as far as time allows."""
    root = places.models_dir or store.default_root()
    needed = [file for file in load_manifest() if file.needed]
    ceclm = [extra.file for extra in load_ceclm_files()]
    return Models(
        root=root,
        exists=root.is_dir(),
        chosen=f" --dir {places.models_dir}" if places.models_dir else "",
        needed=_compare(root, needed, float("inf"), clock),
        ceclm=_compare(root, ceclm, clock() + CECLM_PATIENCE_S, clock),
    )


def judge(facts: Models) -> list[Finding]:
    """Findings on them."""
    return [_needed(facts), _ceclm(facts)]


def _needed(facts: Models) -> Finding:
    files, name = facts.needed, "OpenFace's"
    fetch = f"auflow models fetch --accept-license{facts.chosen}"
    if not facts.exists:
        what = f"the folder {facts.root} is not there ({_licence(facts)})"
        return Finding(AREA, name, "broken", what, fetch)
    if files.damaged:
        also = f", and {len(files.missing)} are missing" if files.missing else ""
        what = f"{len(files.damaged)} of {files.total} in {facts.root} are damaged{also}: {_some(files.damaged)}"
        return Finding(AREA, name, "broken", what, fetch)
    if files.missing:
        what = f"{len(files.missing)} of {files.total} are missing in {facts.root}: {_some(files.missing)}"
        return Finding(AREA, name, "broken", f"{what} ({_licence(facts)})", fetch)
    return Finding(AREA, name, "fine", f"all {files.total} in {facts.root}, each with its SHA-256")


def _ceclm(facts: Models) -> Finding:
    files, name = facts.ceclm, "CE-CLM's"
    fetch = f"auflow models fetch --with-ceclm --accept-license{facts.chosen}"
    here = files.total - len(files.missing)
    if files.damaged:
        what = f"{len(files.damaged)} of {here} that are here are damaged: {_some(files.damaged)}"
        return Finding(AREA, name, "broken", what, fetch)
    if files.missing:
        return Finding(AREA, name, "note", f"{here} of {files.total} are here; only `--model ceclm` needs them", fetch)
    by_size = files.total - files.hashed
    how = "each with its SHA-256"
    if by_size:
        how = f"{files.hashed} with their SHA-256, {by_size} by their size (`auflow models verify` hashes all)"
    return Finding(AREA, name, "fine", f"all {files.total} are here, {how}")


def _licence(facts: Models) -> str:
    return f"19 MB, for research; `auflow models fetch{facts.chosen}` shows the licence first"


def _some(paths: Sequence[str]) -> str:
    names = [path.rpartition("/")[2] for path in paths]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _compare(root: Path, files: Sequence[ModelFile], until_s: float, clock: Callable[[], float]) -> Files:
    missing, damaged, hashed = [], [], 0
    for file in files:
        full = clock() < until_s
        state = store.state_of(root, file, full=full)
        hashed += full and state != "missing"
        if state == "missing":
            missing.append(file.path)
        elif state == "damaged":
            damaged.append(file.path)
    return Files(len(files), tuple(missing), tuple(damaged), hashed)
