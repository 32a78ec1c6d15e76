"""A clip with several persons of whom everything is known: faces cut out of single-face clips move over a wall."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from auflow.benchmarks.mot import Marked
from auflow.stages.decode import open_source
from auflow.stages.faces import box_around
from auflow.stages.records import FaceFit, Frame, SourceInfo

__all__ = ["ACTORS", "SIZE", "Actor", "Cutout", "Scene", "cut_out", "scenes"]

SIZE = 540, 960  # height, width of the pictures
_FACE_PX = 130.0  # width of a face
_AROUND = 2.3  # what is cut out is so many times as wide as the face
_VISIBLE = 0.5  # share of the face's box from which on a person counts
_LENGTH = 420  # frames


@dataclass(frozen=True, slots=True)
class Actor:
    """One person: where the face comes from, and where it is when. Between two places it moves on a straight line."""

    clip: str  # below the folder of the clips
    path: tuple[tuple[int, float, float], ...]  # frame, centre x, y [px]; there from the first to the last
    breaks: tuple[tuple[int, int], ...] = ()  # frames from and before which the person is not there


# Nearer to the camera are those who come later in the list.
ACTORS = (
    Actor("liveportrait/d9.mp4", ((0, 690, 230), (60, 690, 230), (150, 250, 250), (419, 250, 250))),
    Actor("2015-10-15-15-14.avi", ((0, 230, 250), (60, 230, 250), (150, 690, 260), (419, 690, 260))),
    # Walks out of the picture and comes back, in front of all the others.
    Actor(
        "liveportrait/s20.mp4",
        ((0, 470, 400), (165, 470, 400), (200, 1120, 400), (260, -160, 390), (330, 480, 380), (419, 480, 380)),
        ((200, 260),),
    ),
    # One gives place to another.
    Actor("default.wmv", ((10, 850, 120), (299, 850, 120))),
    Actor("astronaut.mp4", ((300, 850, 120), (419, 850, 120))),
)


@dataclass(slots=True)
class Cutout:
    """A face with its surroundings, frame by frame, as wide as all faces of the composed clip."""

    pictures: list[NDArray[np.uint8]] = field(default_factory=list)  # (s, s, 3) BGR each
    landmarks_px: list[NDArray[np.float32] | None] = field(default_factory=list)  # (136,) in it; None where unknown

    def at(self, frame: int) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Picture and landmarks of a frame: the clip forwards and backwards, for ever."""
        period = max(1, 2 * len(self.pictures) - 2)
        place = frame % period
        place = min(place, period - place) if len(self.pictures) > 1 else 0
        return self.pictures[place], self.landmarks_px[place]


def cut_out(clip: Path, fit: Callable[[Frame], FaceFit], start: Callable[[SourceInfo], None]) -> Cutout:
    """Cut the face out of a clip; `fit` follows it, after `start`, as exactly as is known.

    Raises
    ------
    InputError
    """
    pictures: list[NDArray[np.uint8]] = []
    fits: list[FaceFit] = []
    with open_source(clip) as source:
        start(source.info)
        bgr = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        while len(pictures) < _LENGTH and (read := source.read_into(bgr)) is not None:
            fits.append(fit(Frame(*read, bgr)))
            pictures.append(bgr.copy())
    boxes = np.array([box_around(one.landmarks_px.astype(np.float64)) for one in fits if one.success])
    x, y, width, _ = np.median(boxes, axis=0)
    height = np.median(boxes[:, 3])
    side = _AROUND * width
    left, top, scale = x + width / 2 - side / 2, y + height / 2 - 0.55 * side, _FACE_PX / width
    matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]], np.float64)
    size = round(_AROUND * _FACE_PX)
    cutout = Cutout()
    for picture, one in zip(pictures, fits, strict=True):
        flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        tile = cv2.warpAffine(picture, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        cutout.pictures.append(np.asarray(tile, np.uint8))
        points = one.landmarks_px.reshape(2, -1) * scale - scale * np.array([[left], [top]])
        cutout.landmarks_px.append(points.reshape(-1).astype(np.float32) if one.success else None)
    return cutout


@dataclass(frozen=True, slots=True)
class Scene:
    """One frame of the composed clip."""

    bgr: NDArray[np.uint8]  # (h, w, 3)
    truth: tuple[Marked, ...]  # persons by their place in the list of actors
    landmarks_px: dict[int, NDArray[np.float32]]  # (136,) of each person that is known


def scenes(cutouts: Sequence[Cutout], actors: Sequence[Actor] = ACTORS, frames: int = _LENGTH) -> Iterator[Scene]:
    """The composed clip."""
    wall = _wall()
    side = cutouts[0].pictures[0].shape[0]
    mask = _mask(side)
    for frame in range(frames):
        picture = wall.copy()
        layers: list[tuple[int, int, int, NDArray[np.float32] | None]] = []  # person, left, top, landmarks
        for person, (actor, cutout) in enumerate(zip(actors, cutouts, strict=True)):
            centre = _place(actor, frame)
            if centre is None:
                continue
            left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
            tile, points = cutout.at(frame)
            _paste(picture, tile, mask, left, top)
            layers.append((person, left, top, points))
        yield Scene(picture, *_truth(layers, mask))


def _truth(
    layers: Sequence[tuple[int, int, int, NDArray[np.float32] | None]], mask: NDArray[np.float32]
) -> tuple[tuple[Marked, ...], dict[int, NDArray[np.float32]]]:
    marked, landmarks = [], {}
    covered = np.zeros(SIZE, np.bool_)
    for person, left, top, points in reversed(layers):  # the nearest first
        if points is not None:
            there = points.reshape(2, -1) + np.array([[left], [top]], np.float32)
            box = box_around(there.reshape(-1).astype(np.float64))
            marked.append(Marked(person, box, counts=_visible(box, covered) >= _VISIBLE))
            landmarks[person] = there.reshape(-1)
        _cover(covered, mask > 0.5, left, top)
    return tuple(marked[::-1]), landmarks


def _visible(box: NDArray[np.float64], covered: NDArray[np.bool_]) -> float:
    x, y, width, height = box
    rows, columns = SIZE
    inside = covered[max(0, int(y)) : min(rows, int(y + height)), max(0, int(x)) : min(columns, int(x + width))]
    return float((~inside).sum()) / max(1.0, float(width * height))


def _place(actor: Actor, frame: int) -> tuple[float, float] | None:
    first, last = actor.path[0][0], actor.path[-1][0]
    if not first <= frame <= last or any(gone <= frame < back for gone, back in actor.breaks):
        return None
    for (begin, x, y), (end, next_x, next_y) in pairwise(actor.path):
        if begin <= frame <= end:
            share = (frame - begin) / max(1, end - begin)
            return x + share * (next_x - x), y + share * (next_y - y)
    return None


def _paste(picture: NDArray[np.uint8], tile: NDArray[np.uint8], mask: NDArray[np.float32], left: int, top: int) -> None:
    at, of = _parts(picture.shape, tile.shape, left, top)
    share = mask[of][..., None]
    picture[at] = np.rint(share * tile[of] + (1 - share) * picture[at]).astype(np.uint8)


def _cover(covered: NDArray[np.bool_], mask: NDArray[np.bool_], left: int, top: int) -> None:
    at, of = _parts(covered.shape, mask.shape, left, top)
    covered[at] |= mask[of]


def _parts(
    shape: tuple[int, ...], tile: tuple[int, ...], left: int, top: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What of the picture lies under a tile, and what of the tile lies in the picture."""
    right, bottom = min(shape[1], left + tile[1]), min(shape[0], top + tile[0])
    x, y = max(0, left), max(0, top)
    x, y = min(x, max(right, 0)), min(y, max(bottom, 0))
    right, bottom = max(x, right), max(y, bottom)
    return (slice(y, bottom), slice(x, right)), (slice(y - top, bottom - top), slice(x - left, right - left))


def _mask(side: int) -> NDArray[np.float32]:
    """A head and its hair: an ellipse with a soft border."""
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, (side // 2, side // 2), (round(0.34 * side), round(0.46 * side)), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.02 * side), np.float32)


def _wall() -> NDArray[np.uint8]:
    rng = np.random.default_rng(7)
    coarse = rng.integers(70, 150, (SIZE[0] // 30, SIZE[1] // 30, 3), np.uint8)
    smooth = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return (smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)
