"""The annotated video: as long as the input, readable, and drawn where the face is."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from auflow.errors import OutputError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.sink.drawing import ABSENT, PRESENT, draw_face, draw_panel
from auflow.stages.sink.overlay import OverlaySink


def info(**changes: object) -> SourceInfo:
    values = {"path": "a.mp4", "kind": "video", "width_px": 61, "height_px": 47, "fps": 25.0, "frame_count": None}
    return SourceInfo(**(values | changes))


def fit(index: int, timestamp_s: float, *, success: bool = True, tz: float = 500.0) -> FaceFit:
    x, y = np.meshgrid(np.linspace(20, 40, 17), np.linspace(15, 30, 4))
    return FaceFit(
        index=index,
        timestamp_s=timestamp_s,
        face_id=0,
        success=success,
        accepted=success,
        confidence=0.9,
        params_global=np.zeros(6, np.float32),
        params_local=np.zeros(34, np.float32),
        landmarks_px=np.concatenate([x.ravel(), y.ravel()]).astype(np.float32),
        landmarks_mm=np.zeros(204, np.float32),
        pose=np.array([0, 0, tz, 0, 0, 0]),
    )


def au(index: int = 1, *, intensity: float = 2.5, presence: float = 1) -> AuFrame:
    return AuFrame(index, 0, np.full(17, intensity), np.full(18, presence))


def black(height: int = 47, width: int = 61) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("kind", "times", "expected"),
    [("video", [0, 0.04, 0.08, 0.5], [0, 0.04, 0.08, 0.5]), ("images", [0, 0, 0, 0], [0, 0.04, 0.08, 0.12])],
)
def test_frames_and_times(tmp_path: Path, kind: str, times: list[float], expected: list[float]) -> None:
    sink = OverlaySink(tmp_path / "a.overlay.mp4", tmp_path, info(kind=kind, fps=25.0 if kind == "video" else 0.0))
    for index, time in enumerate(times, start=1):
        sink.add(Frame(index, time, black()), [fit(index, time, success=index > 1)], [au(index)])
    sink.prepare()
    assert sink.publish() == tmp_path / "a.overlay.mp4"
    sink.close()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.overlay.mp4"]
    with av.open(str(tmp_path / "a.overlay.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx(expected, abs=1e-3)
    assert (frames[0].width % 2, frames[0].height % 2, frames[0].height) == (0, 0, 480)
    first, second = (frame.to_ndarray(format="bgr24")[:, :600] for frame in frames[:2])
    assert first.max() < 60  # no face, nothing drawn
    assert second.max() > 200


def test_partial(tmp_path: Path) -> None:
    sink = OverlaySink(tmp_path / "a.overlay.mp4", tmp_path, info())
    sink.add(Frame(1, 0.0, black()), [fit(1, 0.0)], [au()])
    sink.prepare()
    assert sink.publish(interrupted=True) == tmp_path / "a.partial.overlay.mp4"
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial.overlay.mp4"]


def test_discarded(tmp_path: Path) -> None:
    sink = ResultSink(tmp_path / "b.csv", StageSettings(overlay=True), info())
    sink.add(Frame(1, 0.0, black()), [fit(1, 0.0)], [au()])
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.overlay\.mp4: cannot be written: No such file"):
        OverlaySink(tmp_path / "gone" / "a.overlay.mp4", tmp_path / "gone", info())


def test_face_is_drawn_where_it_is_at_any_scale() -> None:
    for scale in (1, 4):
        picture = black(47 * scale, 61 * scale)
        draw_face(picture, fit(1, 0.0, tz=-1.0), scale=scale)  # behind the camera: no box
        rows, columns = np.nonzero(picture.max(axis=2))
        margin = 2 * scale
        assert rows.min() == pytest.approx(15 * scale, abs=margin)
        assert rows.max() == pytest.approx(30 * scale, abs=margin)
        assert columns.min() == pytest.approx(20 * scale, abs=margin)
        assert columns.max() == pytest.approx(40 * scale, abs=margin)


def test_far_and_undefined_points_do_no_harm() -> None:
    wild = fit(1, 0.0)
    wild.landmarks_px[:3] = (np.nan, 1e30, -1e30)
    draw_face(black(), wild)


def test_bar_length_is_the_intensity() -> None:
    def coloured(intensity: float, presence: float, colour: tuple[int, int, int]) -> int:
        panel = black(480, 320)
        draw_panel(panel, Frame(1, 0.0, black()), (fit(1, 0.0), au(intensity=intensity, presence=presence)))
        return int((panel == colour).all(axis=2).sum())

    half, whole = coloured(2.5, 0, ABSENT), coloured(5.0, 0, ABSENT)
    assert whole == pytest.approx(2 * half, rel=0.02)
    assert coloured(9.0, 0, ABSENT) == whole
    assert coloured(0.0, 0, ABSENT) == 0
    assert coloured(5.0, 1, PRESENT) >= whole


FULL_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from test_overlay import AuTable, Frame, OutputError, ResultSink, StageSettings, info
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
sink = None
try:
    sink = ResultSink(Path(sys.argv[3]) / "a.csv", StageSettings(overlay=True), info(width_px=640, height_px=480))
    for index in range(1, 60):
        sink.add(Frame(index, index / 25, noise), [], [])
    sink.finish(AuTable(np.zeros((0, 17)), np.zeros((0, 18))))
except OutputError as error:
    print(error)
    if sink is not None:
        sink.discard()
"""


@pytest.mark.parametrize("limit", [0, 100_000])
def test_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path, limit: int) -> None:
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, here, str(limit), str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "a.overlay.mp4: cannot be written: File too large; free some space" in run.stdout
    assert list(tmp_path.iterdir()) == []


def moved(face: FaceFit, right_px: float) -> FaceFit:
    landmarks = face.landmarks_px.copy()
    landmarks[:68] += right_px
    return dataclasses.replace(face, landmarks_px=landmarks)


def test_every_face_is_drawn_and_the_panel_is_of_the_first_that_is_found(tmp_path: Path) -> None:
    size = {"width_px": 640, "height_px": 480}
    near = fit(1, 0.0, tz=-1.0)  # behind the camera: no box
    faces = [moved(near, 0), moved(near, 200), moved(near, 400)]
    lost = dataclasses.replace(faces[0], success=False)
    frames = [(faces, [1, 3, 5]), ([lost, *faces[1:]], [1, 3, 5]), ([], [])]
    sink = OverlaySink(tmp_path / "a.overlay.mp4", tmp_path, info(**size))
    for index, (shown, intensities) in enumerate(frames, start=1):
        sink.add(Frame(index, index / 25, black(480, 640)), shown, [au(intensity=value) for value in intensities])
    sink.prepare()
    sink.publish()
    with av.open(str(tmp_path / "a.overlay.mp4")) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]

    def where(picture: np.ndarray) -> list[bool]:
        return [bool(picture[10:40, left : left + 60].max() > 150) for left in (0, 200, 400)]

    def bars(picture: np.ndarray) -> int:
        panel = picture[:, 640:].astype(int)
        return int((panel[..., 2] - panel[..., 0] > 100).sum())

    assert [where(picture[:, :640]) for picture in pictures] == [[True] * 3, [False, True, True], [False] * 3]
    assert bars(pictures[1]) > 2 * bars(pictures[0]) > 0 == bars(pictures[2])


def test_the_head_is_drawn_where_the_camera_sees_it() -> None:
    def box(camera: tuple[float, float, float, float] | None, scale: int = 1) -> tuple[float, float, float]:
        picture = black(480 * scale, 640 * scale)
        far = dataclasses.replace(fit(1, 0.0, tz=1000.0), landmarks_px=np.full(136, -900, np.float32))
        draw_face(picture, far, scale=scale, camera=camera)
        rows, columns = np.nonzero(picture.max(axis=2))
        return float(columns.mean()) / scale, float(rows.mean()) / scale, float(np.ptp(columns)) / scale

    guessed = box(None)
    assert box((500, 500, 320, 240)) == guessed
    assert guessed[2] == pytest.approx(500 * 160 / 955, rel=0.05)
    wide = box((1000, 500, 320, 240))
    assert wide[2] == pytest.approx(2 * guessed[2], rel=0.05)
    assert wide[:2] == pytest.approx(guessed[:2], abs=2)
    assert box((500, 500, 420, 200)) == pytest.approx((guessed[0] + 100, guessed[1] - 40, guessed[2]), abs=2)
    assert box((500, 500, 420, 200), scale=2) == pytest.approx(box((500, 500, 420, 200)), abs=3)


def test_the_annotated_video_knows_the_camera_of_the_run(tmp_path: Path) -> None:
    def shown(name: str, camera: tuple[float, float, float, float] | None) -> np.ndarray:
        sink = ResultSink(
            tmp_path / f"{name}.csv", StageSettings(overlay=True, camera=camera), info(width_px=640, height_px=480)
        )
        sink.add(Frame(1, 0.0, black(480, 640)), [fit(1, 0.0)], [au()])
        sink.finish(AuTable(np.zeros((1, 17)), np.zeros((1, 18))))
        with av.open(str(tmp_path / f"{name}.overlay.mp4")) as container:
            return next(container.decode(video=0)).to_ndarray(format="bgr24")

    guessed = shown("a", None)
    assert np.array_equal(guessed, shown("b", (500, 500, 320, 240)))
    assert not np.array_equal(guessed, shown("c", (900, 900, 320, 240)))
