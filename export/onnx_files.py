"""Writes graphs as .onnx files, each after its check, with what the check found in the file's metadata."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from auflow import __version__
from auflow.backends.ort import OrtBackend
from auflow.errors import ModelError, OutputError
from auflow.export.checks import Deviation
from auflow.export.graphs import Export
from auflow.models.license import LICENSE_URL
from auflow.models.onnx.graph import IR_VERSION, OPSET, OnnxModel
from auflow.whole_file import write_whole

__all__ = ["INDEX", "Written", "write_onnx"]

INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    name: str
    file: str
    about: str
    bytes: int
    sha256: str  # of the file
    graph_sha256: str  # of the graph and its weights, without the metadata
    inputs: dict[str, dict[str, Any]]  # shape, dtype, and what the values lie between
    outputs: dict[str, dict[str, Any]]  # shape and dtype
    largest_error: float
    error_of: str
    decision_flips: float | None
    seconds: float


def write_onnx(
    folder: Path, exports: Iterable[Export], told: Callable[[Written], None] = lambda _: None
) -> tuple[Written, ...]:
    """Build, check and write each graph; then an index of all of them. A file appears under its name when it is whole.

    Parameters
    ----------
    folder : exists
    told : hears of each file that is there

    Raises
    ------
    ModelError
        A graph is farther from the exact path than it may be; it is not written.
    OutputError
        The folder cannot be written to.
    """
    backend = OrtBackend("ort-cpu")
    written = []
    for export in exports:
        began_s = time.monotonic()
        model = export.build()
        found = export.check(backend.load(model))
        if not found.largest <= found.limit:  # not a number is no agreement either
            raise ModelError(
                f"{export.name}: off by {found.largest:.3g} at most ({found.what}), more than {found.limit:.3g}: not "
                "written; `auflow models verify` tells whether the model files are whole"
            )
        model = model.told(
            about=export.about,
            auflow_version=__version__,
            error_max_abs=f"{found.largest:.4g}",
            error_of=found.what,
            weights_license=LICENSE_URL,
            **({} if found.flips is None else {"error_decision_flips": f"{found.flips:.4g}"}),
        )
        data = model.data
        _write(folder / f"{export.name}.onnx", data)
        written.append(_entry(export, model, data, found, time.monotonic() - began_s))
        told(written[-1])
    graphs = [*_others(folder, {each.name for each in written}), *map(asdict, written)]
    index = {"auflow": __version__, "ir_version": IR_VERSION, "opset": OPSET, "graphs": graphs}
    _write(folder / INDEX, (json.dumps(index, indent=1) + "\n").encode())
    return tuple(written)


def _others(folder: Path, written: Collection[str]) -> list[dict[str, Any]]:
    """What the index of an earlier export by this version says of files that are there and were not written now."""
    try:
        index = json.loads((folder / INDEX).read_text())
        if index["auflow"] != __version__:
            return []
        return [g for g in index["graphs"] if g["name"] not in written and (folder / g["file"]).is_file()]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is somebody else's
        return []


def _entry(export: Export, model: OnnxModel, data: bytes, found: Deviation, seconds: float) -> Written:
    return Written(
        name=export.name,
        file=f"{export.name}.onnx",
        about=export.about,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        graph_sha256=model.sha256,
        inputs={v.name: {"shape": v.shape, "dtype": v.dtype, "span": v.span} for v in model.inputs},
        outputs={v.name: {"shape": v.shape, "dtype": v.dtype} for v in model.outputs},
        largest_error=found.largest,
        error_of=found.what,
        decision_flips=found.flips,
        seconds=round(seconds, 2),
    )


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}; choose another folder with -o") from error
