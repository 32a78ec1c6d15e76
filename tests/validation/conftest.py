"""Small files in OpenFace's format whose agreement is known beforehand."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES
from auflow.validation.comparison import Comparison, Match, compare, match
from auflow.validation.table import read_table

POINTS = [f"{axis}_{i}" for axis in "xy" for i in range(68)]
NAMES = [
    *("frame", "face_id", "timestamp", "confidence", "success"),
    *POINTS,
    *(f"pose_T{axis}" for axis in "xyz"),
    *(f"{au}_r" for au in AU_INTENSITIES),
    *(f"{au}_c" for au in AU_PRESENCES),
]

Columns = dict[str, np.ndarray]


@pytest.fixture
def columns() -> Columns:
    """Forty frames of one face: waves of different speed in every column, no two equal."""
    frames = np.arange(1.0, 41.0)
    out: Columns = {}
    for place, name in enumerate(NAMES):
        wave = 1 + np.sin(frames * (0.11 + 0.013 * place))
        out[name] = np.round(wave, 6)
    for place, name in enumerate(POINTS):
        out[name] = np.round(100 + 10 * (place % 68 % 9) + 5 * (place // 9) + out[name], 6)
    for name in NAMES:
        if name.endswith("_c"):
            out[name] = (out[name] > 1).astype(float)
    out.update(frame=frames, face_id=np.zeros(40), timestamp=(frames - 1) / 25, success=np.ones(40))
    return out


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Columns], Path]:
    """Write columns as a CSV with OpenFace's separators; a name that ends in .gz is compressed."""

    def write(name: str, columns: Columns) -> Path:
        lines = [", ".join(columns)]
        rows = np.column_stack(list(columns.values()))
        lines += [", ".join("" if np.isnan(value) else f"{value:.6f}" for value in row) for row in rows]
        data = ("\n".join(lines) + "\n").encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def rows_of(reference: Path, ours: Path, skip: int = 0) -> Match:
    return match(read_table(reference), read_table(ours), skip=skip)


@pytest.fixture
def measure(write) -> Callable[..., Comparison]:
    """Compare two sets of columns by way of files."""

    def measure(reference: Columns, ours: Columns, skip: int = 0) -> Comparison:
        return compare(rows_of(write("reference.csv", reference), write("ours.csv", ours), skip))

    return measure


@pytest.fixture(scope="session")
def compare_py(golden: Path) -> ModuleType:
    """The comparison that counts, beside the golden figures."""
    spec = importlib.util.spec_from_file_location("golden_compare", golden / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
