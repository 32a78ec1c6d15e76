"""The modes of `auflow run` with the real stages: several faces, pictures, camera, static and wild, files beside."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from auflow import cli, run_command
from auflow.stages.sink.faces import read_hog

POINTS = [f"{axis}_{k}" for axis in "xy" for k in range(68)]
SPACE = [f"{axis}_{k}" for axis in "XYZ" for k in range(68)]

Rows = list[dict[str, float]]


def read(text: str) -> Rows:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    return [{name: float(value) for name, value in row.items()} for row in rows]


def pick(rows: Rows, names: Iterable[str]) -> np.ndarray:
    names = list(names)
    return np.array([[row[name] for name in names] for row in rows])


def distances(ours: Rows, theirs: Rows) -> np.ndarray:
    """(rows, 68) px."""
    planes = (pick(ours, POINTS) - pick(theirs, POINTS)).reshape(len(ours), 2, 68)
    return np.hypot(planes[:, 0], planes[:, 1])


def aus(kind: str, row: dict[str, float]) -> list[str]:
    return [name for name in row if name.startswith("AU") and name.endswith(kind)]


@pytest.fixture
def run(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`run("a.mp4", "--hog", out="x")`: the folder of the results, from one process unless told otherwise."""
    monkeypatch.setattr(run_command, "pin_threads", lambda: None)  # the environment of the tests stays

    def run(*arguments: str | Path, out: str = "out", inline: bool = True) -> Path:
        how = ["--inline"] if inline else ["--jobs", "1"]
        assert cli.main(["run", *map(str, arguments), "-o", str(tmp_path / out), "--quiet", *how]) == 0
        return tmp_path / out

    return run


@pytest.fixture(scope="session")
def astronauts(demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures: eight black ones, then two with the demo's face twice, side by side."""
    folder = tmp_path_factory.mktemp("pictures") / "two"
    folder.mkdir()
    capture = cv2.VideoCapture(str(demo_dir / "astronaut.mp4"))
    for number in range(1, 11):
        picture = capture.read()[1]
        picture = np.hstack([picture, picture]) if number > 8 else np.zeros((320, 640, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    capture.release()
    return folder


def cut(clip: Path, frames: int, path: Path) -> Path:
    """The first frames of a clip, its packets unchanged."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or frames == 0:
                break
            packet.stream = stream
            target.mux(packet)
            frames -= 1
    return path


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_frames_without_a_face_have_no_row(run, astronauts: Path) -> None:
    folder = run(astronauts, "--multi-face", "--hog", "--aligned", "--overlay")
    rows = read((folder / "two.csv").read_text())
    assert [(row["frame"], row["face_id"], row["success"]) for row in rows] == [
        (9, 0, 1),
        (9, 1, 1),
        (10, 0, 1),
        (10, 1, 1),
    ]
    faces = sorted(path.name for path in (folder / "two_aligned").iterdir())
    assert faces == [f"frame_det_{face:02}_{frame:06}.bmp" for face in (0, 1) for frame in (9, 10)]
    good, hogs = read_hog(folder / "two.hog")
    assert good.tolist() == [True] * 4
    # The same face twice, 320 px apart: nearly the same descriptor.
    assert np.abs(hogs[0] - hogs[1]).mean() < 0.015
    assert np.abs(hogs[0] - hogs[1][::-1]).mean() > 0.05
    assert np.abs(np.diff(np.sort(pick(rows[:2], ["x_30"])[:, 0])) - 320) < 1
    with av.open(str(folder / "two.overlay.mp4")) as container:
        shown = [frame.to_ndarray(format="bgr24")[:, :960] for frame in container.decode(video=0)]
    assert len(shown) == 10
    assert max(int(picture.max()) for picture in shown[:8]) < 60
    for half in (shown[8][:, :480], shown[8][:, 480:]):
        orange = (half[..., 2].astype(int) - half[..., 0]) > 90  # the box around each head
        assert orange.sum() > 300


def test_separate_processes_write_the_same_bytes_of_several_faces(run, astronauts: Path) -> None:
    arguments = (astronauts, "--multi-face", "--hog", "--aligned", "--precision", "full")
    alone, apart = (all_files(run(*arguments, out=out, inline=out == "a")) for out in "ab")
    assert len(alone) == 6
    assert alone == apart


def test_separate_processes_write_the_same_bytes_of_pictures(run, astronauts: Path) -> None:
    pictures = [astronauts / f"{number:02}.png" for number in (1, 9, 10)]
    arguments = (*pictures, "--images", "--hog", "--aligned", "--precision", "full")
    alone, apart = (all_files(run(*arguments, out=out, inline=out == "a")) for out in "ab")
    assert set(alone) == {
        "01.csv",
        "01.hog",
        *(name for number in ("09", "10") for name in (f"{number}.csv", f"{number}.hog")),
        *(f"{number}_aligned/face_det_{face:06}.bmp" for number in ("09", "10") for face in (0, 1)),
    }
    assert alone == apart
    # No face at all: a header, no descriptor.
    assert alone["01.hog"] == b""
    assert alone["01.csv"].count(b"\n") == 1
    assert alone["01.csv"] == alone["09.csv"][: len(alone["01.csv"])]


def test_no_face_in_any_frame_is_a_header(run, astronauts: Path, tmp_path: Path) -> None:
    (tmp_path / "black").mkdir()
    for number in (1, 2):
        (tmp_path / "black" / f"{number}.png").write_bytes((astronauts / "01.png").read_bytes())
    folder = run(tmp_path / "black", "--multi-face", "--hog", "--aligned")
    assert (folder / "black.csv").read_text().count("\n") == 1
    assert (folder / "black.csv").read_text().startswith("frame, face_id, timestamp, ")
    assert (folder / "black.hog").read_bytes() == b""
    assert list((folder / "black_aligned").iterdir()) == []


def test_boxes_take_the_place_of_detection(run, astronauts: Path, tmp_path: Path) -> None:
    found = read((run(astronauts / "09.png", "--images", "--precision", "full", out="a") / "09.csv").read_text())
    (tmp_path / "boxes").mkdir()
    right = max(found, key=lambda row: row["x_30"])
    corners = pick([right], POINTS).reshape(2, 68)
    box = [*corners.min(axis=1), *corners.max(axis=1)]
    (tmp_path / "boxes" / "09.txt").write_text(" ".join(f"{value:.2f}" for value in box) + "\n")
    arguments = (astronauts / "09.png", "--images", "--boxes", tmp_path / "boxes", "--precision", "full")
    (row,) = read((run(*arguments, out="b") / "09.csv").read_text())
    assert row["face"] == 0
    # Another start, the same face: the fit has a tolerance of its own.
    assert np.median(distances([row], [right])) < 1.5
    assert row["x_30"] > 320
    (tmp_path / "boxes" / "09.txt").write_text("")
    assert read((run(*arguments, out="c") / "09.csv").read_text()) == []


def test_a_camera_moves_what_is_in_space_and_nothing_else(run, demo_dir: Path, tmp_path: Path) -> None:
    clip = cut(demo_dir / "astronaut.mp4", 8, tmp_path / "short.mp4")
    camera = ("--fx", "700", "--fy", "650", "--cx", "150", "--cy", "170")
    texts = [
        (run(clip, "--precision", "full", *more, out=f"o{len(more)}") / "short.csv").read_text()
        for more in ((), camera)
    ]
    guessed, given = (read(text) for text in texts)
    assert len(given) == 8
    moved = ["pose_T", "pose_R", "gaze_", "eye_lmk_X", "eye_lmk_Y", "eye_lmk_Z", "X_", "Y_", "Z_"]
    kept = [name for name in guessed[0] if not name.startswith(tuple(moved))]
    assert {*POINTS, "AU12_r", "AU45_c", "p_scale", "p_33", "eye_lmk_x_0", "confidence"} <= set(kept)
    assert np.array_equal(pick(guessed, kept), pick(given, kept))
    for prefix in ("pose_T", "pose_R", "X_", "Y_", "Z_", "eye_lmk_Z", "gaze_0"):
        names = [name for name in guessed[0] if name.startswith(prefix)]
        assert np.abs(pick(guessed, names) - pick(given, names)).min(axis=0).max() > 1e-3, prefix
    # What is in space projects back to the picture with the camera that was given.
    X, Y, Z = pick(given, SPACE).reshape(8, 3, 68).transpose(1, 0, 2)
    back = np.stack([X / Z * 700 + 150, Y / Z * 650 + 170], axis=1).reshape(8, -1)
    assert np.abs(back - pick(given, POINTS)).max() < 1e-3


@pytest.mark.golden
def test_several_faces_as_the_cpp_program_has_them(run, golden: Path, media: Path, tmp_path: Path) -> None:
    """Its CSV has one decimal (0.04 px on average) and no more; seen here: 0.040 and 0.058 px, all AUs within 0.2.

    Over 24 frames one presence more or less decides about 99 %: both programs differ in 12 or 13 of 1260.
    """
    clip = cut(media / "multi_face.avi", 48, tmp_path / "short.avi")
    ours = read((run(clip, "--multi-face", "--precision", "full") / "short.csv").read_text())
    with gzip.open(golden / "multi_face_multi" / "std.csv.gz", "rt") as file:
        theirs = [row for row in read(file.read()) if row["frame"] <= 48]
    assert [(row["frame"], row["face_id"]) for row in ours] == [(row["frame"], row["face_id"]) for row in theirs]
    assert np.mean(pick(ours, ["success"]) == pick(theirs, ["success"])) > 0.98
    assert np.abs(pick(ours, ["timestamp"]) - pick(theirs, ["timestamp"])).max() < 6e-4
    both = [k for k, row in enumerate(theirs) if row["success"] == 1 == ours[k]["success"]]
    mine, his = [ours[k] for k in both], [theirs[k] for k in both]
    error = distances(mine, his)
    assert np.median(error) < 0.05
    assert np.percentile(error, 90) < 0.08
    difference = np.abs(pick(mine, aus("_r", ours[0])) - pick(his, aus("_r", ours[0])))
    assert difference.mean() < 0.02  # the floor of one face in a video is 0.007 to 0.011
    assert np.mean(pick(mine, aus("_c", ours[0])) == pick(his, aus("_c", ours[0]))) > 0.99
    # Faces that the validator refused have AUs too, and zero gaze.
    refused = [k for k, row in enumerate(theirs) if row["success"] == 0 == ours[k]["success"]]
    assert refused
    names = aus("_r", ours[0])
    assert np.abs(pick([ours[k] for k in refused], names) - pick([theirs[k] for k in refused], names)).mean() < 0.1
    assert pick([ours[k] for k in refused], names).any()


@pytest.mark.golden
def test_pictures_as_the_cpp_program_has_them(run, golden: Path, media: Path) -> None:
    """Fifteen faces of four pictures, in its order. Its landmarks have one decimal; seen here: median 0.042, at most
    0.27 px, AUs 0.019 on average, 269 of 270 presences. The other two files of golden/images are of other pictures.
    """
    names = [f"sample{number}" for number in (1, 3, 5, 6)]
    folder = run(*(media / f"{name}.jpg" for name in names), "--images", "--precision", "full")
    errors, intensities, presences = [], [], []
    for name in names:
        ours, theirs = (read((place / f"{name}.csv").read_text()) for place in (folder, golden / "images"))
        assert [row["face"] for row in ours] == [row["face"] for row in theirs]
        errors.append(distances(ours, theirs))
        intensities.append(np.abs(pick(ours, aus("_r", ours[0])) - pick(theirs, aus("_r", ours[0]))))
        presences.append(pick(ours, aus("_c", ours[0])) == pick(theirs, aus("_c", ours[0])))
        assert np.abs(pick(ours, ["confidence"]) - pick(theirs, ["confidence"])).max() < 6e-4
    error = np.concatenate(errors)
    assert len(error) == 15
    assert np.median(error) < 0.06
    assert error.max() < 0.6
    assert np.concatenate(intensities).mean() < 0.04
    assert np.concatenate(presences).mean() > 0.98


@pytest.mark.golden
def test_two_reference_files_are_of_other_pictures(golden: Path, media: Path) -> None:
    """Why samples 2 and 4 are left out: one has faces outside of its picture, the other's face is elsewhere."""
    rows = read((golden / "images" / "sample2.csv").read_text())
    assert cv2.imread(str(media / "sample2.jpg")).shape == (400, 640, 3)
    assert max(row["x_30"] for row in rows) > 1700
    (row,) = read((golden / "images" / "sample4.csv").read_text())
    gray = cv2.imread(str(media / "sample4.jpg"), cv2.IMREAD_GRAYSCALE)
    eyes = np.array([[row[f"x_{k}"], row[f"y_{k}"]] for k in range(36, 48)]).reshape(2, 6, 2).mean(axis=1)
    # Where the reference has its second eye, this picture has bright skin; its pupils have a gray level of 30.
    x, y = eyes[1].astype(int)
    assert gray[y - 2 : y + 3, x - 2 : x + 3].mean() > 120


@pytest.mark.golden
@pytest.mark.parametrize("mode", ["static", "wild"])
def test_first_frames_of_static_and_wild(run, golden: Path, media: Path, tmp_path: Path, mode: str) -> None:
    """-au_static has no pass over the whole video but the smoothing, so 60 frames tell; -wild is about the fit."""
    clip = cut(media / "2015-10-15-15-14.avi", 60, tmp_path / "short.avi")
    option = {"static": "-au_static", "wild": "-wild"}[mode]
    ours = read((run("-f", clip, option, "--precision", "full") / "short.csv").read_text())[:56]
    theirs = read((golden / f"2015-10-15-15-14_{mode}" / "full.csv").read_text())[:56]
    assert np.array_equal(pick(ours, ["frame", "success"]), pick(theirs, ["frame", "success"]))
    error = distances(ours, theirs)
    assert np.median(error) < {"static": 0.02, "wild": 0.025}[mode]
    assert np.percentile(error, 90) < {"static": 0.08, "wild": 0.1}[mode]
    plain = read((golden / "2015-10-15-15-14" / "full.csv").read_text())[:56]
    if mode == "wild":
        assert np.median(distances(ours, plain)) > 0.08  # the option does something
        return
    names = aus("_r", ours[0])
    difference = np.abs(pick(ours, names) - pick(theirs, names))
    assert difference.mean() < 0.02
    assert np.mean(pick(ours, aus("_c", ours[0])) == pick(theirs, aus("_c", ours[0]))) > 0.99
    assert np.abs(pick(ours, names) - pick(plain, names)).mean() > 0.1


@pytest.mark.golden
def test_aligned_faces_and_descriptors_are_those_of_the_traces(run, golden: Path, media: Path, tmp_path: Path) -> None:
    """What --hog and --aligned write is what the C++ program fed to its AU models."""
    clip = cut(media / "2015-10-15-15-14.avi", 2, tmp_path / "short.avi")
    folder = run(clip, "--hog", "--aligned")
    trace = golden / "2015-10-15-15-14" / "trace"
    good, hogs = read_hog(folder / "short.hog")
    assert good.tolist() == [True, True]
    for row in range(2):
        assert np.abs(hogs[row] - np.load(trace / f"f{row + 1:06}_hog.npy").reshape(-1)).mean() < 1e-3
        face = cv2.imread(str(folder / "short_aligned" / f"frame_det_00_{row + 1:06}.bmp"))
        expected = np.load(trace / f"f{row + 1:06}_aligned.npy")
        assert np.abs(face.astype(int) - expected).mean() < 0.2
