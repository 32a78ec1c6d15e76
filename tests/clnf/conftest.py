"""What the CLNF tests share: references, a made-up model, traces of the C++ program, gray pictures."""

from __future__ import annotations

import gzip
import json
import runpy
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from auflow.models.clnf import load_clnf_models
from auflow.models.types import ClnfModels
from auflow.stages.clnf.face_model import FaceModel
from auflow.stages.clnf.pdm import FittingPDM

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
CLIPS = {
    "default": "default.wmv",
    "2015-10-15-15-14": "2015-10-15-15-14.avi",
    "multi_face_single": "multi_face.avi",
}
KINDS = {"resp", "rigid", "nonrigid", "part_init", "hyp_start", "hyp", "det", "reinit", "track", "frame"}
REFIT = "au"

Events = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def reference() -> Callable[[str], SimpleNamespace]:
    """`reference("clnf_fit")`: a module of plain NumPy references."""

    @cache
    def load(name: str) -> SimpleNamespace:
        return SimpleNamespace(**runpy.run_path(str(REFERENCE / f"{name}.py")))

    return load


@pytest.fixture(scope="session")
def toy_pdm() -> FittingPDM:
    """A made-up face of 14 points and 5 modes, mm about the origin."""
    rng = np.random.default_rng(11)
    n, m = 14, 5
    mean = rng.uniform(-60, 60, (3, n))
    mean -= mean.mean(axis=1, keepdims=True)
    components = np.ascontiguousarray(np.linalg.qr(rng.normal(size=(3 * n, m)))[0], np.float32)
    eigenvalues = np.array([400, 200, 90, 40, 10], np.float32)
    return FittingPDM(
        np.ascontiguousarray(mean.reshape(-1), np.float32), components, np.ascontiguousarray(components.T), eigenvalues
    )


@pytest.fixture(scope="session")
def model64() -> Callable[[FittingPDM], tuple[NDArray[np.float64], ...]]:
    """`model64(pdm)`: the tuple that the references take."""
    return lambda pdm: tuple(a.astype(np.float64) for a in (pdm.mean, pdm.components, pdm.eigenvalues))


@pytest.fixture(scope="session")
def clnf_models(models_dir: Path) -> ClnfModels:
    """The models of OpenFace's main_clnf_general.txt."""
    return load_clnf_models(models_dir)


@pytest.fixture(scope="session")
def face_model(clnf_models: ClnfModels) -> FaceModel:
    """The whole CLNF; it holds no state of a stream."""
    return FaceModel(clnf_models)


def f32(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


@lru_cache(maxsize=3)
def read_events(path: Path) -> SimpleNamespace:
    kinds: Events = {kind: [] for kind in (*KINDS, REFIT)}
    order = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            kind = line[7 : line.index('"', 7)]
            if kind in kinds:
                kinds[kind].append(json.loads(line))
                order.append(kinds[kind][-1])
    return SimpleNamespace(
        folder=path.parent,
        order=order,
        frames={event["frame"]: event for event in kinds["frame"]},
        refits={event["frame"]: event for event in kinds[REFIT]},
        **{kind: kinds[kind] for kind in KINDS - {"frame"}},
    )


@pytest.fixture(scope="session")
def trace(golden: Path) -> Callable[[str], SimpleNamespace]:
    """`trace("default")`: the CLNF events of a clip's trace, by kind and in `order`."""
    return lambda clip: read_events(golden / clip / "trace" / "dump.jsonl.gz")


@pytest.fixture(scope="session")
def gray_frames(media: Path) -> Callable[..., Iterator[tuple[int, NDArray[np.float32]]]]:
    """`gray_frames("default", wanted=None)`: (number from 1, gray float32) of the wanted frames of a clip."""

    def read(clip: str, wanted: set[int] | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        capture = cv2.VideoCapture(str(media / CLIPS[clip]))
        last = max(wanted) if wanted else None
        number = 0
        while number != last and capture.grab():
            number += 1
            if wanted is None or number in wanted:
                yield number, f32(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2GRAY))
        capture.release()

    return read
