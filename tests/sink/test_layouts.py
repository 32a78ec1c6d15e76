"""The three layouts of OpenFace's programs, to the byte, and parts of them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit
from auflow.stages.settings import COLUMN_CHOICES, Columns, Faces, StageSettings
from auflow.stages.sink import TableSink
from auflow.stages.sink.columns import Layout

GAZE = [*(f"gaze_{eye}_{axis}" for eye in range(2) for axis in "xyz"), "gaze_angle_x", "gaze_angle_y"]
POSE = ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
RIGID = ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"]
CELLS = {
    "gaze": 8 + 56 * 5,
    "pose": 6,
    "landmarks2d": 136,
    "landmarks3d": 204,
    "shape": 40,
    "aus": 35,
}


def text_of(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def records(text: str) -> tuple[list[FaceFit], AuTable]:
    """What a CSV of the C++ program says, as the sink is given it."""
    rows = [
        {name: float(value) for name, value in row.items()}
        for row in csv.DictReader(text.splitlines(), skipinitialspace=True)
    ]

    def pick(row: dict[str, float], names: Sequence[str], dtype: type = np.float64) -> np.ndarray:
        return np.array([row[name] for name in names], dtype)

    def planar(row: dict[str, float], stem: str, axes: str, count: int) -> np.ndarray:
        return pick(row, [f"{stem}{axis}_{k}" for axis in axes for k in range(count)], np.float32)

    fits = [
        FaceFit(
            index=int(row.get("frame", 1)),
            timestamp_s=row.get("timestamp", 0.0),
            face_id=int(row["face_id" if "face_id" in row else "face"]),
            success=row.get("success", 1) == 1,
            accepted=True,
            confidence=row["confidence"],
            params_global=pick(row, RIGID, np.float32),
            params_local=pick(row, [f"p_{k}" for k in range(34)], np.float32),
            landmarks_px=planar(row, "", "xy", 68),
            landmarks_mm=planar(row, "", "XYZ", 68),
            pose=pick(row, POSE),
            gaze=pick(row, GAZE),
            eyes_px=planar(row, "eye_lmk_", "xy", 56),
            eyes_mm=planar(row, "eye_lmk_", "XYZ", 56),
        )
        for row in rows
    ]
    intensities = np.array([pick(row, [f"{au}_r" for au in AU_INTENSITIES]) for row in rows])
    return fits, AuTable(intensities, np.array([pick(row, [f"{au}_c" for au in AU_PRESENCES]) for row in rows]))


def written(settings: StageSettings, fits: list[FaceFit], table: AuTable, path: Path) -> str:
    sink = TableSink(path, settings)
    for fit in fits:
        sink.add(fit, AuFrame(fit.index, fit.face_id, np.zeros(17), np.zeros(18)))
    return sink.finish(table).read_text()


@pytest.mark.golden
@pytest.mark.parametrize(
    ("faces", "name"),
    [
        ("widest", "default/std.csv"),
        ("all", "multi_face_multi/std.csv.gz"),
        ("pictures", "images/sample1.csv"),
        ("pictures", "images/sample6.csv"),
    ],
)
def test_text_of_each_program_comes_back_to_the_byte(golden: Path, tmp_path: Path, faces: Faces, name: str) -> None:
    """Its own rounded numbers, written again: header, separators and decimals are the C++ program's."""
    text = "".join(text_of(golden / name).splitlines(keepends=True)[:300])
    fits, table = records(text)
    ours = written(StageSettings(faces=faces), fits, table, tmp_path / "a.csv")
    for mine, theirs in zip(ours.split("\n"), text.split("\n"), strict=True):  # a short message when it fails
        assert mine == theirs
    others = {"widest", "all", "pictures"} - {faces}
    assert all(written(StageSettings(faces=other), fits, table, tmp_path / "b.csv") != text for other in others)


def header(settings: StageSettings) -> list[str]:
    return Layout.of(settings).header().split(", ")


@pytest.mark.parametrize(("faces", "fixed"), [("widest", 5), ("all", 5), ("pictures", 2)])
def test_each_group_alone_and_all_but_it(faces: Faces, fixed: int) -> None:
    whole = header(StageSettings(faces=faces))
    assert len(whole) == fixed + sum(CELLS.values())
    for group, cells in CELLS.items():
        alone = header(StageSettings(faces=faces, columns=(group,)))
        assert len(alone) == fixed + cells
        others: tuple[Columns, ...] = tuple(choice for choice in COLUMN_CHOICES if choice != group)
        rest = header(StageSettings(faces=faces, columns=others))
        assert sorted([*alone, *rest[fixed:]]) == sorted(whole)
        assert [name for name in whole if name in rest] == rest  # the order stays OpenFace's


def test_chosen_columns_have_the_values_of_the_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(5)

    def values(count: int) -> np.ndarray:
        return random.normal(0, 50, count).astype(np.float32)

    fit = FaceFit(1, 0.5, 3, True, True, 0.9, values(6), values(34), values(136), values(204), random.normal(size=6))
    fits = [fit, replace(fit, index=2, timestamp_s=0.6)]
    table = AuTable(random.uniform(0, 5, (2, 17)), np.ones((2, 18)))
    whole = list(csv.DictReader(written(StageSettings(), fits, table, tmp_path / "a.csv").splitlines()))
    some = StageSettings(columns=("pose", "aus"))
    part = list(csv.DictReader(written(some, fits, table, tmp_path / "b.csv").splitlines()))
    assert len(part) == 2
    assert len(part[0]) == 5 + 6 + 35
    for one, other in zip(part, whole, strict=True):
        assert one.items() <= other.items()


@pytest.mark.parametrize("faces", ["all", "pictures"])
def test_full_precision_of_the_other_layouts(tmp_path: Path, faces: Faces) -> None:
    fit = FaceFit(
        1,
        1 / 3,
        2,
        True,
        True,
        2 / 3,
        np.full(6, 1 / 3, np.float32),
        np.zeros(34, np.float32),
        np.zeros(136, np.float32),
        np.zeros(204, np.float32),
        np.full(6, 1 / 7),
    )
    text = written(
        StageSettings(faces=faces, precision="full"),
        [fit],
        AuTable(np.full((1, 17), 1 / 9), np.ones((1, 18))),
        tmp_path / "a.csv",
    )
    (row,) = csv.DictReader(text.splitlines(), skipinitialspace=True)
    assert (row["confidence"], row["pose_Rx"], row["AU01_r"], row["AU01_c"]) == (
        "0.666667",
        "0.142857",
        "0.111111",
        "1.000000",
    )
    assert row["face" if faces == "pictures" else "face_id"] == "2"
    assert row.get("timestamp") == (None if faces == "pictures" else "0.333333")


@pytest.mark.parametrize("faces", ["widest", "all", "pictures"])
def test_no_rows_is_a_header(tmp_path: Path, faces: Faces) -> None:
    text = written(StageSettings(faces=faces), [], AuTable(np.zeros((0, 17)), np.zeros((0, 18))), tmp_path / "a.csv")
    assert text == Layout.of(StageSettings(faces=faces)).header() + "\n"
