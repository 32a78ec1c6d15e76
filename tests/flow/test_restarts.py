"""Workers that die, hang or raise in the middle of real runs with fake stages: the results are as if they had not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from auflow.errors import StageError
from auflow.flow.supervision import Limits

from .conftest import Place, until

ROLES = ["decode", "detect", "clnf", "au", "sink"]
IMPATIENT = Limits(silence_s=1.0, silence_per_frame_s=0.0)
QUICK = Limits(back_off_s=(0.0,))

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for left-overs in /proc")


def fault(monkeypatch: pytest.MonkeyPatch, *faults: str, delay_s: float = 0.004) -> None:
    """Frames take a moment, so that there are checkpoints between them."""
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", ",".join(faults))
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", str(delay_s))


def undisturbed(place: Place, monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Every CSV is what the stages give alone, and nothing else is there."""
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "")
    for path in paths:
        assert (place.out / f"{path.stem}.csv").read_bytes() == place.alone(path), path.stem
    assert place.written() == sorted(f"{path.stem}.csv" for path in paths)
    assert place.unfinished() == []
    assert place.left_behind() == []


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_worker_costs_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], role: str
) -> None:
    fault(monkeypatch, f"{role}:41:kill:1")
    first, second = place.input("first", 9), place.input("second", 90)
    summaries = place.run(first, second, limits=QUICK)
    told = place.told(capfd)
    assert f"{role}-0 was ended by signal 9 at frame 41 of second.json; it is started again" in told
    if role != "detect":  # the lane waits for detection, and goes on
        assert "second.json: goes on after frame " in told
    assert summaries[1].restarts == 1
    assert [(s.frames, s.failed_frames, s.dropped_frames, s.error) for s in summaries] == [
        (9, 0, 0, None),
        (90, 0, 0, None),
    ]
    assert summaries[1].successes == 60
    assert summaries[1].statistics.convergence.fits == 90
    undisturbed(place, monkeypatch, first, second)


def test_every_worker_is_killed_twice(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(role, first + 3 * turn) for turn, role in enumerate(ROLES) for first in (11, 41)]
    # Detection is asked every five frames.
    fault(monkeypatch, *(f"{role}:{at - (at - 1) % 5 if role == 'detect' else at}:kill:1" for role, at in places))
    path = place.input("a", 80)
    (summary,) = place.run(path, limits=Limits(back_off_s=(0.0,), budget=None))
    assert (summary.frames, summary.failed_frames, summary.restarts) == (80, 0, 10)
    undisturbed(place, monkeypatch, path)


def test_a_killed_nursery_costs_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    path = place.input("a", 100)

    def kill() -> None:
        until(lambda: place.has_checkpoint("a"))
        os.kill(place.workers()["nursery"], signal.SIGKILL)

    killer = meanwhile(kill)
    (summary,) = place.run(path, limits=QUICK)
    killer.join()
    assert summary.restarts == 1
    assert "the process that starts all workers was ended by signal 9; it is started again" in place.told(capfd)
    undisturbed(place, monkeypatch, path)


@pytest.mark.parametrize("at", [1, 0])
def test_a_death_at_the_very_start_or_while_writing(place: Place, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    fault(monkeypatch, f"decode:{at}:kill:1", f"sink:{at}:kill:1")
    path = place.input("a", 30)
    (summary,) = place.run(path, limits=QUICK)
    assert (summary.frames, summary.restarts) == (30, 2)
    undisturbed(place, monkeypatch, path)


@pytest.mark.parametrize(("role", "what"), [("detect", "kill"), ("clnf", "raise"), ("au", "kill"), ("sink", "raise")])
def test_a_frame_that_ends_a_worker_each_time(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], role: str, what: str
) -> None:
    fault(monkeypatch, f"{role}:31:{what}")
    path = place.input("a", 60)
    (summary,) = place.run(path, limits=QUICK)
    assert (summary.frames, summary.failed_frames, summary.dropped_frames, summary.error) == (60, 1, 0, None)
    assert summary.restarts == (3 if role == "detect" else 2)  # the lane had to learn of it
    told = place.told(capfd)
    assert "a.json: frame 31 ended a worker twice; it counts as failed, its picture is out/a_quarantine/" in told
    if what == "raise":
        assert f"ValueError: no good: {role} 31" in told
        assert 'in _be_in_trouble\n    raise ValueError(f"no good: {where}")' in told
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "")
    assert (place.out / "a.csv").read_bytes() == place.alone(path, failed=31)
    assert place.written() == ["a.csv", "a_quarantine"]
    assert kept_picture(place) == picture_of(place, path, 31)
    assert place.unfinished() == []
    assert place.left_behind() == []


def kept_picture(place: Place) -> bytes:
    (picture,) = (place.out / "a_quarantine").iterdir()
    assert picture.name == "frame_000031.png"
    return cv2.imread(str(picture)).tobytes()


def picture_of(place: Place, path: Path, number: int) -> bytes:
    source = place.kit.FakeSource(path)
    source.skip(number - 1)
    pixels = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
    source.read_into(pixels)
    return pixels.tobytes()


def test_a_decoder_that_dies_at_one_frame_each_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch, "decode:31:kill")
    summaries = place.run(place.input("a", 60), fine := place.input("b", 9), limits=QUICK)
    assert [s.exit_code for s in summaries] == [2, 0]
    assert "frame 31 ended the decoder twice; the file is damaged there" in str(summaries[0].error)
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "")
    assert (place.out / "b.csv").read_bytes() == place.alone(fine)


@pytest.mark.parametrize("role", ["decode", "sink"])
def test_an_input_that_cannot_be_begun_or_ended_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Three deaths beside its frames; the run goes on."""
    fault(monkeypatch, f"{role}:0:kill:3")
    summaries = place.run(place.input("a", 20), fine := place.input("b", 9), limits=QUICK)
    assert [s.exit_code for s in summaries] == [5, 0]
    assert f"{role}-0 was ended by signal 9 again and again at {place.root}/a.json" in str(summaries[0].error)
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", "")
    assert (place.out / "b.csv").read_bytes() == place.alone(fine)


@pytest.mark.parametrize("role", ["clnf", "detect", "decode"])
def test_a_worker_that_hangs_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], role: str
) -> None:
    fault(monkeypatch, f"{role}:21:hang:1")
    path = place.input("a", 40)
    place.run(path, limits=IMPATIENT)
    said = f"{role}-0 gave no sign of life for 1 s at frame 21 of a.json; it is started again"
    assert said in place.told(capfd)
    undisturbed(place, monkeypatch, path)


def test_a_worker_that_is_stopped_is_replaced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    path = place.input("a", 80)

    def stop() -> None:
        until(lambda: place.has_checkpoint("a"))
        os.kill(place.workers()["au-0"], signal.SIGSTOP)

    stopper = meanwhile(stop)
    (summary,) = place.run(path, limits=IMPATIENT)
    stopper.join()
    assert summary.restarts == 1
    undisturbed(place, monkeypatch, path)


def test_a_frame_that_hangs_each_time_is_quarantined(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch, "au:6:hang")
    (summary,) = place.run(place.input("a", 12), limits=IMPATIENT)
    assert (summary.frames, summary.failed_frames, summary.restarts) == (12, 1, 2)


def test_a_budget_that_is_spent_ends_the_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch, *(f"clnf:{frame}:kill:1" for frame in (8, 20, 30)))
    done, path = place.input("done", 6), place.input("a", 60)
    limits = Limits(budget=2, back_off_s=(0.0,))
    expected = r"clnf-0 was ended by signal 9; it was started again 2 times within 300 s at frame 30 of .*a\.json"
    with pytest.raises(StageError, match=rf"{expected}; the inputs that were finished are kept.*--resume"):
        place.run(done, path, limits=limits)
    assert place.written() == ["done.csv"]
    assert place.left_behind() == []
    (summary,) = place.run(path, resume=True, limits=QUICK)
    assert summary.frames == 60
    undisturbed(place, monkeypatch, done, path)


def test_a_fall_of_one_lane_does_not_disturb_the_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch, "clnf:41:kill:1")  # only the long one gets so far
    inputs = [place.input("long", 80), *(place.input(name, 30) for name in "bcd")]
    summaries = place.run(*inputs, jobs=2, limits=QUICK)
    assert [s.restarts for s in summaries] == [1, 0, 0, 0]
    undisturbed(place, monkeypatch, *inputs)


def test_detection_dies_while_a_fit_waits_for_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch, "detect:1:kill:1", "detect:6:kill:1", "detect:11:kill:1")
    path = place.input("a", 30)
    (summary,) = place.run(path, limits=QUICK)
    assert summary.restarts == 3
    undisturbed(place, monkeypatch, path)


# Everything is killed


def killed_at_a_checkpoint(place: Place, *inputs: Path, of: str, jobs: int = 1) -> None:
    process = place.spawn(*inputs, jobs=jobs)
    until(lambda: place.has_checkpoint(of))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    until(lambda: not place.workers(), 5)
    for folder in place.root.glob("auflow-run-*"):  # the next run sweeps it up, if it is not one that begins
        os.utime(folder, (0, 0))


def resumed(place: Place, *inputs: Path) -> str:
    process = place.spawn(*inputs, resume=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return err


def test_after_a_kill_of_everything_it_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One input was finished, one was begun, one was not."""
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    done, path, later = place.input("done", 5), place.input("path", 100), place.input("later", 7)
    killed_at_a_checkpoint(place, done, path, later, of="path")
    assert place.written() == ["done.csv"]
    before = (place.out / "done.csv").stat().st_mtime_ns
    err = resumed(place, done, path, later)
    assert "done.csv is there already" in err
    assert "path.json: goes on after frame " in err
    assert (place.out / "done.csv").stat().st_mtime_ns == before
    undisturbed(place, monkeypatch, done, path, later)


def test_a_checkpoint_of_another_input_is_not_gone_on_with(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    killed_at_a_checkpoint(place, place.input("a", 150), of="a")
    changed = place.input("a", 40, seed=77)
    err = resumed(place, changed)
    assert "begins anew: " in err
    assert "another input, or the input has changed since" in err
    assert (place.out / "a.csv").read_bytes() == place.alone(changed)


def test_ctrl_c_while_a_lane_restarts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    process = place.spawn(place.input("a", 2000))
    until(lambda: place.has_checkpoint("a"))
    first = place.workers()["nursery"]
    os.kill(first, signal.SIGKILL)
    until(lambda: place.workers().get("nursery", first) != first)  # it imports for a while before it forks
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 130, err
    assert place.written() == []
    assert place.unfinished() == [".a.auflow"]  # for --resume
    assert place.left_behind() == []


# The disk


def test_a_full_disk_ends_the_input_and_leaves_it_to_be_gone_on_with(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch, "sink:41:full:1")
    path, other = place.input("a", 90), place.input("b", 9)
    summaries = place.run(path, other)
    assert [s.exit_code for s in summaries] == [3, 0]
    assert "No space left on device" in str(summaries[0].error)
    assert "free some space and go on with --resume" in str(summaries[0].error)
    assert place.written() == ["b.csv"]
    (summary,) = place.run(path, resume=True)
    assert summary.frames == 90
    undisturbed(place, monkeypatch, path, other)


def test_checkpoints_that_cannot_be_written_end_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fault(monkeypatch, "sink:-1:full")
    path = place.input("a", 60)
    (summary,) = place.run(path)
    assert (summary.frames, summary.error) == (60, None)
    assert place.told(capfd).count("No space left on device") == 1
    undisturbed(place, monkeypatch, path)
