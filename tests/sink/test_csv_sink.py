"""The CSV: OpenFace's text to the byte, all at once or not at all."""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auflow.errors import OutputError, ShapeError, StageError
from auflow.stages.records import AU_INTENSITIES, AU_PRESENCES, AuFrame, AuTable, FaceFit
from auflow.stages.settings import StageSettings
from auflow.stages.sink import TableSink
from auflow.stages.sink.columns import AU_GROUPS, FIT_GROUPS, Layout

GAZE = [*(f"gaze_{eye}_{axis}" for eye in range(2) for axis in "xyz"), "gaze_angle_x", "gaze_angle_y"]
POSE = ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
GLOBAL = ["p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"]


def fit(index: int = 1, seed: int = 0, *, face_id: int = 0, success: bool = True) -> FaceFit:
    random = np.random.default_rng(seed)

    def values(count: int) -> np.ndarray:
        return random.normal(0, 100, count).astype(np.float32)

    return FaceFit(
        index=index,
        timestamp_s=(index - 1) / 30,
        face_id=face_id,
        success=success,
        accepted=success,
        confidence=float(random.uniform()),
        params_global=values(6),
        params_local=values(34),
        landmarks_px=values(136),
        landmarks_mm=values(204),
        pose=random.normal(0, 100, 6),
    )


def au(index: int = 1, *, face_id: int = 0) -> AuFrame:
    return AuFrame(index, face_id, np.zeros(17), np.zeros(18))


def table(rows: int, seed: int = 0) -> AuTable:
    random = np.random.default_rng(seed)
    return AuTable(random.uniform(0, 5, (rows, 17)), random.integers(0, 2, (rows, 18)).astype(np.float64))


def read_golden(path: Path) -> tuple[list[FaceFit], AuTable]:
    with path.open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file, skipinitialspace=True)]

    def pick(row: dict[str, float], names: list[str]) -> np.ndarray:
        return np.array([row[name] for name in names])

    fits = [
        FaceFit(
            index=int(row["frame"]),
            timestamp_s=row["timestamp"],
            face_id=int(row["face_id"]),
            success=row["success"] == 1,
            accepted=row["success"] == 1,
            confidence=row["confidence"],
            params_global=pick(row, GLOBAL).astype(np.float32),
            params_local=pick(row, [f"p_{k}" for k in range(34)]).astype(np.float32),
            landmarks_px=pick(row, [f"{a}_{k}" for a in "xy" for k in range(68)]).astype(np.float32),
            landmarks_mm=pick(row, [f"{a}_{k}" for a in "XYZ" for k in range(68)]).astype(np.float32),
            pose=pick(row, POSE),
            gaze=pick(row, GAZE),
            eyes_px=pick(row, [f"eye_lmk_{a}_{k}" for a in "xy" for k in range(56)]).astype(np.float32),
            eyes_mm=pick(row, [f"eye_lmk_{a}_{k}" for a in "XYZ" for k in range(56)]).astype(np.float32),
        )
        for row in rows
    ]
    intensities = np.array([pick(row, [f"{name}_r" for name in AU_INTENSITIES]) for row in rows])
    return fits, AuTable(intensities, np.array([pick(row, [f"{name}_c" for name in AU_PRESENCES]) for row in rows]))


def written(fits: list[FaceFit], values: AuTable, path: Path, precision) -> list[str]:
    sink = TableSink(path, StageSettings(precision=precision))
    for one in fits:
        sink.add(one, au(one.index, face_id=one.face_id))
    return sink.finish(values).read_text().split("\n")


def golden_lines(path: Path) -> list[str]:
    return path.read_text().split("\n")


@pytest.mark.golden
@pytest.mark.parametrize("clip", ["default", "pyfeat/face_noface"])
def test_full_precision_equals_the_cpp_program_to_the_byte(golden: Path, tmp_path: Path, clip: str) -> None:
    fits, values = read_golden(golden / clip / "full.csv")
    assert written(fits, values, tmp_path / "a.csv", "full") == golden_lines(golden / clip / "full.csv")


@pytest.mark.golden
def test_openface_precision_equals_the_cpp_program(golden: Path, tmp_path: Path) -> None:
    fits, values = read_golden(golden / "default" / "full.csv")
    ours = written(fits, values, tmp_path / "a.csv", "openface")
    theirs = golden_lines(golden / "default" / "std.csv")
    assert ours[0] == theirs[0]
    assert len(ours) == len(theirs)
    cells = [(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x.split(","), y.split(","), strict=True)]
    different = [(a, b) for a, b in cells if a != b]
    # Our numbers come from six decimals: a few are rounded twice.
    assert len(different) <= 10
    assert all(len(a) == len(b) and abs(float(a) - float(b)) < 1.1e-3 for a, b in different)


def test_columns_and_formats_agree() -> None:
    layout = Layout.of(StageSettings())
    names = layout.header().split(", ")
    assert len(names) == 714
    assert len(names) == len(set(names)) == sum(len(group.names) for group in (*FIT_GROUPS, *AU_GROUPS))
    for precision in ("openface", "full"):
        line = layout.row_format(precision) % tuple(range(len(names)))
        assert line.endswith("\n")
        assert [float(cell) for cell in line.split(",")] == list(range(len(names)))


def test_values_come_back(tmp_path: Path) -> None:
    fits, values = [fit(k, seed=k, success=k % 3 != 0) for k in range(1, 700)], table(699)
    lines = written(fits, values, tmp_path / "a.csv", "full")
    again, values_again = read_golden(tmp_path / "a.csv")
    assert lines[-1] == ""
    for ours, theirs in zip(again, fits, strict=True):
        assert (ours.index, ours.face_id, ours.success) == (theirs.index, theirs.face_id, theirs.success)
        assert np.allclose(ours.landmarks_mm, theirs.landmarks_mm, rtol=0, atol=1e-5)
        assert np.allclose(ours.pose, theirs.pose, rtol=0, atol=1e-6)
    assert np.allclose(values_again.intensities, values.intensities, rtol=0, atol=1e-6)
    assert np.array_equal(values_again.presences, values.presences)


def test_nothing_but_the_result_is_left(tmp_path: Path) -> None:
    sink = TableSink(tmp_path / "a.csv", StageSettings(precision="full"))
    sink.add(fit(), au())
    assert [path.name for path in tmp_path.iterdir()] == [".a.auflow"]
    assert sink.finish(table(1)) == tmp_path / "a.csv"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.csv"]


def test_discard_leaves_nothing_and_may_follow_finish(tmp_path: Path) -> None:
    sink = TableSink(tmp_path / "a.csv", StageSettings(precision="full"))
    sink.add(fit(), au())
    sink.discard()
    sink.discard()
    assert list(tmp_path.iterdir()) == []
    sink = TableSink(tmp_path / "b.csv", StageSettings(precision="full"))
    sink.finish(table(0))
    sink.discard()
    assert (tmp_path / "b.csv").read_text() == Layout.of(StageSettings()).header() + "\n"


def test_interrupted_goes_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.b.csv").write_text("an earlier, whole result")
    sink = TableSink(tmp_path / "a.b.csv", StageSettings(precision="full"))
    sink.add(fit(), au())
    assert sink.finish(table(1), interrupted=True) == tmp_path / "a.b.partial.csv"
    assert (tmp_path / "a.b.csv").read_text() == "an earlier, whole result"


def test_mixed_up_frames_and_tables(tmp_path: Path) -> None:
    sink = TableSink(tmp_path / "a.csv", StageSettings(precision="full"))
    with pytest.raises(StageError, match="frame 2, face 0 came with the AUs of frame 1"):
        sink.add(fit(2), au(1))
    sink.add(fit(1), au(1))
    with pytest.raises(ShapeError, match=r"table.intensities: expected \(1, 17\), got \(2, 17\)"):
        sink.finish(table(2))
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.csv: cannot be written: No such file") as caught:
        TableSink(tmp_path / "gone" / "a.csv", StageSettings(precision="full"))
    assert caught.value.exit_code == 3


FULL_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_csv_sink import TableSink, StageSettings, au, fit, table
from auflow.errors import OutputError
rows, limit, folder = int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sink = TableSink(folder / "a.csv", StageSettings(precision="full"))
try:
    for k in range(1, rows + 1):
        sink.add(fit(k), au(k))
    sink.finish(table(rows))
except OutputError as error:
    print(error)
    sink.discard()
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system has no limit for file sizes")
@pytest.mark.parametrize(("what", "limit"), [("while rows come", 300_000), ("while text is written", 600_000)])
def test_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path, what: str, limit: int) -> None:
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, here, "200", str(limit), str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "a.csv: cannot be written: File too large; free some space" in run.stdout, what
    assert list(tmp_path.iterdir()) == []
