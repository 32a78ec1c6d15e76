"""Runs with real processes and real sockets around fake stages: results, failures, and what is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auflow.errors import ModelError
from auflow.options import RunOptions
from auflow.orchestrator import run
from auflow.report import PlainReporter

from .conftest import Place, all_connected, hang, until

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for left-overs in /proc")


def test_each_csv_is_what_the_stages_give_alone(place: Place) -> None:
    # One lane, so that every kind of state could leak: frames of three sizes, the ring grows twice and stays.
    inputs = [
        place.input("a", 23),
        place.input("b", 17, 700, 500),
        place.input("c", 30, 1000, 600),
        place.input("d", 9, corrupt=2),
    ]
    summaries = place.run(*inputs)
    assert [(s.frames, s.error, s.interrupted) for s in summaries] == [(n, None, False) for n in (23, 17, 30, 9)]
    assert summaries[3].corrupt_frames == 2
    assert [s.successes for s in summaries] == [16, 12, 20, 6]
    for path in inputs:
        assert (place.out / f"{path.stem}.csv").read_bytes() == place.alone(path), path.stem
    assert place.written() == ["a.csv", "b.csv", "c.csv", "d.csv"]
    assert place.left_behind() == []


def test_lanes_share_the_inputs_and_the_detector(place: Place) -> None:
    inputs = [place.input(name, 30) for name in "abcde"]
    summaries = place.run(*inputs, jobs=3)
    assert [s.path for s in summaries] == [str(path) for path in inputs]
    for path in inputs:
        assert (place.out / f"{path.stem}.csv").read_bytes() == place.alone(path), path.stem


def test_descriptors_are_given_back(place: Place) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    path = place.input("a", 3)
    place.run(path)
    before = count()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    place.run(path)
    assert count() == before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == handlers


def test_bad_inputs_and_outputs_cost_only_themselves(place: Place) -> None:
    broken, fine = place.input("broken", 12, breaks_at=5), place.input("fine")
    (place.out / "blocked.csv").mkdir()
    blocked = place.input("blocked")
    text = place.root / "text.json"
    text.write_text("no input")
    summaries = place.run(place.root / "missing.json", broken, text, blocked, fine)
    assert [s.exit_code for s in summaries] == [2, 2, 2, 3, 0]
    assert [s.output is None for s in summaries] == [True, True, True, True, False]
    assert "the file breaks off" in str(summaries[1].error)
    assert "expected a fake input" in str(summaries[2].error)
    assert "blocked.csv" in str(summaries[3].error)
    assert (place.out / "fine.csv").read_bytes() == place.alone(fine)
    assert place.written() == ["blocked.csv", "fine.csv"]


def test_an_output_that_fails_at_once_ends_the_decoding_of_a_long_input(place: Place) -> None:
    long = place.input("long", 100_000)
    place.out.rmdir()
    summaries = place.run(long)
    assert summaries[0].exit_code == 3
    assert summaries[0].frames < 1000


def test_an_input_without_pictures_is_written_like_inline(place: Place) -> None:
    empty = place.input("empty", 0)
    (summary,) = place.run(empty, place.input("fine", 3))[:1]
    assert (summary.frames, summary.error) == (0, None)
    assert (place.out / "empty.csv").read_bytes() == place.alone(empty)


def test_missing_models_keep_their_exit_code(place: Place) -> None:
    path = place.input("a")
    options = RunOptions((path,), place.out, place.root / "broken")
    with pytest.raises(ModelError, match="there are no models"):
        run(options, PlainReporter(sys.stderr, quiet=True), kit="fake_kit")
    assert place.left_behind() == []


def rows(csv: Path) -> int:
    return len(csv.read_text().splitlines()) - 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_writes_what_is_finished(place: Place, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.02")
    process = place.spawn(place.input("done", 3), place.input("a", 2000), place.input("b", 2000))
    until(lambda: place.written() == ["done.csv"])
    time.sleep(0.5)
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as the terminal does: to the whole group
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert process.returncode == 130, err
    assert place.written() == ["a.partial.csv", "done.csv"]
    frames = rows(place.out / "a.partial.csv")
    assert 0 < frames < 500
    # The offline pass has run over just these frames.
    assert (place.out / "a.partial.csv").read_bytes() == place.alone(place.input("a", frames))
    assert place.left_behind() == []


def test_ctrl_c_is_over_in_time_when_a_stage_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = hang(place, monkeypatch, "au:4")
    process = place.spawn(place.input("a"))
    until(hung.exists)
    time.sleep(0.3)  # news of the readiness of the others is on its way
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    assert 3 < time.monotonic() - began < 6
    assert process.returncode == 130
    assert place.written() == []
    assert place.left_behind() == []


def test_a_second_ctrl_c_ends_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = hang(place, monkeypatch, "clnf:4")
    process = place.spawn(place.input("a"))
    until(hung.exists)
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    process.communicate(timeout=10)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert place.left_behind() == []


def test_ctrl_c_during_start_up(place: Place) -> None:
    process = place.spawn(place.input("a", 5000))
    until(lambda: place.workers())
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert place.left_behind() == []


@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("busy", [False, True])
def test_kill_9_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch, whole_group: bool, busy: bool) -> None:
    hung = hang(place, monkeypatch, "clnf:4") if busy else None  # a stage in a long computation polls nothing
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    process = place.spawn(place.input("a", 5000))
    until(lambda: hung.exists() if hung else all_connected(place))
    time.sleep(0.1)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate(timeout=10)
    until(lambda: not place.workers(), 3)
    if whole_group:  # there is nobody left to remove the folder of the sockets: the next run does
        monkeypatch.delenv("AUFLOW_FAKE_FAULT", raising=False)
        for folder in place.root.glob("auflow-run-*"):
            os.utime(folder, (time.time() - 100, time.time() - 100))
        place.run(place.input("b", 3))
    until(lambda: not place.left_behind(), 3)
    assert place.written() == (["b.csv"] if whole_group else [])
    assert place.unfinished() == [".a.auflow"]  # for --resume


def test_workers_stay_in_the_group_of_the_orchestrator(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    process = place.spawn(place.input("a", 5000))
    until(lambda: len(place.workers()) == 6)
    assert {os.getpgid(pid) for pid in place.workers().values()} == {process.pid}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)


def test_a_run_that_was_killed_at_its_start_is_swept_up(place: Place) -> None:
    process = place.spawn(place.input("a"))
    until(lambda: list(place.root.glob("auflow-run-*")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    until(lambda: not place.workers(), 3)
    for folder in place.root.glob("auflow-run-*"):
        os.utime(folder, (time.time() - 100, time.time() - 100))
    place.run(place.input("b", 3))
    assert place.left_behind() == []


HEAVY = ("numba", "onnxruntime", "onnx", "cv2", "av", "rich", "msgpack", "zmq")


@pytest.mark.parametrize(
    ("role", "barred"),
    [("decode", {"numba", "onnxruntime", "onnx", "rich"}), ("sink", {"numba", "onnxruntime", "onnx", "av", "rich"})],
)
def test_a_role_imports_only_what_it_needs(role: str, barred: set[str]) -> None:
    code = (
        "import sys; from auflow.flow import worker, process, role_clnf, role_decode, role_detect, role_sink, stagekit;"
        f"stagekit.prepare({role!r}); print(*set(sys.modules) & set({HEAVY!r}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not barred & set(loaded)
    assert "zmq" in loaded
