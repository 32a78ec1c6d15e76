"""The linear heads that turn a face's descriptor into Action Units, and OpenFace's lists that choose them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auflow.models.arrays import ArrayReader
from auflow.models.menu import menu_target
from auflow.models.store import originals
from auflow.models.text import damaged, read_text

__all__ = [
    "FEATURES",
    "PREDICTORS",
    "AuHead",
    "AuHeads",
    "HeadSet",
    "load_au_heads",
    "pack_heads",
    "read_au_head",
    "read_au_list",
]

F64: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["intensity", "presence"]

PREDICTORS: Final = "lib/local/FaceAnalyser/AU_predictors"
FEATURES: Final = 4702  # 4464 of the FHOG, then 238 of the geometry

# The file's type number: kind of the head, and whether it takes off the person's running median.
_TYPES: Final[dict[int, tuple[Kind, bool]]] = {
    0: ("intensity", False),
    1: ("intensity", True),
    4: ("presence", False),
    5: ("presence", True),
}


@dataclass(frozen=True, slots=True)
class AuHead:
    """One support vector machine: `(x - means [- median]) @ weights + bias`."""

    name: str  # "AU01"
    kind: Kind
    dynamic: bool  # takes off the running median too
    cutoff: float | None  # dynamic intensities: share of a video's frames that the offline pass holds to be neutral
    means: F64  # (4702,)
    weights: F64  # (4702,)
    bias: float
    positive: float  # presences: the value above zero, and ...
    negative: float  # ... the value otherwise


@dataclass(frozen=True, slots=True)
class HeadSet:
    """All k heads of one kind by name, for one matrix product: `weights @ x + offsets` before the median."""

    names: tuple[str, ...]
    weights: F64  # (k, 4702), C-contiguous
    offsets: F64  # (k,) bias - weights @ means
    dynamic: NDArray[np.bool_]  # (k,)
    cutoffs: F64  # (k,) NaN where the head has none
    positive: F64  # (k,) zero for intensities
    negative: F64  # (k,)


@dataclass(frozen=True, slots=True)
class AuHeads:
    """The heads of one list file."""

    intensities: HeadSet
    presences: HeadSet


def read_au_head(path: Path, name: str) -> AuHead:
    """One AU `.dat` file (types 0, 1, 4 and 5), strict about sizes and the end of the file.

    Raises
    ------
    ModelError
    """
    reader = ArrayReader(path)
    number = reader.i32("type of the head")
    if number not in _TYPES:
        raise reader.fail(f"type of the head: expected one of {sorted(_TYPES)}, got {number}")
    kind, dynamic = _TYPES[number]
    cutoff = None
    if kind == "intensity" and dynamic:
        cutoff = reader.f64("the cut-off")
        if not 0.0 <= cutoff < 1.0:
            raise reader.fail(f"the cut-off: expected 0 to 1, got {cutoff}")
    means = reader.mat_f64("means", shape=(1, FEATURES)).reshape(-1)
    weights = reader.mat_f64("weights", shape=(FEATURES, 1)).reshape(-1)
    bias = reader.f64("bias")
    positive = reader.f64("positive label") if kind == "presence" else 0.0
    negative = reader.f64("negative label") if kind == "presence" else 0.0
    if kind == "presence" and {positive, negative} != {0.0, 1.0}:
        raise reader.fail(f"labels: expected 0 and 1, got {positive} and {negative}")
    reader.end()
    return AuHead(name, kind, dynamic, cutoff, means, weights, bias, positive, negative)


def read_au_list(path: Path) -> list[AuHead]:
    """The heads that a list file names, one `path name` a line, paths relative to the list.

    Raises
    ------
    ModelError
    """
    heads = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise damaged(path, f"line {number}: expected a file and a name, got {line!r}")
        heads.append(read_au_head(menu_target(path, f"line {number}", words), words[1]))
    return heads


def pack_heads(path: Path, heads: list[AuHead], kind: Kind) -> HeadSet:
    """The heads of one kind, sorted by name; `path` is the list that they come from.

    Raises
    ------
    ModelError
        there are none, two of one name, or their numbers overflow
    """
    chosen = sorted((head for head in heads if head.kind == kind), key=lambda head: head.name)
    names = tuple(head.name for head in chosen)
    if not names or len(set(names)) != len(names):
        raise damaged(path, f"expected one {kind} head for each AU, got {names}")
    weights = np.ascontiguousarray([head.weights for head in chosen])
    with np.errstate(over="ignore", invalid="ignore"):  # looked for right below
        offsets = np.array([head.bias - head.means @ head.weights for head in chosen])
    if not np.isfinite(offsets).all():
        wrong = names[int(np.flatnonzero(~np.isfinite(offsets))[0])]
        raise damaged(path, f"{kind} head of {wrong}: expected weights and means of a finite product, got an overflow")
    packed = HeadSet(
        names,
        weights,
        offsets,
        np.array([head.dynamic for head in chosen]),
        np.array([np.nan if head.cutoff is None else head.cutoff for head in chosen]),
        np.array([head.positive for head in chosen]),
        np.array([head.negative for head in chosen]),
    )
    for values in (weights, offsets, packed.dynamic, packed.cutoffs, packed.positive, packed.negative):
        values.flags.writeable = False
    return packed


def load_au_heads(root: Path, *, static: bool = False) -> AuHeads:
    """The heads of OpenFace's choice for videos, or (`static`) for single pictures.

    Parameters
    ----------
    root : the model store

    Raises
    ------
    ModelError
    """
    path = originals(root) / PREDICTORS / ("AU_all_static.txt" if static else "AU_all_best.txt")
    heads = read_au_list(path)
    return AuHeads(pack_heads(path, heads, "intensity"), pack_heads(path, heads, "presence"))
