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
from auflow.stages.sink import ResultSink, encoders, video_file
from auflow.stages.sink.drawing import (
    ABSENT,
    BOX,
    CONTOUR,
    GAZE,
    HIDDEN,
    IRIS,
    PANEL,
    POINT,
    PRESENT,
    UNSURE,
    draw_face,
    draw_label,
    draw_panel,
)
from auflow.stages.sink.encoders import Encoder
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


LARGER = 4  # so that lines are thicker than the blur at their edges


def drawn(face: FaceFit) -> np.ndarray:
    """The face in an empty picture of 640 x 480, `LARGER`."""
    picture = black(480 * LARGER, 640 * LARGER)
    draw_face(picture, face, scale=LARGER)
    return picture


def colours(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns (n, 2) of the pixels that have exactly this colour, as of 640 x 480."""
    return np.argwhere((picture == colour).all(axis=2)) / LARGER


def test_landmarks_that_the_camera_does_not_see_are_faint() -> None:
    columns, rows = np.arange(10, 622, 9.0), np.where(np.arange(68) % 2, 90.0, 110.0)
    spread = dataclasses.replace(fit(1, 0.0, tz=-1.0), landmarks_px=np.concatenate([columns, rows]).astype(np.float32))
    seen = drawn(spread)
    turned = drawn(dataclasses.replace(spread, visible=(np.arange(68) >= 34).astype(np.uint8)))
    assert len(colours(seen, HIDDEN)) == 0
    assert (
        200 < colours(turned, HIDDEN)[:, 1].max() < columns[35]
    )  # the first that is seen has a line to one that is not
    assert colours(turned, CONTOUR)[:, 1].min() > columns[33]
    assert colours(turned, POINT)[:, 1].min() > columns[33]


def test_head_box_tells_how_sure_the_fit_is() -> None:
    def box(confidence: float) -> np.ndarray:
        far = dataclasses.replace(fit(1, 0.0, tz=1000.0), landmarks_px=np.full(136, -900, np.float32))
        return drawn(dataclasses.replace(far, confidence=confidence))

    sure, unsure, between = box(1.0), box(0.2), box(0.7)
    assert len(colours(sure, BOX)) == len(colours(unsure, UNSURE)) > 50
    assert len(colours(sure, UNSURE)) == len(colours(unsure, BOX)) == 0
    assert unsure[..., 1].max() < between[..., 1].max() < sure[..., 1].max()


def looking(direction: tuple[float, float, float], *, large: bool = True) -> FaceFit:
    """A face whose irises are 10 px wide at (260, 240) and (380, 240), 500 mm away: 1 px is 1 mm there."""
    ring = 5 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)])
    px, mm = np.zeros((2, 56), np.float32), np.zeros((3, 56), np.float32)
    for eye, x in enumerate((-60, 60)):
        px[:, 28 * eye : 28 * eye + 8] = ring + np.array([[320 + x], [240]])
        mm[:, 28 * eye : 28 * eye + 28] = np.array([[x], [0], [500]])
    landmarks = np.concatenate([np.linspace(220, 420 if large else 240, 68), np.full(68, 20)])
    return dataclasses.replace(
        fit(1, 0.0, tz=-1.0),
        landmarks_px=landmarks.astype(np.float32),
        eyes_px=px.ravel(),
        eyes_mm=mm.ravel(),
        gaze=np.array([*direction, *direction, 0, 0]),
    )


def test_gaze_goes_from_the_irises_where_the_eyes_look() -> None:
    picture = drawn(looking((0.6, 0.8, 0.0)))
    rows, columns = colours(picture, GAZE).T
    assert len(colours(picture, IRIS)) > 10
    assert (columns.min(), columns.max()) == pytest.approx((260, 380 + 0.6 * 50), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((240, 240 + 0.8 * 50), abs=2)


def test_no_gaze_and_no_room_for_irises() -> None:
    blind, small = drawn(looking((0.0, 0.0, 0.0))), drawn(looking((0.6, 0.8, 0.0), large=False))
    assert len(colours(blind, GAZE)) == len(colours(blind, IRIS)) == 0
    assert len(colours(small, GAZE)) > 10
    assert len(colours(small, IRIS)) == 0


def test_eyes_behind_the_camera_do_no_harm() -> None:
    face = looking((0.6, 0.8, 0.0))
    picture = drawn(dataclasses.replace(face, eyes_mm=-face.eyes_mm))
    assert len(colours(picture, GAZE)) == 0 < len(colours(picture, IRIS))


@pytest.mark.parametrize("right_px", [0, -4000, 4000])
def test_label_stays_in_the_picture(right_px: float) -> None:
    picture = black(480, 640)
    draw_label(picture, moved(fit(1, 0.0), right_px))
    rows, columns = np.argwhere((picture == PANEL).all(axis=2)).T
    assert 0 < rows.min() < rows.max() < 479
    assert 0 <= columns.min() < columns.max() <= 639
    assert picture.max() > 200  # and there is something in it


def test_only_several_faces_are_numbered(tmp_path: Path) -> None:
    def shown(faces: str) -> np.ndarray:
        sink = ResultSink(
            tmp_path / f"{faces}.csv",
            StageSettings(overlay=True, faces=faces),  # type: ignore[arg-type]
            info(width_px=640, height_px=480),
        )
        sink.add(Frame(1, 0.0, black(480, 640)), [moved(fit(1, 0.0, tz=-1.0), 200)], [au()])
        sink.finish(AuTable(np.zeros((1, 17)), np.zeros((1, 18))))
        with av.open(str(tmp_path / f"{faces}.overlay.mp4")) as container:
            return next(container.decode(video=0)).to_ndarray(format="bgr24")

    alone, several = shown("widest"), shown("all")
    assert alone[35:100, :640].max() < 60 < 150 < several[35:100, :640].max()
    assert not np.array_equal(alone[:35, 640:], several[:35, 640:])


def record(folder: Path, pictures: int = 3, **changes: object) -> OverlaySink:
    sink = OverlaySink(folder / "a.overlay.mp4", folder, info(), **changes)  # type: ignore[arg-type]
    for index in range(1, pictures + 1):
        sink.add(Frame(index, index / 25, black()), [fit(index, index / 25)], [au(index)])
    sink.prepare()
    sink.publish()
    return sink


def fail_at(monkeypatch: pytest.MonkeyPatch, encoder: str, picture: int | None) -> None:
    """Have an encoder fail at a picture, from 1; None is the end."""
    encode, count = video_file._encode, [0]

    def failing(stream: object, shown: av.VideoFrame | None) -> list[av.Packet]:
        if stream.codec_context.name == encoder:  # type: ignore[attr-defined]
            count[0] += 1
            if (shown is None) if picture is None else count[0] == picture:
                raise av.error.ExternalError(0x20, "no room on the card")
        return encode(stream, shown)  # type: ignore[arg-type]

    monkeypatch.setattr(video_file, "_encode", failing)


def frames_of(folder: Path) -> int:
    with av.open(str(folder / "a.overlay.mp4")) as container:
        return sum(1 for _ in container.decode(video=0))


def test_first_encoder_is_taken_without_a_word(tmp_path: Path) -> None:
    sink = record(tmp_path, encoders=("mpeg4", "libx264"))
    assert (sink.encoder, sink.note, frames_of(tmp_path)) == ("mpeg4", "", 3)


def test_encoder_that_cannot_be_opened_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoders.ENCODERS, "no_such", Encoder("no_such", "the moon", "yuv420p"))
    sink = record(tmp_path, encoders=("no_such", "mpeg4"))
    assert (sink.encoder, frames_of(tmp_path)) == ("mpeg4", 3)
    assert sink.note == "a.overlay.mp4 is encoded by mpeg4, for others did not take it: no_such: no_such"


def test_encoder_that_fails_at_the_first_picture_gives_way_and_no_picture_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "libx264", 1)
    sink = record(tmp_path, encoders=("libx264", "mpeg4"))
    assert (sink.encoder, frames_of(tmp_path)) == ("mpeg4", 3)
    assert "libx264: no room on the card" in sink.note


@pytest.mark.parametrize(("picture", "where"), [(2, "in the middle"), (None, "at the end")])
def test_encoder_that_fails_later_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: int | None, where: str
) -> None:
    fail_at(monkeypatch, "libx264", picture)
    with pytest.raises(
        OutputError, match=f"libx264 failed {where}: no room on the card; take another encoder with --ov"
    ):
        record(tmp_path, encoders=("libx264", "mpeg4"))


def test_no_encoder_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, "mpeg4", 1)
    with pytest.raises(OutputError, match="no encoder takes this video: mpeg4: no room on the card; take another"):
        record(tmp_path, encoders=("mpeg4",))
