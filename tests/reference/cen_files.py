"""Writer of CEN files in OpenFace's layout with random weights, written from the format's description.

What is known of the real files: 7 views of 68 points, patches of 11 x 11, and their sizes. Those are met exactly when
the frontal view stores one point of each symmetrical pair and the points of the middle line (39), the two half-profile
views of one side store all 68, the profile view of that side the visible ones (35 or 37), and the other side nothing.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

REAL_COARSE = (122, 300, 100, 50, 1)  # scales 0.25 and 0.35
REAL_FINE = (122, 500, 200, 100, 1)  # scales 0.50 and 1.00
YAW_DEG = (0, -20, -45, -70, 70, 45, 20)
MIRROR_VIEWS = (0, 6, 5, 4, 3, 2, 1)
MIDDLE = (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)


def _mirror_68() -> tuple[int, ...]:
    """The 68-point scheme: jaw, brows, nose, eyes, outer and inner lips, each point's partner across the face."""
    pairs = [(i, 16 - i) for i in range(8)] + [(17 + i, 26 - i) for i in range(5)]
    pairs += [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)]
    partner = {i: i for i in MIDDLE} | dict(pairs) | {b: a for a, b in pairs}
    return tuple(partner[i] for i in range(68))


MIRROR_68 = _mirror_68()
Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


@dataclass
class CenFile:
    """What to write. `stored[view]` are the points with an expert; the widths are those of the layers, inputs first."""

    scale: float = 0.25
    widths: Sequence[int] = REAL_COARSE
    yaw_deg: Sequence[float] = YAW_DEG
    mirror_views: Sequence[int] = MIRROR_VIEWS
    mirror_points: Sequence[int] = MIRROR_68
    visible: NDArray[np.int32] = field(default_factory=lambda: np.ones((7, 68), np.int32))
    stored: Sequence[Iterable[int]] = ()
    transposed: bool = False  # weights as outputs x inputs, biases as a column
    hidden: int = 2  # ReLU
    seed: int = 0
    layers: dict[tuple[int, int], Layers] = field(default_factory=dict)  # [view, point], filled in by `write`

    def write(self, path: Path) -> None:
        """Write the file."""
        rng = np.random.default_rng(self.seed)
        points = len(self.mirror_points)
        with path.open("wb") as out:
            out.write(struct.pack("<di", self.scale, len(self.yaw_deg)))
            out.writelines(mat([[0.0], [yaw], [0.0]], "f8") for yaw in self.yaw_deg)
            out.writelines(mat(row[:, None], "i4") for row in self.visible)
            out.write(mat([self.mirror_points], "i4") + mat([self.mirror_views], "i4"))
            for view in range(len(self.yaw_deg)):
                stored = set(self.stored[view])
                for point in range(points):
                    out.write(self._expert(rng, (view, point)) if point in stored else empty())

    def _expert(self, rng: np.random.Generator, key: tuple[int, int]) -> bytes:
        if key not in self.layers:
            # The first layer sees vectors of length 1, the others vectors of as many numbers of about 1.
            self.layers[key] = [
                (
                    rng.standard_normal((i, o), np.float32) * np.float32(2 if index == 0 else 2 / np.sqrt(i)),
                    rng.standard_normal(o, np.float32) * np.float32(0.3),
                )
                for index, (i, o) in enumerate(itertools.pairwise(self.widths))
            ]
        data = struct.pack("<4i", 6, 11, 11, len(self.layers[key]))
        for index, (weights, biases) in enumerate(self.layers[key]):
            last = index == len(self.layers[key]) - 1
            data += struct.pack("<i", 0 if last else self.hidden)
            data += mat(biases[:, None] if self.transposed else biases[None], "f4")
            data += mat(weights.T if self.transposed else weights, "f4")
        return data + struct.pack("<d", confidence(key))


def confidence(key: tuple[int, int]) -> float:
    """A made-up number for each slot."""
    return 0.5 + key[0] / 10 + key[1] / 1000


def empty() -> bytes:
    """A slot without an expert."""
    return struct.pack("<4id", 6, 11, 11, 0, 0.25)


def mat(values: object, kind: str) -> bytes:
    """A MatBin."""
    array = np.atleast_2d(np.asarray(values, f"<{kind}"))
    return struct.pack("<3i", *array.shape, {"i4": 4, "f4": 5, "f8": 6}[kind]) + array.tobytes()


def real(widths: Sequence[int], *, profile: int, scale: float, seed: int = 0) -> CenFile:
    """A file of the real layout, with `profile` points visible from the side."""
    visible = np.ones((7, 68), np.int32)
    near = sorted(range(68), key=lambda i: (i > MIRROR_68[i], i))[:profile]
    visible[3] = visible[4] = 0
    visible[3, near] = 1
    visible[4, [MIRROR_68[i] for i in near]] = 1
    front = [i for i in range(68) if i <= MIRROR_68[i]]
    stored = (front, range(68), range(68), near, (), (), ())
    return CenFile(scale, widths, visible=visible, stored=stored, seed=seed)


def small(*, seed: int = 0, widths: Sequence[int] = (122, 12, 9, 1), **options: object) -> CenFile:
    """Three views (front, right, left) of five points: two pairs and the middle one; point 0 is hidden from the side.

    Stored are the middle and the first of each pair in front, the right view, and nothing of the left one.
    """
    visible = np.ones((3, 5), np.int32)
    visible[1, 0] = visible[2, 1] = 0
    held = CenFile(
        0.35, widths, (0, -45, 45), (0, 2, 1), (1, 0, 3, 2, 4), visible, ((0, 2, 4), (1, 2, 3, 4), ()), seed=seed
    )
    for name, value in options.items():
        setattr(held, name, value)
    return held
