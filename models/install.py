"""How a model file gets into the store: hash checked, written beside its place, flushed, renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from auflow.errors import ModelError
from auflow.models.manifest import ModelFile, sha256_of
from auflow.models.store import path_of

try:
    import fcntl
except ImportError:  # Windows has no flock; there two fetches at once only waste work, since every file is checked
    fcntl = None  # type: ignore[assignment]

__all__ = ["SCRATCH", "HashMismatch", "adopt", "exclusive", "part_of"]

SCRATCH = ".fetch"  # below the store's root: same disk as the files, removed after each run


class HashMismatch(ModelError):
    """A file that came whole but with other bytes than the manifest's."""


def part_of(root: Path, file: ModelFile) -> Path:
    """Where an unfinished download of `file` lies; its folder is created."""
    target = path_of(root, file)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(target.name + ".part")


def adopt(root: Path, file: ModelFile, part: Path) -> None:
    """Check the finished `part` and rename it to its place; a wrong one is deleted.

    Raises
    ------
    HashMismatch
    """
    found = sha256_of(part)
    if found != file.sha256:
        size = part.stat().st_size
        part.unlink()
        raise HashMismatch(
            f"{file.path}: expected SHA-256 {file.sha256} ({file.size} bytes), got {found} ({size} bytes)"
        )
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    target = path_of(root, file)
    part.replace(target)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where folders can be opened (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[Path]:
    """Hold the store at `root` for one fetch; gives an empty scratch folder, removed at the end.

    Raises
    ------
    ModelError
        where another fetch holds it, or the folder can't be written
    """
    scratch = root / SCRATCH
    lock = root / ".fetch.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w", encoding="ascii")
    except OSError as error:
        raise ModelError(
            f"{root}: cannot be written: {error.strerror}; choose another folder with --dir or OPENFACE_MODELS_DIR"
        ) from error
    with stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ModelError(f"{root}: another `auflow models fetch` is at work there; wait for it") from error
        shutil.rmtree(scratch, ignore_errors=True)  # left by a fetch that was killed
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
