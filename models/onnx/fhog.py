"""FHOG as an ONNX graph: for devices on which aligned faces lie in their own memory.

The same as the kernel of `auflow.stages.au.fhog`, in operations on whole arrays. Gradients, their lengths and their
places in the table are integers below 2^24, which single precision has exactly; the sums of votes are two products
with the shares of the cells. Half precision is too small for it: squared gradients reach 130,050.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auflow.models.fhog import FHOG_CELL_PX, FHOG_FACE_PX, KEYS, LARGEST_STEP, cell_shares, handicap, orientation_table
from auflow.models.onnx.graph import Graph, OnnxModel

__all__ = ["FACES", "FEATURES", "build_fhog_graph"]

FACES, FEATURES = "faces", "descriptors"

_BINS = 18
_CELLS = FHOG_FACE_PX // FHOG_CELL_PX
_INNER = _CELLS - 2  # the outermost ring of cells lacks neighbours to normalise by
_SIZE = _INNER * _INNER * (_BINS + _BINS // 2 + 4)
_EPSILON, _CLIP, _TEXTURE = 1e-4, 0.2, 0.2357


def build_fhog_graph() -> OnnxModel:
    """The descriptor of aligned faces.

    Returns
    -------
    OnnxModel
        `faces` (n, 112, 112, 3) uint8, blue, green, red -> `descriptors` (n, 4464) float32, the numbers of `fhog()`
        row by row.

    References
    ----------
    As `auflow.stages.au.fhog.fhog`.
    """
    fhog = _Fhog()
    faces = fhog.graph.input(FACES, ["n", FHOG_FACE_PX, FHOG_FACE_PX, 3], "uint8", span=(0, 255))
    keys, lengths = fhog.gradients(fhog.cast(faces))
    cells = fhog.histograms(keys, lengths)
    fhog.graph.output(FEATURES, fhog.normalised(cells), ["n", _SIZE])
    return fhog.graph.build()


class _Fhog:
    """The graph in the making; values are named by what they hold, n faces each."""

    def __init__(self) -> None:
        self.graph = Graph("FHOG")

    def node(self, operator: str, *inputs: str | float, **attributes: int | Sequence[int]) -> str:
        """An operator; numbers among its inputs become constants."""
        names = [each if isinstance(each, str) else self.graph.constant(np.array(each, np.float32)) for each in inputs]
        return self.graph.node(operator, names, **attributes)

    def cast(self, values: str) -> str:
        """As float32."""
        return self.node("Cast", values, to=1)

    def gradients(self, faces: str) -> tuple[str, str]:
        """Of the strongest channel at each inner pixel, (n, 1, 110, 110): its place in the table, its length."""
        planes = self.node("Transpose", faces, perm=[0, 3, 1, 2])
        end = FHOG_FACE_PX
        right, left = self.part(planes, (1, end - 1), (2, end)), self.part(planes, (1, end - 1), (0, end - 2))
        below, above = self.part(planes, (2, end), (1, end - 1)), self.part(planes, (0, end - 2), (1, end - 1))
        dx, dy = self.node("Sub", right, left), self.node("Sub", below, above)
        squares = self.node("Add", self.node("Mul", dx, dx), self.node("Mul", dy, dy))
        middle = float(LARGEST_STEP * KEYS + LARGEST_STEP)
        places = self.node("Add", self.node("Add", self.node("Mul", dy, float(KEYS)), dx), middle)
        more = self.graph.constant(handicap()[1:-1].astype(np.float32))
        best, key = self.channel(squares, 0), self.channel(places, 0)
        for later in (1, 2):
            square = self.channel(squares, later)
            key = self.node("Where", self.node("Greater", self.node("Add", square, more), best),
                            self.channel(places, later), key)  # fmt: skip
            best = self.node("Max", square, best)
        return key, self.node("Sqrt", best)

    def histograms(self, keys: str, lengths: str) -> str:
        """The votes of all pixels in each cell: (n, 18, 14, 14)."""
        table = self.graph.constant(orientation_table().reshape(-1).astype(np.float32))
        bins = self.graph.constant(np.arange(_BINS, dtype=np.float32)[:, None, None])
        found = self.node("Gather", table, self.node("Cast", keys, to=6), axis=0)
        votes = self.node("Mul", self.cast(self.node("Equal", found, bins)), lengths)  # Where takes longer
        shares = cell_shares()[:, 1:-1]
        rows = self.node("MatMul", self.graph.constant(shares), votes)
        return self.node("MatMul", rows, self.graph.constant(np.ascontiguousarray(shares.T)))

    def normalised(self, cells: str) -> str:
        """The inner cells, normalised by their four neighbourhoods and clipped: (n, 4464)."""
        half = _BINS // 2
        both = self.node("Add", self.bins(cells, 0, half), self.bins(cells, half, _BINS))
        energy = self.node("ReduceSum", self.node("Mul", both, both), self.graph.constant(np.array([1])), keepdims=1)
        scales = self.scales(energy)
        inner = self.part(self.node("Concat", cells, both, axis=1), (1, 1 + _INNER), (1, 1 + _INNER))
        clipped = [self.node("Min", self.node("Mul", inner, scale), _CLIP) for scale in scales]
        total = clipped[0]
        for part in clipped[1:]:
            total = self.node("Add", total, part)
        axis = self.graph.constant(np.array([1]))
        textures = [self.node("ReduceSum", self.bins(part, 0, _BINS), axis, keepdims=1) for part in clipped]
        texture = self.node("Mul", self.node("Concat", *textures, axis=1), _TEXTURE)
        features = self.node("Concat", self.node("Mul", total, 0.5), texture, axis=1)
        return self.node("Flatten", self.node("Transpose", features, perm=[0, 2, 3, 1]), axis=1)

    def scales(self, energy: str) -> list[str]:
        """One over the length of each inner cell's neighbourhoods: below right, above right, below left, above left."""
        first, last = (0, _CELLS - 1), (1, _CELLS)
        block = self.part(energy, first, first)
        for rows, columns in ((first, last), (last, first), (last, last)):
            block = self.node("Add", block, self.part(energy, rows, columns))
        scale = self.node("Reciprocal", self.node("Sqrt", self.node("Add", block, _EPSILON)))
        first, last = (0, _INNER), (1, 1 + _INNER)
        return [self.part(scale, *at) for at in ((last, last), (first, last), (last, first), (first, first))]

    def part(self, planes: str, rows: tuple[int, int], columns: tuple[int, int]) -> str:
        """Some rows and columns, each from the first up to before the last."""
        return self._slice(planes, (rows[0], columns[0]), (rows[1], columns[1]), (2, 3))

    def channel(self, planes: str, number: int) -> str:
        """One of blue, green, red."""
        return self.bins(planes, number, number + 1)

    def bins(self, planes: str, first: int, last: int) -> str:
        """Some channels."""
        return self._slice(planes, (first,), (last,), (1,))

    def _slice(self, values: str, first: Sequence[int], last: Sequence[int], axes: Sequence[int]) -> str:
        return self.node("Slice", values, *(self.graph.constant(np.array(each)) for each in (first, last, axes)))
