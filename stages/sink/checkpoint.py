"""Where a stream that was killed goes on: the states of its stages at one frame, and what its files had then."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from auflow import __version__
from auflow.errors import OutputError
from auflow.models.manifest import load_ceclm_files, load_manifest
from auflow.models.store import path_of
from auflow.stages.decode import IMAGE_SUFFIXES
from auflow.stages.settings import StageSettings
from auflow.stages.sink.faces import face_number
from auflow.stages.sink.paths import work_path
from auflow.stages.sink.workspace import WorkFolder
from auflow.stages.state import StateError, as_bytes, field, pack_state, unpack_state

__all__ = [
    "CHECKPOINT",
    "Checkpoint",
    "CheckpointError",
    "Identity",
    "SinkState",
    "identity_of",
    "read_checkpoint",
    "write_checkpoint",
]

CHECKPOINT = "checkpoint"
_FORM = 1  # version of the file
_SINK_FORM = 2
_STATE = "state/"  # before the name of a stage
_NONE = -1


class CheckpointError(OutputError):
    """A checkpoint could not be written. The one before it stays good, and the stream can go on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be the same for a stream to be gone on with."""

    version: str  # of auflow
    settings: str  # as JSON
    source: str  # hash of place, size and time of the input; of a live source, of its address
    models: str  # hash of the manifest and of what the store has of it


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stream after so many frames."""

    frames: int  # that the decoder gave
    states: Mapping[str, bytes]  # of the stages, by name
    sink: bytes  # for `ResultSink`
    extra: bytes  # the caller's own


@dataclass(frozen=True, slots=True)
class SinkState:
    """What the files of a stream had."""

    rows: int
    row_bytes: int  # of all rows together
    hog_bytes: int | None  # None: there is no such file
    faces: int | None
    last_face: int = _NONE
    frames: int = 0  # whose faces have rows

    def pack(self) -> bytes:
        """As bytes."""
        values = {name: _NONE if value is None else value for name, value in asdict(self).items()}
        return pack_state("sink", _SINK_FORM, values)

    @classmethod
    def unpack(cls, blob: bytes) -> SinkState:
        """The state behind `blob`.

        Raises
        ------
        StateError
        """
        arrays = unpack_state(blob, "sink", _SINK_FORM)
        numbers = {name: int(field(arrays, name, np.int64, ())) for name in cls.__slots__}
        last_face, frames = numbers.pop("last_face"), numbers.pop("frames")
        rows, row_bytes, hog_bytes, faces = (None if n == _NONE else n for n in numbers.values())
        return cls(rows or 0, row_bytes or 0, hog_bytes, faces, last_face, frames)

    def lost_in(self, work: Path) -> str | None:
        """What of it is not in the work folder any more."""
        if self.row_bytes and _size(work / "rows") < self.row_bytes:
            return f"{work / 'rows'} has not the {self.rows} rows it should have"
        if self.hog_bytes is not None and _size(work / "hog") < self.hog_bytes:
            return f"{work / 'hog'} has not the {self.hog_bytes} bytes it should have"
        if self.faces is not None and _faces_to(work / "aligned", self.last_face) != self.faces:
            return f"{work / 'aligned'} has not the {self.faces} faces it should have"
        return None


def identity_of(source: str | Path, settings: StageSettings, models_root: Path) -> Identity:
    """What a stream of this source is known by: a video, an image, a folder of images, or the address of a live one.

    Raises
    ------
    OSError
        The source, or a model file, cannot be looked at.
    """
    files = [*load_manifest(), *(extra.file for extra in load_ceclm_files() if settings.model == "ceclm")]
    there: list[tuple[object, ...]] = [(file.path, file.sha256, _size(path_of(models_root, file))) for file in files]
    if settings.identity_model:
        found = Path(settings.identity_model).stat()
        there.append((settings.identity_model, found.st_size, found.st_mtime_ns))
    return Identity(
        version=__version__,
        settings=json.dumps(asdict(settings), sort_keys=True),
        source=_hash(_described(source)),
        models=_hash(there),
    )


def write_checkpoint(work: WorkFolder, checkpoint: Checkpoint, identity: Identity) -> None:
    """Put it in the place of the one before, all at once.

    Raises
    ------
    OSError
        The one before is still there.
    """
    arrays: dict[str, bytes | int] = {_STATE + name: blob for name, blob in checkpoint.states.items()}
    arrays["identity"] = json.dumps(asdict(identity)).encode()
    arrays["frames"] = checkpoint.frames
    blob = pack_state(CHECKPOINT, _FORM, {**arrays, "sink": checkpoint.sink, "extra": checkpoint.extra})
    new = work / f"{CHECKPOINT}.new"
    try:
        with new.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, work / CHECKPOINT)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def read_checkpoint(output: Path, identity: Identity) -> Checkpoint | str:
    """The last checkpoint of the CSV `output`, or why there is none to go on from."""
    work = work_path(output)
    try:
        blob = (work / CHECKPOINT).read_bytes()
    except FileNotFoundError:
        return "there is no checkpoint"
    except OSError as error:
        return f"{work / CHECKPOINT}: cannot be read: {error.strerror}"
    try:
        arrays = unpack_state(blob, CHECKPOINT, _FORM)
        differs = _difference(as_bytes(arrays, "identity"), identity)
        if differs is not None:
            return f"{work / CHECKPOINT} is of {differs}"
        sink = as_bytes(arrays, "sink")
        lost = SinkState.unpack(sink).lost_in(work)
        if lost is not None:
            return lost
        states = {name.removeprefix(_STATE): as_bytes(arrays, name) for name in arrays if name.startswith(_STATE)}
        return Checkpoint(int(field(arrays, "frames", np.int64, ())), states, sink, as_bytes(arrays, "extra"))
    except StateError as error:
        return f"{work / CHECKPOINT}: {error}"


def _difference(packed: bytes, identity: Identity) -> str | None:
    try:
        found = json.loads(packed)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return "a run that nothing is known of"
    for name, said in (
        ("version", f"auflow {found.get('version')}, this is {identity.version}"),
        ("settings", "a run with other settings"),
        ("source", "another input, or the input has changed since"),
        ("models", "a run with other model files"),
    ):
        if found.get(name) != getattr(identity, name):
            return said
    return None


def _described(source: str | Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files of a source; of one that is no file only its address."""
    if not os.path.exists(source):
        return [(str(source), _NONE, _NONE)]
    path = Path(source).resolve()
    if path.is_dir():
        # Only the images: that something else is written beside them does not matter.
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    else:
        files = [path]
    found = [(str(file), file.stat()) for file in files]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def _hash(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return _NONE


def _faces_to(folder: Path, last: int) -> int:
    """Faces up to a number; those without content are what a power failure leaves, for they are not synchronised."""
    try:
        return sum(face_number(face.name) <= last and _size(face) > 0 for face in folder.iterdir())
    except (OSError, ValueError):
        return _NONE
