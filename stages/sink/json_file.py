"""The table as JSON lines: a header, then an object per row, grouped and named as the live bus does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, TypeAlias

import numpy as np

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES
from auflow.stages.sink.columns import EYE_LANDMARKS, LANDMARKS, SHAPE_PARAMETERS, Layout
from auflow.stages.sink.meanings import MEANINGS
from auflow.stages.sink.provenance import Provenance
from auflow.stages.sink.spool import Block

__all__ = ["write_json_lines"]

_ROWS = 256  # a few MB of text
_PLAIN_BELOW = 1e8  # larger ones with nine digits would end with the point, which is no JSON
_SINGLE = "%#.9g"  # of single precision
_Tree: TypeAlias = "str | Sequence[_Tree] | Mapping[str, _Tree]"  # the leaves are columns


def _points(stem: str, axes: str, numbers: range) -> list[_Tree]:
    return [[f"{stem}{axis}_{number}" for axis in axes] for number in numbers]


_AXES = [f"{kind}{axis}" for kind in "TR" for axis in "xyz"]
_ROW: dict[str, _Tree] = {
    "face": "face_id",
    "frame": "frame",
    "time_s": "timestamp",
    "success": "success",
    "confidence": "confidence",
    "au_r": {au: f"{au}_r" for au in AU_INTENSITIES},
    "au_c": {au: f"{au}_c" for au in AU_PRESENCES},
    "landmarks": _points("", "xy", LANDMARKS),
    "pose": {axis.lower(): f"pose_{axis}" for axis in _AXES},
    "gaze": {
        "left": [f"gaze_0_{axis}" for axis in "xyz"],
        "right": [f"gaze_1_{axis}" for axis in "xyz"],
        "angle_x": "gaze_angle_x",
        "angle_y": "gaze_angle_y",
    },
    # From here on the live bus has nothing.
    "landmarks_mm": _points("", "XYZ", LANDMARKS),
    "eyes": _points("eye_lmk_", "xy", EYE_LANDMARKS),
    "eyes_mm": _points("eye_lmk_", "XYZ", EYE_LANDMARKS),
    "shape": {
        **{name: f"p_{name}" for name in ("scale", "rx", "ry", "rz", "tx", "ty")},
        "p": [f"p_{number}" for number in SHAPE_PARAMETERS],
    },
}


def write_json_lines(
    file: IO[bytes], layout: Layout, provenance: Provenance, blocks: Callable[[int], Iterator[Block]]
) -> None:
    """Write the header and a line per row.

    Parameters
    ----------
    file : the text goes there
    layout : the columns
    provenance : for the header
    blocks : all rows, in blocks of so many
    """
    row = _row_of(layout)
    header = {"type": "header", **provenance, "units": {key: _units(tree) for key, tree in row.items()}}
    file.write(json.dumps(header, allow_nan=False, separators=(",", ":")).encode() + b"\n")
    text = _RowText(layout, row)
    for block in blocks(_ROWS):
        file.write("".join(text.lines(block)).encode())


def _row_of(layout: Layout) -> dict[str, _Tree]:
    """The part of a row that this layout has the columns for."""
    names = set(layout.names())
    row = {**_ROW, "face": "face" if "face" in names else "face_id"}
    return {key: tree for key, tree in row.items() if set(_leaves(tree)) <= names}


def _leaves(tree: _Tree) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        for branch in tree.values() if isinstance(tree, Mapping) else tree:
            yield from _leaves(branch)


def _units(tree: _Tree) -> Any:
    """The unit of all that is in it, or that of each part where they differ."""
    units = {MEANINGS[name].unit for name in _leaves(tree)}
    if len(units) == 1:
        return units.pop()
    assert isinstance(tree, Mapping)
    return {key: _units(branch) for key, branch in tree.items()}


class _RowText:
    """The lines of rows, by one format for all numbers of a row.

    What was computed in single precision has nine digits, which tell any such number from its neighbours; the others
    have as many as it takes. All have a point: readers take a column for one of integers whose first rows have none.
    """

    def __init__(self, layout: Layout, row: dict[str, _Tree]) -> None:
        self._groups = layout.groups
        place = {name: number for number, name in enumerate(layout.names())}
        kinds = {name: _conversion(group.key, group.dtype) for group in layout.groups for name in group.names}
        leaves = list(_leaves(row))
        self._order = [place[name] for name in leaves]
        self._conversions = [kinds[name] for name in leaves]
        self._success = leaves.index("success") if "success" in leaves else None
        self._frame = _format({"type": _Text('"result"'), **row}) + "\n"
        self._format = self._frame % tuple(self._conversions)

    def lines(self, block: Block) -> Iterator[str]:
        """The line of each row, with its line end."""
        numbers = np.concatenate([block[group.key].astype(np.float64) for group in self._groups], axis=1)
        ordered = numbers[:, self._order]
        plain = (np.abs(ordered) < _PLAIN_BELOW).all(axis=1)  # NaN is not
        for row, is_plain in zip(ordered.tolist(), plain.tolist(), strict=True):
            if self._success is not None:
                row[self._success] = "true" if row[self._success] else "false"
            yield self._format % tuple(row) if is_plain else self._frame % tuple(self._cells(row))

    def _cells(self, row: list[Any]) -> Iterator[str]:
        for conversion, value in zip(self._conversions, row, strict=True):
            if isinstance(value, str):
                yield value
            elif not math.isfinite(value):
                yield "null"
            else:
                yield repr(value) if conversion == _SINGLE and abs(value) >= _PLAIN_BELOW else conversion % value


class _Text(str):
    """A leaf that is no column: JSON as it is."""

    __slots__ = ()


def _conversion(key: str, dtype: Any) -> str:
    if key == "success":
        return "%s"
    if key == "presences" or np.issubdtype(dtype, np.integer):
        return "%d"
    return _SINGLE if np.dtype(dtype) == np.float32 else "%r"


def _format(tree: _Tree) -> str:
    """JSON with a %s for each column."""
    if isinstance(tree, _Text):
        return tree
    if isinstance(tree, str):
        return "%s"
    if isinstance(tree, Mapping):
        return "{" + ",".join(f'"{key}":{_format(branch)}' for key, branch in tree.items()) + "}"
    return "[" + ",".join(_format(branch) for branch in tree) + "]"
