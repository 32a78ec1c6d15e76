"""TensorRT's engines on disk: built once for a GPU, a driver, a version and a model, by one process of all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from auflow.whole_file import write_whole

__all__ = ["Engine", "EngineCache", "EngineKey", "default_folder"]

_FORM = 1  # version of the files


@dataclass(frozen=True, slots=True)
class EngineKey:
    """All that an engine depends on: with another of these it is another one."""

    gpu: str  # name and compute capability
    driver: str
    tensorrt: str
    model: str  # SHA-256 of the graph and its weights
    shapes: Mapping[str, tuple[int, int, int]]  # least, best and most of each side that varies
    fp16: bool

    @property
    def digest(self) -> str:
        """A name for the file."""
        return hashlib.sha256(json.dumps([_FORM, asdict(self)], sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Engine:
    """A serialised engine, and how far it is off."""

    data: bytes
    deviation: float | None  # of FP16 from FP32, relative to the largest value; None: not compared


class EngineCache:
    """A folder of engines.

    Parameters
    ----------
    folder : made when it is needed
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, key: EngineKey, build: Callable[[], Engine]) -> Engine:
        """The engine of this key: from the folder, or built and kept. Who comes while another one builds, waits.

        A file that is cut off or damaged is built anew. Where the folder cannot be written to, the engine is built and
        not kept.
        """
        path = self.folder / f"{name}-{key.digest}.engine"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return _read(path) or build()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _read(path)
            if found is None:
                found = build()
                _write(path, found, key)
            return found
        finally:
            os.close(lock)

    def drop(self, name: str, key: EngineKey) -> None:
        """Forget an engine that TensorRT does not take."""
        (self.folder / f"{name}-{key.digest}.engine").unlink(missing_ok=True)


def default_folder() -> Path:
    """Below the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(user_cache_path("auflow", appauthor=False)) / "engines"


def _read(path: Path) -> Engine | None:
    """The file's engine; None where there is none, or not a whole one."""
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        told = json.loads(head)
        if hashlib.sha256(data).hexdigest() != told["sha256"]:
            return None
        return Engine(data, told["deviation"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, engine: Engine, key: EngineKey) -> None:
    told = {"sha256": hashlib.sha256(engine.data).hexdigest(), "deviation": engine.deviation, "key": asdict(key)}
    with suppress(OSError):  # a full disk costs the next start the time to build it, and nothing else
        write_whole(path, json.dumps(told).encode() + b"\n" + engine.data)
