"""Small tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SMALL = """frame, face_id, timestamp, success, AU01_r, AU12_r, AU01_c, AU28_c
1,  1,  0.0,  1, 0.5, 4.0, 0.00, 1.00
1,  0,  0.0,  1, 1.5, 2.0, 1.00, 0.00
2,  0,  0.1,  0, 0.0, 0.0, 0.00, 0.00
3,  0,  0.2,  1, 2.5, 1.0, 1.00, 0.00
"""


def write_table(path: Path, fps: float = 25.0, **columns: Sequence[float] | np.ndarray) -> Path:
    """A CSV of one face with these columns, and frame, time, confidence and success where they are not given."""
    count = len(next(iter(columns.values())))
    frames = np.arange(1, count + 1)
    known = {"frame": frames, "face_id": np.zeros(count), "timestamp": (frames - 1) / fps, "confidence": np.ones(count)}
    known |= {"success": np.ones(count), **{name: np.asarray(values) for name, values in columns.items()}}
    lines = [", ".join(f"{values[row]:g}" for values in known.values()) for row in range(count)]
    path.write_text("\n".join([", ".join(known), *lines]) + "\n")
    return path


def picture_of(path: Path) -> np.ndarray:
    """(height, width, 3) BGR of a drawn picture."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture.astype(int)
