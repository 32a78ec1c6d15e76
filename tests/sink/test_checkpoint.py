"""Checkpoints of a stream's files: gone on from to the byte, refused where anything does not fit, full disks."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auflow.errors import OutputError, StageError
from auflow.stages.records import AuFrame, AuTable, FaceFit, Frame, SourceInfo
from auflow.stages.settings import StageSettings
from auflow.stages.sink import ResultSink
from auflow.stages.sink.checkpoint import (
    Checkpoint,
    CheckpointError,
    Identity,
    SinkState,
    identity_of,
    read_checkpoint,
    write_checkpoint,
)
from auflow.stages.sink.workspace import WorkFolder
from auflow.stages.state import StateError, pack_state

INFO = SourceInfo("a.mp4", "video", 64, 48, 25.0, None)
IDENTITY = Identity("1", "{}", "s", "m")
SETTINGS = StageSettings(hog=True, aligned=True)


def face(index: int) -> tuple[list[FaceFit], list[AuFrame]]:
    rng = np.random.default_rng(index)

    def values(count: int) -> np.ndarray:
        return rng.normal(0, 100, count).astype(np.float32)

    fit = FaceFit(
        index=index,
        timestamp_s=index / 25,
        face_id=0,
        success=True,
        accepted=index % 3 > 0,
        confidence=0.5,
        params_global=values(6),
        params_local=values(34),
        landmarks_px=values(136),
        landmarks_mm=values(204),
        pose=rng.normal(0, 100, 6),
    )
    hog, aligned = values(4464), rng.integers(0, 256, (112, 112, 3), np.uint8)
    return [fit], [AuFrame(index, 0, np.zeros(17), np.zeros(18), hog, aligned)]


def table(rows: int) -> AuTable:
    rng = np.random.default_rng(0)
    return AuTable(rng.uniform(0, 5, (rows, 17)), np.zeros((rows, 18)))


def add(sink: ResultSink, first: int, last: int) -> None:
    frame = Frame(1, 0.0, np.zeros((48, 64, 3), np.uint8))
    for index in range(first, last + 1):
        sink.add(frame, *face(index))


def opened(folder: Path, resume: bytes | None = None, settings: StageSettings = SETTINGS) -> ResultSink:
    return ResultSink(folder / "a.csv", settings, INFO, resume, identity=IDENTITY)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """What an undisturbed stream of 20 frames leaves."""
    folder = tmp_path / "whole"
    folder.mkdir()
    sink = opened(folder)
    add(sink, 1, 20)
    sink.finish(table(20))
    return files(folder)


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """A folder with a stream that was cut off at frame 15, with a checkpoint after frame 12."""
    folder = tmp_path / "cut"
    folder.mkdir()
    sink = opened(folder)
    add(sink, 1, 5)
    sink.checkpoint(5, {"au": b"first"})
    add(sink, 6, 12)
    sink.checkpoint(12, {"clnf": b"c", "au": bytes(range(256))}, b"more")
    add(sink, 13, 15)
    sink.suspend()
    return folder


def test_what_was_given_comes_back(cut: Path) -> None:
    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    assert (found.frames, found.states, found.extra) == (12, {"clnf": b"c", "au": bytes(range(256))}, b"more")


def test_gone_on_with_to_the_byte(cut: Path, whole: dict[str, bytes]) -> None:
    assert sorted(path.name for path in cut.iterdir()) == [".a.auflow"]
    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    sink = opened(cut, found.sink)
    assert len(list((cut / ".a.auflow" / "aligned").iterdir())) == 12
    add(sink, 13, 20)
    sink.finish(table(20))
    assert files(cut) == whole


def test_begun_anew_nothing_of_the_earlier_run_is_left(cut: Path, whole: dict[str, bytes]) -> None:
    sink = opened(cut)
    assert read_checkpoint(cut / "a.csv", IDENTITY) == "there is no checkpoint"
    add(sink, 1, 20)
    sink.finish(table(20))
    assert files(cut) == whole


def test_interrupted_after_it_was_gone_on_with(cut: Path) -> None:
    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    assert opened(cut, found.sink).finish(table(12), interrupted=True) == cut / "a.partial.csv"
    assert sorted(path.name for path in cut.iterdir()) == ["a.partial.csv", "a.partial.hog", "a.partial_aligned"]


def test_any_changed_byte_or_cut_is_noticed(cut: Path) -> None:
    path = cut / ".a.auflow" / "checkpoint"
    blob = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in {*range(0, len(blob), 7), *rng.integers(0, len(blob), 60).tolist()}:
        changed = bytearray(blob)
        changed[place] ^= int(rng.integers(1, 256))
        for damaged in (bytes(changed), blob[:place]):
            path.write_bytes(damaged)
            assert isinstance(read_checkpoint(cut / "a.csv", IDENTITY), str)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "2"}, "auflow 1, this is 2"),
        ({"settings": '{"x": 1}'}, "other settings"),
        ({"source": "t"}, "another input"),
        ({"models": "n"}, "other model files"),
    ],
)
def test_of_another_run(cut: Path, change: dict[str, str], said: str) -> None:
    found = read_checkpoint(cut / "a.csv", dataclasses.replace(IDENTITY, **change))
    assert isinstance(found, str)
    assert said in found


def test_a_form_of_another_release(cut: Path) -> None:
    (cut / ".a.auflow" / "checkpoint").write_bytes(pack_state("checkpoint", 99, {}))
    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert "version 1, got checkpoint of version 99" in str(found)


@pytest.mark.parametrize("identity", [b"", b"7", b"{", b"[" * 100_000])
def test_forged_identities(cut: Path, identity: bytes) -> None:
    (cut / ".a.auflow" / "checkpoint").write_bytes(pack_state("checkpoint", 1, {"identity": identity}))
    assert "nothing is known of" in str(read_checkpoint(cut / "a.csv", IDENTITY))


@pytest.mark.parametrize(
    ("name", "said"), [("rows", "has not the 12 rows"), ("hog", "has not the"), ("aligned", "has not the 12 faces")]
)
def test_files_that_are_lost_or_short(cut: Path, name: str, said: str) -> None:
    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    path = cut / ".a.auflow" / name
    if path.is_dir():
        (path / "frame_det_00_000003.bmp").unlink()
    else:
        os.truncate(path, 1000)
    assert said in str(read_checkpoint(cut / "a.csv", IDENTITY))
    with pytest.raises(OutputError, match="cannot be gone on with"):
        opened(cut, found.sink)
    if path.is_dir():
        (path / "frame_det_00_000003.bmp").touch()  # as after a power failure
        assert said in str(read_checkpoint(cut / "a.csv", IDENTITY))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert said in str(read_checkpoint(cut / "a.csv", IDENTITY))
    assert (cut / ".a.auflow" / "checkpoint").exists()
    opened(cut).discard()
    assert list(cut.iterdir()) == []


def test_a_damaged_part_of_the_sink(cut: Path) -> None:
    with pytest.raises(StateError):
        opened(cut, b"nonsense")
    assert (cut / ".a.auflow" / "checkpoint").exists()


def test_outputs_that_can_have_none(tmp_path: Path) -> None:
    for settings, identity in ((StageSettings(overlay=True), IDENTITY), (StageSettings(), None)):
        sink = ResultSink(tmp_path / "a.csv", settings, INFO, identity=identity)
        assert not sink.can_checkpoint
        with pytest.raises(StageError, match="this output can have none"):
            sink.checkpoint(1, {})
        sink.discard()
    sink = opened(tmp_path)
    assert sink.can_checkpoint
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_stream_cannot_be_gone_on_with(cut: Path) -> None:
    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    opened(cut, found.sink).finish(table(12))
    assert read_checkpoint(cut / "a.csv", IDENTITY) == "there is no checkpoint"


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoint import add, opened
sink = opened(Path(sys.argv[2]))
add(sink, 1, 9)
sink.checkpoint(9, {})
add(sink, 10, 14)
print("killable", flush=True)
time.sleep(60)
"""


def test_after_sigkill_it_is_all_there(tmp_path: Path, whole: dict[str, bytes]) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "killable\n"
        run.send_signal(signal.SIGKILL)
    assert [path.name for path in folder.iterdir()] == [".a.auflow"]
    found = read_checkpoint(folder / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    assert found.frames == 9
    sink = opened(folder, found.sink)
    add(sink, 10, 20)
    sink.finish(table(20))
    assert files(folder) == whole


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoint import CheckpointError, OutputError, add, opened
what, folder = sys.argv[2], Path(sys.argv[3])
sink = opened(folder)
add(sink, 1, 12)
sink.checkpoint(12, {"au": b"small"})
limit = (folder / ".a.auflow" / "hog").stat().st_size + 30_000
soft = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
soft(limit)
try:
    if what == "checkpoint":
        sink.checkpoint(12, {"au": bytes(2 * limit)})
    else:
        add(sink, 13, 20)
except CheckpointError as error:
    print("checkpoint", error)
    soft(resource.RLIM_INFINITY)
    add(sink, 13, 15)
except OutputError as error:
    print("output", error)
sink.suspend()
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system has no limit for file sizes")
@pytest.mark.parametrize("what", ["checkpoint", "output"])
def test_a_full_disk_leaves_what_the_last_checkpoint_had(tmp_path: Path, whole: dict[str, bytes], what: str) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    command = [sys.executable, "-c", FULL_DISK, str(Path(__file__).parent), what, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith(what)
    assert "cannot be written: File too large; free some space" in run.stdout
    assert not (folder / ".a.auflow" / "checkpoint.new").exists()
    found = read_checkpoint(folder / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    assert (found.frames, found.states) == (12, {"au": b"small"})
    sink = opened(folder, found.sink)
    add(sink, 13, 20)
    sink.finish(table(20))
    assert files(folder) == whole


def test_rows_that_cannot_be_flushed_end_no_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = opened(tmp_path)
    add(sink, 1, 2)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("auflow.stages.sink.spool.sync_data", refuse)
        with pytest.raises(CheckpointError, match=r"no checkpoint after frame 2: .* No space left on device"):
            sink.checkpoint(2, {})
    add(sink, 3, 4)
    sink.checkpoint(4, {})
    sink.finish(table(4))


def test_no_text_of_the_csv_for_a_full_disk_keeps_the_rows(cut: Path, whole: dict[str, bytes], monkeypatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    found = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    sink = opened(cut, found.sink)
    add(sink, 13, 20)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OutputError, match=r"a\.csv: cannot be written: No space left"):
            sink.finish(table(20))
    sink.suspend()
    assert [path.name for path in cut.iterdir()] == [".a.auflow"]
    again = read_checkpoint(cut / "a.csv", IDENTITY)
    assert isinstance(again, Checkpoint)
    sink = opened(cut, again.sink)
    add(sink, 13, 20)
    sink.finish(table(20))
    assert files(cut) == whole


def test_identity_of_files_folders_and_addresses(tmp_path: Path) -> None:
    video, folder, models = tmp_path / "a.mp4", tmp_path / "images", tmp_path / "models"
    video.write_bytes(b"x" * 10)
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"x")

    def of(source: Path | str, **settings: object) -> Identity:
        return identity_of(source, StageSettings(**settings), models)

    first, images, address = of(video), of(folder), of("rtsp://user:secret@camera/1")
    assert len({first.source, images.source, address.source, of("rtsp://camera/2").source}) == 4
    assert first == of(video) == of(tmp_path / "images" / ".." / "a.mp4")
    assert "secret" not in json.dumps(dataclasses.asdict(address))
    assert of(video, hog=True).settings != first.settings
    assert of(video, model="ceclm").models != first.models
    (folder / "notes.txt").write_text("no image")
    assert of(folder) == images
    (folder / "2.jpg").write_bytes(b"y")
    assert of(folder).source != images.source
    os.utime(video, ns=(1, 1))
    second = of(video)
    assert second.source != first.source
    video.write_bytes(b"x" * 11)
    os.utime(video, ns=(1, 1))
    assert of(video).source != second.source
    assert of("x" * 5000).source != of("y" * 5000).source


def test_the_sinks_state_comes_back() -> None:
    for state in (SinkState(0, 0, None, None), SinkState(3, 300, 0, 0, -1), SinkState(3, 300, 9, 2, 17)):
        assert SinkState.unpack(state.pack()) == state


def test_the_checkpoint_before_stays_when_the_next_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WorkFolder(tmp_path / "a.csv")
    (work / "rows").write_bytes(b"")
    state = SinkState(0, 0, None, None).pack()
    write_checkpoint(work, Checkpoint(1, {}, state, b""), IDENTITY)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(work, Checkpoint(2, {}, state, b""), IDENTITY)
    found = read_checkpoint(tmp_path / "a.csv", IDENTITY)
    assert isinstance(found, Checkpoint)
    assert found.frames == 1
    work.discard()
    assert list(tmp_path.iterdir()) == []
