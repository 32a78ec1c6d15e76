"""The model files out of the public wheel that carries the same bytes, fetched by pip through its own index."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
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
    with _opened(wheel) as archive:
        for member in archive.infolist():
            if member.file_size not in sizes:
                continue
            data = _content(wheel, archive, member)
            for file in left.pop(hashlib.sha256(data).hexdigest(), []):
                part = part_of(root, file)
                part.write_bytes(data)
                adopt(root, file, part)
                done += file.size
                progress.advanced(file.path, done, total)
    return [file for files in left.values() for file in files]


# What zipfile and zlib raise on damaged archives: OSError for places before the start of the file, RuntimeError for a
# flag of encryption or a version that it does not know, ValueError for names and sizes.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError, OverflowError)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those of wheels; another may ask for GBs of memory to unpack


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except _DAMAGE as error:
        raise _no_wheel(wheel, error) from error


def _content(wheel: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes. A bounded read: without one, a few kB may be unpacked to 2 GB before the size is looked at."""
    if member.compress_type not in _METHODS:
        raise _no_wheel(wheel, f"{member.filename!r} is packed in a way that wheels are not ({member.compress_type})")
    try:
        with archive.open(member) as stream:
            return stream.read(member.file_size)
    except _DAMAGE as error:
        raise _no_wheel(wheel, error) from error


def _no_wheel(wheel: Path, why: object) -> NoWheel:
    return NoWheel(f"{wheel.name}: expected a whole wheel: {why}; type the same command again to download it anew")


def _bytes_below(folder: Path) -> int:
    """Bytes of all files under a folder that another process is writing."""
    count = 0
    for parent, _, names in os.walk(folder):  # passes over folders that pip has removed meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                count += os.stat(os.path.join(parent, name)).st_size
    return count
