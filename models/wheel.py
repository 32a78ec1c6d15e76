"""The model files out of the public wheel that carries the same bytes, fetched by pip through its own index."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

from auflow.errors import ModelError
from auflow.models.install import adopt, part_of
from auflow.models.manifest import ModelFile
from auflow.models.progress import Progress

__all__ = ["WHEEL", "NoWheel", "pip_download", "unpack"]

WHEEL = "MMSA-FET==0.1.8"
_POLL_S = 0.25
_TAIL_LINES = 6


class NoWheel(ModelError):
    """pip could not bring the wheel, or it is no archive."""


def pip_download(scratch: Path, progress: Progress) -> Path:
    """Let pip download the wheel into `scratch` (on disk already: nothing is installed or run from it).

    Raises
    ------
    NoWheel
    """
    target, temporary, log = scratch / "wheel", scratch / "tmp", scratch / "pip.log"
    target.mkdir()
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=2", "--dest", str(target)]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [*command, WHEEL], stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while child.poll() is None:
                progress.advanced(f"{WHEEL} by pip", _bytes_below(scratch), None)
                time.sleep(_POLL_S)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    found = sorted(target.glob("*.whl"))
    if child.returncode or not found:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        said = "\n  ".join(tail) or "(nothing)"
        raise NoWheel(f"`pip download {WHEEL}` ended with {child.returncode}; its last lines:\n  {said}")
    return found[0]


def unpack(root: Path, wheel: Path, wanted: list[ModelFile], progress: Progress) -> list[ModelFile]:
    """Take the wanted files out of the wheel by their SHA-256, wherever they stand in it; gives those not found.

    Raises
    ------
    NoWheel
        where the file is no readable archive
    """
    left: dict[str, list[ModelFile]] = {}
    for file in wanted:
        left.setdefault(file.sha256, []).append(file)
    sizes = {file.size for file in wanted}
    total, done = sum(file.size for file in wanted), 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if member.file_size not in sizes:
                    continue
                data = archive.read(member)
                for file in left.pop(hashlib.sha256(data).hexdigest(), []):
                    part = part_of(root, file)
                    part.write_bytes(data)
                    adopt(root, file, part)
                    done += file.size
                    progress.advanced(file.path, done, total)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise NoWheel(f"{wheel.name}: expected a whole wheel: {error}") from error
    return [file for files in left.values() for file in files]


def _bytes_below(folder: Path) -> int:
    """Bytes of all files under a folder that another process is writing."""
    count = 0
    for parent, _, names in os.walk(folder):  # passes over folders that pip has removed meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                count += os.stat(os.path.join(parent, name)).st_size
    return count
