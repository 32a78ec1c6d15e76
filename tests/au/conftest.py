"""What the AU tests share: references, traces of the C++ program, and its CSV files."""

from __future__ import annotations

import csv
import gzip
import json
import runpy
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, FaceFit

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
KINDS = {"au", "frame", "cutoff", "post_reg", "post_class"}


@pytest.fixture(scope="session")
def reference():
    """`reference("au_fhog")`: a module of plain NumPy references."""

    def load(name: str) -> SimpleNamespace:
        return SimpleNamespace(**runpy.run_path(str(REFERENCE / f"{name}.py")))

    return load


@lru_cache(maxsize=4)
def read_events(path: Path) -> dict[str, list[dict]]:
    """The events of a trace that concern the AU stage, by kind."""
    found: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line[7 : line.index('"', 7)] in KINDS:
                event = json.loads(line)
                found[event["ev"]].append(event)
    return found


@pytest.fixture(scope="session")
def trace(golden: Path):
    """`trace("default")`: the AU events of a clip's trace."""
    return lambda clip: read_events(golden / clip / "trace" / "dump.jsonl.gz")


def read_csv(path: Path) -> SimpleNamespace:
    """AU columns, success and 2-D landmarks of a CSV of the C++ program."""
    with path.open(newline="") as lines:
        rows = csv.reader(lines, skipinitialspace=True)
        header = next(rows)
        table = np.array([[float(value) for value in row] for row in rows])
    column = {name: i for i, name in enumerate(header)}
    return SimpleNamespace(
        intensities=table[:, [column[f"{name}_r"] for name in AU_INTENSITIES]],
        presences=table[:, [column[f"{name}_c"] for name in AU_PRESENCES]],
        success=table[:, column["success"]] > 0,
        landmarks=table[:, [column[f"{axis}_{i}"] for axis in "xy" for i in range(68)]].astype(np.float32),
    )


@pytest.fixture(scope="session")
def openface_csv():
    """`openface_csv(path)`."""
    return read_csv


def read_frames(path: Path):
    """The pictures of a video or an image folder, (h, w, 3) uint8 BGR."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield cv2.imread(str(file))
        return
    capture = cv2.VideoCapture(str(path))
    while True:
        there, picture = capture.read()
        if not there:
            break
        yield picture
    capture.release()


@pytest.fixture(scope="session")
def pictures():
    """`pictures(path)`: iterates over a clip."""
    return read_frames


@pytest.fixture(scope="session")
def fit_of():
    """`fit_of(index, landmarks_px, success=True)`: a fit with only what the AU stage reads."""

    def make(index: int, landmarks_px: np.ndarray, *, success: bool = True) -> FaceFit:
        nothing = np.zeros(0, np.float32)
        return FaceFit(
            index=index,
            timestamp_s=0.0,
            face_id=0,
            success=True,  # what the CSV says: without weight here
            accepted=success,
            confidence=1.0,
            params_global=nothing,
            params_local=nothing,
            landmarks_px=np.asarray(landmarks_px, np.float32),
            landmarks_mm=nothing,
            pose=np.zeros(6),
        )

    return make


@pytest.fixture(scope="module")
def demo(demo_dir, openface_csv, pictures):
    """The demo clip: pictures, and the C++ program's final CSV."""
    return list(pictures(demo_dir / "astronaut.mp4")), openface_csv(demo_dir / "full.csv")
