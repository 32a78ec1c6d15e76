"""Faces that have not changed since their descriptor was computed, which need not be computed again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from auflow.models.au_heads import FEATURES
from auflow.stages.au.described import Described
from auflow.stages.au.fhog import FACE_PX
from auflow.stages.state import StateError, field

__all__ = ["Anchor", "Reuse", "warm_up"]

F64 = NDArray[np.float64]
Bytes = NDArray[np.uint8]

# Not more: where a picture is repeated the exact fit goes on converging, and with it the Action Units. With two in a
# row a clip of which each picture comes three times is at r 0.983.
_MOST_IN_A_ROW = 1
_PLACES = 8  # across and down: the fingerprint of a face are its pixels at those of 64 places that lie inside it
# After so many changed faces in a row only one in so many is remembered.
_RESTLESS = ((64, 8), (16, 4))


def _read_only(bgr: Bytes) -> Bytes:
    """The picture as the kernels know it, whether it may be written to or not: one signature to compile."""
    picture = np.ascontiguousarray(bgr).view()
    picture.flags.writeable = False
    return picture


@dataclass(slots=True)
class Anchor:
    """The face that later ones are compared with."""

    described: Described
    size: tuple[int, ...] = (0, 0)  # of the picture
    in_a_row: int = 0
    count: int = 0  # of the places
    matrix: NDArray[np.float32] = dataclasses.field(
        default_factory=lambda: np.zeros((2, 3), np.float32)
    )  # from the picture to the aligned face
    inside: NDArray[np.bool_] = dataclasses.field(
        default_factory=lambda: np.zeros((FACE_PX, FACE_PX), np.bool_)
    )  # its outline
    places: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros((_PLACES * _PLACES,), np.int64)
    )  # pixels of the picture, the fingerprint
    pixels: Bytes = dataclasses.field(
        default_factory=lambda: np.zeros((_PLACES * _PLACES, 3), np.uint8)
    )  # that were there


class Reuse:
    """Says which faces are still as they were.

    A face is, when no channel of any of its aligned pixels differs by more than a share of the full range from that of
    the face whose descriptor was computed last, both cut out at the same place of their pictures; and never twice in
    a row. Most faces that have changed are told by their fingerprint, 64 pixels of the picture. Where faces keep
    changing only some are compared, so that a restless stream hardly pays for what a still one saves.

    Parameters
    ----------
    below_percent : the share, of 255
    """

    def __init__(self, below_percent: float) -> None:
        self._levels = 2.55 * below_percent
        self._anchors: dict[int, Anchor] = {}
        self._changed: dict[int, int] = {}  # by tracker: faces since the last one that had not changed
        self._now = np.empty((FACE_PX, FACE_PX, 3), np.uint8)

    def reset(self) -> None:
        """Forget the stream."""
        self._anchors.clear()
        self._changed.clear()

    def only(self, tracks: Collection[int]) -> None:
        """Forget the faces of all trackers but these: they were not there, or not good, in the frame at hand."""
        for known in (self._anchors, self._changed):
            for track in [track for track in known if track not in tracks]:
                del known[track]

    def unchanged(self, track: int, bgr: Bytes) -> Described | None:
        """What was computed of this tracker's face, if it holds for the picture (h, w, 3) too."""
        anchor = self._anchors.get(track)
        if anchor is not None and anchor.in_a_row == _MOST_IN_A_ROW:
            return None
        if anchor is None or self._has_changed(anchor, bgr):
            self._changed[track] = self._changed.get(track, 0) + 1
            return None
        self._changed[track] = 0
        anchor.in_a_row += 1
        before = anchor.described
        return Described(before.features, before.face, before.products, reused=True)

    def _has_changed(self, anchor: Anchor, bgr: Bytes) -> bool:
        if anchor.size != bgr.shape[:2]:
            return True
        if _differ_at(_read_only(bgr), anchor.places, anchor.pixels, anchor.count, self._levels):
            return True
        cv2.warpAffine(bgr, anchor.matrix, (FACE_PX, FACE_PX), dst=self._now, flags=cv2.INTER_LINEAR)
        return bool(_differ(self._now, anchor.described.face, anchor.inside, self._levels))

    def keep(
        self,
        track: int,
        bgr: Bytes,
        described: Described,
        matrix: NDArray[np.float32],
        inside: NDArray[np.bool_],
    ) -> None:
        """Compare this tracker's next faces with this one, if it is worth it; arrays as in `Anchor`, copied."""
        changed = self._changed.get(track, 0)
        if changed % next((some for many, some in _RESTLESS if changed > many), 1):
            self._anchors.pop(track, None)
            return
        anchor = self._anchors.get(track)
        if anchor is None:
            anchor = self._anchors[track] = Anchor(described)
        anchor.described, anchor.size, anchor.in_a_row = described, bgr.shape[:2], 0
        anchor.matrix[:], anchor.inside[:] = matrix, inside
        anchor.count = _fingerprint(_read_only(bgr), matrix, inside, anchor.places, anchor.pixels)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """All that the next answers depend on."""
        own: dict[str, NDArray[Any]] = {
            "tracks": np.array(sorted(self._anchors), np.int64),
            "changed": np.array(sorted(self._changed.items()), np.int64).reshape(-1, 2),
        }
        for track in sorted(self._anchors):
            anchor = self._anchors[track]
            products = anchor.described.products
            assert products is not None
            own |= {
                f"{track}/features": anchor.described.features,
                f"{track}/face": anchor.described.face,
                f"{track}/products": products,
                f"{track}/matrix": anchor.matrix,
                f"{track}/inside": anchor.inside,
                f"{track}/places": anchor.places,
                f"{track}/pixels": anchor.pixels,
                f"{track}/counts": np.array((*anchor.size, anchor.in_a_row, anchor.count), np.int64),
            }
        return own

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `snapshot`.

        Raises
        ------
        StateError
        """
        self.reset()
        self._changed = dict(field(arrays, "changed", np.int64, (None, 2)).tolist())
        square = (FACE_PX, FACE_PX)
        for track in field(arrays, "tracks", np.int64, (None,)).tolist():
            described = Described(
                field(arrays, f"{track}/features", np.float64, (FEATURES,)),
                field(arrays, f"{track}/face", np.uint8, (*square, 3)),
                field(arrays, f"{track}/products", np.float64, (None,)),
            )
            height, width, in_a_row, count = field(arrays, f"{track}/counts", np.int64, (4,)).tolist()
            anchor = Anchor(
                described,
                (height, width),
                in_a_row,
                count,
                field(arrays, f"{track}/matrix", np.float32, (2, 3)),
                field(arrays, f"{track}/inside", np.bool_, square),
                field(arrays, f"{track}/places", np.int64, (_PLACES * _PLACES,)),
                field(arrays, f"{track}/pixels", np.uint8, (_PLACES * _PLACES, 3)),
            )
            # The kernel looks at these places of the picture without asking whether it has them.
            known = anchor.places[: max(0, count)]
            if not 0 <= count <= anchor.places.size or ((known < 0) | (known >= height * width)).any():
                raise StateError(
                    f"state: expected pixels of a picture of {width} x {height}; start from the first frame"
                )
            self._anchors[track] = anchor


@njit(cache=True, nogil=True)
def _fingerprint(
    bgr: Bytes, matrix: NDArray[np.float32], inside: NDArray[np.bool_], places: NDArray[np.int64], pixels: Bytes
) -> int:
    """The pixels of bgr (h, w, 3) u8 nearest to a grid over the aligned face, and where they are; how many.

    matrix (2, 3) f32 leads to the aligned face, whose outline is inside (n, n) bool; places (m,) i64 are rows of the
    picture's (h * w, 3) pixels, pixels (m, 3) u8 what they show.
    """
    height, width = bgr.shape[:2]
    flat = bgr.reshape(bgr.size)
    a, b, tx = np.float64(matrix[0, 0]), np.float64(matrix[0, 1]), np.float64(matrix[0, 2])
    c, d, ty = np.float64(matrix[1, 0]), np.float64(matrix[1, 1]), np.float64(matrix[1, 2])
    inverse = 1.0 / (a * d - b * c)
    step = inside.shape[0] // _PLACES
    count = 0
    for i in range(_PLACES):
        for j in range(_PLACES):
            row, column = i * step + step // 2, j * step + step // 2
            if not inside[row, column]:
                continue
            u, v = column - tx, row - ty
            x = min(max(np.int64(np.rint((d * u - b * v) * inverse)), 0), width - 1)
            y = min(max(np.int64(np.rint((a * v - c * u) * inverse)), 0), height - 1)
            at = y * width + x
            places[count] = at
            for channel in range(3):
                pixels[count, channel] = flat[3 * at + channel]
            count += 1
    return count


@njit(cache=True, nogil=True)
def _differ_at(bgr: Bytes, places: NDArray[np.int64], pixels: Bytes, count: int, levels: float) -> bool:
    """Whether a channel of bgr (h, w, 3) u8 at the first count places differs by more than levels from pixels."""
    flat = bgr.reshape(bgr.size)
    for i in range(count):
        at = 3 * places[i]
        for c in range(3):
            if abs(np.int64(flat[at + c]) - np.int64(pixels[i, c])) > levels:
                return True
    return False


@njit(cache=True, nogil=True)
def _differ(now: Bytes, before: Bytes, inside: NDArray[np.bool_], levels: float) -> bool:
    """Whether a channel of a pixel inside (h, w) differs by more than levels between two pictures (h, w, 3) u8."""
    for y in range(inside.shape[0]):
        largest = np.int64(0)
        for x in range(inside.shape[1]):
            if inside[y, x]:
                for c in range(3):
                    away = abs(np.int64(now[y, x, c]) - np.int64(before[y, x, c]))
                    if away > largest:
                        largest = away
        if largest > levels:
            return True
    return False


def warm_up() -> None:
    """Compile (or load) the kernels."""
    square = np.zeros((FACE_PX, FACE_PX, 3), np.uint8)
    reuse = Reuse(5.0)
    described = Described(np.zeros(FEATURES), square, np.zeros(1))
    reuse.keep(0, square, described, np.eye(2, 3, dtype=np.float32), np.ones((FACE_PX, FACE_PX), np.bool_))
    reuse.unchanged(0, square)
