"""Which face of ours is which of the reference: by where they are, for files that number faces differently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from auflow.errors import InputError
from auflow.validation.table import Key, Table

__all__ = ["LEAST_OVERLAP", "rows_by_overlap"]

Values = NDArray[np.float64]

# Of intersection over union. Less is no longer the same face.
LEAST_OVERLAP = 0.5


def rows_by_overlap(reference: Table, ours: Table, keys: Sequence[Key]) -> NDArray[np.intp]:
    """The row of ours for each of the reference's `keys`, -1 where there is none.

    Within a frame the two faces whose landmarks' bounding boxes overlap most are a pair, then of those that are left
    the next two, down to `LEAST_OVERLAP`; of equal overlaps the earlier rows. Greedy, so the sum over all pairs need
    not be the largest possible; it is wherever each face overlaps at most one other by half.

    Returns
    -------
    (n,) intp

    Raises
    ------
    InputError
        A file has no 2-D landmarks.
    """
    theirs, mine = _boxes(reference), _boxes(ours)
    frames: dict[int, list[int]] = defaultdict(list)
    for (_, frame), row in ours.rows.items():
        frames[frame].append(row)
    places: dict[int, list[int]] = defaultdict(list)
    for place, (_, frame) in enumerate(keys):
        places[frame].append(place)
    found = np.full(len(keys), -1, np.intp)
    for frame, wanted in places.items():
        rows = [reference.rows[keys[place]] for place in wanted]
        for a, b in _pairs(_overlaps(theirs[rows], mine[frames[frame]])):
            found[wanted[a]] = frames[frame][b]
    return found


def _boxes(table: Table) -> Values:
    """Left, top, right, bottom of every row, (n, 4); NaN where it has no landmarks."""
    axes = [[f"{axis}_{point}" for point in range(68)] for axis in "xy"]
    missing = next((name for axis in axes for name in axis if name not in table.names), None)
    if missing is not None:
        raise InputError(
            f"{table.path}: has no column `{missing}`: faces are matched by overlap of their 2-D landmarks"
        )
    x, y = (table.values[:, [table.names[name] for name in axis]] for axis in axes)
    return np.column_stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)])


def _overlaps(first: Values, second: Values) -> Values:
    """Intersection over union of boxes (a, 4) and (b, 4): (a, b); 0 where there is none."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - both
    shares: Values = np.divide(both, union, out=np.zeros_like(both), where=union > 0)  # NaN is not > 0
    return shares


def _pairs(overlaps: Values) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    left = overlaps.copy()
    while left.size and left.max() >= LEAST_OVERLAP:
        a, b = (int(place) for place in np.unravel_index(int(left.argmax()), left.shape))
        pairs.append((a, b))
        left[a, :] = left[:, b] = -1.0
    return pairs
