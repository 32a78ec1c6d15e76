"""Files for other programs: .hog to the byte, aligned faces under OpenFace's names, nothing half left behind."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.errors import OutputError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.sink.faces import AlignedFaces, HogSink, read_hog

ROW_BYTES = 3 * 4 + 4 + 4464 * 4


def hog(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 0.4, 4464).astype(np.float32)


def face(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8)


def finished(sink, *, interrupted: bool = False) -> Path:
    if isinstance(sink, HogSink):
        sink.prepare()
    return sink.publish(interrupted=interrupted)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_hog_row_to_the_byte(tmp_path: Path) -> None:
    sink = HogSink(tmp_path / "a.hog", tmp_path)
    sink.add(True, hog(1))
    sink.add(False, hog(2))
    assert finished(sink) == tmp_path / "a.hog"
    data = (tmp_path / "a.hog").read_bytes()
    assert len(data) == 2 * ROW_BYTES
    for row, good in enumerate((1.0, -1.0)):
        at = row * ROW_BYTES
        assert struct.unpack_from("<iii", data, at) == (12, 12, 31)
        assert struct.unpack_from("<f", data, at + 12) == (good,)
        assert struct.unpack_from("<4464f", data, at + 16) == tuple(hog(row + 1).tolist())


def test_hog_comes_back(tmp_path: Path) -> None:
    sink = HogSink(tmp_path / "a.hog", tmp_path)
    good = [True, False, False, True]
    for row, one in enumerate(good):
        sink.add(one, hog(row))
    good_again, rows = read_hog(finished(sink))
    assert good_again.tolist() == good
    assert rows.dtype == np.float32
    assert np.array_equal(rows, [hog(row) for row in range(4)])


def test_hog_of_nothing_is_empty(tmp_path: Path) -> None:
    good, rows = read_hog(finished(HogSink(tmp_path / "a.hog", tmp_path)))
    assert (good.shape, rows.shape) == ((0,), (0, 4464))


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0" * 4, lambda data: data[4:]])
def test_hog_that_was_cut_is_refused(tmp_path: Path, change) -> None:
    sink = HogSink(tmp_path / "a.hog", tmp_path)
    sink.add(True, hog(0))
    path = finished(sink)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"a\.hog: expected rows of {ROW_BYTES} bytes, got 178\d\d bytes"):
        read_hog(path)


def test_hog_of_another_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.hog").write_bytes(struct.pack("<iii", 14, 14, 31) + bytes(ROW_BYTES - 12))
    with pytest.raises(ValueError, match="expected 12 x 12 x 31"):
        read_hog(tmp_path / "a.hog")


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (False, ["frame_det_00_000007.bmp", "frame_det_03_000007.bmp", "frame_det_11_123456.bmp"]),
        (True, ["face_det_000000.bmp", "face_det_000003.bmp", "face_det_000011.bmp"]),
    ],
)
def test_aligned_faces_names_and_content(tmp_path: Path, pictures: bool, expected: list[str]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    sink = AlignedFaces(tmp_path / "a_aligned", work, pictures=pictures)
    for seed, (index, face_id) in enumerate([(7, 0), (7, 3), (123456, 11)]):
        sink.add(index, face_id, face(seed))
    assert finished(sink) == tmp_path / "a_aligned"
    assert names(tmp_path) == ["a_aligned", "work"]
    assert names(tmp_path / "a_aligned") == expected
    for seed, name in enumerate(expected):
        path = tmp_path / "a_aligned" / name
        assert path.read_bytes()[:2] == b"BM"
        assert np.array_equal(cv2.imread(str(path)), face(seed))


def test_aligned_faces_replace_those_of_an_earlier_run_only_when_done(tmp_path: Path) -> None:
    folder = tmp_path / "a_aligned"
    folder.mkdir()
    (folder / "frame_det_00_000001.bmp").write_text("earlier")
    (folder / "frame_det_00_000099.bmp").write_text("earlier")
    (folder / "notes.txt").write_text("not ours")
    sink = AlignedFaces(folder, tmp_path)
    sink.add(1, 0, face(0))
    assert (folder / "frame_det_00_000001.bmp").read_text() == "earlier"
    sink.publish()
    assert names(folder) == ["frame_det_00_000001.bmp", "notes.txt"]
    assert (folder / "frame_det_00_000001.bmp").read_bytes()[:2] == b"BM"


def test_interrupted(tmp_path: Path) -> None:
    hogs, faces = HogSink(tmp_path / "a.b.hog", tmp_path), AlignedFaces(tmp_path / "a.b_aligned", tmp_path)
    hogs.add(True, hog(0))
    faces.add(1, 0, face(0))
    assert finished(hogs, interrupted=True).name == "a.b.partial.hog"
    assert finished(faces, interrupted=True).name == "a.b.partial_aligned"
    hogs.close()
    assert (tmp_path / "a.b.partial.hog").stat().st_size == ROW_BYTES


@pytest.mark.parametrize("kind", [HogSink, AlignedFaces])
def test_folder_that_cannot_be_written(tmp_path: Path, kind) -> None:
    with pytest.raises(OutputError, match="cannot be written: No such file") as caught:
        kind(tmp_path / "gone" / "a", tmp_path / "gone")
    assert caught.value.exit_code == 3


INFO = SourceInfo("a.mp4", "video", 64, 48, 25.0, None)


def one_face(index: int, face_id: int, *, accepted: bool = True) -> tuple[FaceFit, AuFrame]:
    fit = FaceFit(
        index=index,
        timestamp_s=0.0,
        face_id=face_id,
        success=True,  # as at a face's first fit, whatever the validator says
        accepted=accepted,
        confidence=0.5,
        params_global=np.zeros(6, np.float32),
        params_local=np.zeros(34, np.float32),
        landmarks_px=np.zeros(136, np.float32),
        landmarks_mm=np.zeros(204, np.float32),
        pose=np.zeros(6),
    )
    seed = 10 * index + face_id
    return fit, AuFrame(index, face_id, np.zeros(17), np.zeros(18), hog(seed), face(seed))


def test_every_row_of_the_csv_has_a_descriptor_and_a_face(tmp_path: Path) -> None:
    sink = ResultSink(tmp_path / "a.csv", StageSettings(faces="all", hog=True, aligned=True), INFO)
    frame = Frame(1, 0.0, np.zeros((48, 64, 3), np.uint8))
    for rows in ([one_face(1, 0), one_face(1, 2, accepted=False)], [], [one_face(3, 2)]):
        sink.add(frame, [fit for fit, _ in rows], [au for _, au in rows])
    sink.finish(AuTable(np.zeros((3, 17)), np.zeros((3, 18))))
    good, rows = read_hog(tmp_path / "a.hog")
    assert good.tolist() == [True, False, True]
    assert np.array_equal(rows, [hog(10), hog(12), hog(32)])
    assert names(tmp_path / "a_aligned") == [
        "frame_det_00_000001.bmp",
        "frame_det_02_000001.bmp",
        "frame_det_02_000003.bmp",
    ]
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4
    assert names(tmp_path) == ["a.csv", "a.hog", "a_aligned"]


def test_a_file_that_cannot_be_opened_leaves_none_of_the_others(tmp_path: Path, monkeypatch) -> None:
    make = Path.mkdir

    def refuse(self: Path, *args: object, **more: object) -> None:
        if self.name == "aligned":
            raise OSError(28, "No space left on device")
        make(self, *args, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="a_aligned: cannot be written: No space left"):
        ResultSink(tmp_path / "a.csv", StageSettings(hog=True, aligned=True), INFO)
    assert names(tmp_path) == []
