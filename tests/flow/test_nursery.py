"""The process that workers are forked from: what its forks hold, how it ends, and who survives whom."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auflow.errors import StageError
from auflow.flow.nursery import FDS_AT_ONCE, Ended, Nursery, WorkerExit
from auflow.flow.supervision import Limits
from auflow.flow.topology import WorkerConfig
from auflow.stages.settings import StageSettings
from auflow.transport.ring import create_ring

from .conftest import Place, all_connected, hang, until

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")


def config(role: str, run_dir: Path, lanes: int = 1) -> str:
    settings = StageSettings()
    return WorkerConfig(role, 0, lanes, 1, str(run_dir), -1, (), "models", settings, "fake_kit").to_json()


def descriptors(pid: int) -> list[str]:
    return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.fixture
def ring() -> Iterator[int]:
    fd = create_ring(2, 100)
    yield fd
    os.close(fd)


def born(place: Place, name: str) -> int:
    until(lambda: name in place.workers())
    return place.workers()[name]


def next_answer(nursery: Nursery, seconds: float = 10) -> WorkerExit | Ended:
    answers: list[WorkerExit | Ended] = []
    until(lambda: answers.extend(nursery.answers()) or answers, seconds)
    (answer,) = answers
    return answer


def test_how_a_worker_ended_is_told(place: Place, ring: int) -> None:
    with Nursery() as nursery:
        nursery.fork("sink-0", config("sink", place.root), [ring])
        os.kill(born(place, "sink-0"), signal.SIGTERM)  # it is deaf to this
        nursery.kill("sink-0")
        assert next_answer(nursery) == WorkerExit("sink-0", -signal.SIGKILL)
        nursery.fork("sink-0", "no JSON", [ring])
        assert next_answer(nursery) == Ended(1)
    assert place.left_behind() == []


def test_more_descriptors_than_one_message_takes(place: Place, ring: int) -> None:
    lanes = 2 * FDS_AT_ONCE + 3
    with Nursery() as nursery:
        nursery.fork("detect-0", config("detect", place.root, lanes), [ring] * lanes)
        nursery.fork("sink-0", config("sink", place.root), [ring])  # waits until the first is answered
        nursery.fork("clnf-0", config("clnf", place.root), [ring])
        nursery.kill("clnf-0")  # before it was asked for
        assert nursery.answers() == [WorkerExit("clnf-0", -signal.SIGKILL)]
        pid = born(place, "detect-0")
        until(lambda: sum("auflow-ring" in name for name in descriptors(pid)) >= lanes)
        until(lambda: nursery.answers() or "sink-0" in place.workers())
    assert place.left_behind() == []


def test_forks_hold_what_is_theirs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    process = place.spawn(place.input("a", 500), place.input("b", 500), jobs=2)
    until(lambda: all_connected(place, lanes=2))
    workers = place.workers()
    held = {name: descriptors(pid) for name, pid in workers.items()}
    rings = {name: len({fd for fd in fds if "auflow-ring" in fd}) for name, fds in held.items()}
    sockets = {fd for fd in held["nursery"] if fd.startswith("socket:")}
    pipes = {name: len([fd for fd in fds if fd.startswith("pipe:")]) for name, fds in held.items()}
    threads = len(os.listdir(f"/proc/{workers['nursery']}/task"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert rings.pop("nursery") == 0
    assert set(rings.values()) == {1}  # every ring has the same name
    assert len(sockets) == 1
    for name, fds in held.items():
        assert name == "nursery" or not sockets & set(fds), name
    assert threads == 1
    assert pipes["clnf-1"] == pipes["sink-0"] < pipes["nursery"]


@pytest.mark.parametrize("busy", [False, True])
def test_without_the_nursery_nobody_stays(place: Place, monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_DELAY_S", "0.01")
    hung = hang(place, monkeypatch, "clnf:4") if busy else None

    def kill() -> None:
        until(hung.exists if hung else lambda: all_connected(place))
        os.kill(place.workers()["nursery"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(StageError, match="the process that starts all workers was ended by signal 9"):
        place.run(place.input("a", 5000), limits=Limits(budget=0))
    killer.join()
    assert place.written() == []
    until(lambda: not place.left_behind(), 2)  # they are orphans: only their pipe tells that they are going


def test_ctrl_c_while_the_nursery_loads(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are born already are told to leave; the request for the others is not waited for."""
    monkeypatch.setenv("AUFLOW_FAKE_PRELOAD_S", "1")
    process = place.spawn(place.input("a"))
    until(lambda: "sink-0" in place.workers())
    began = time.monotonic()
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    process.communicate(timeout=10)
    assert time.monotonic() - began < 4
    assert process.returncode == 130
    assert place.left_behind() == []


def test_a_nursery_that_hangs_is_killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUFLOW_FAKE_PRELOAD_S", "60")
    process = place.spawn(place.input("a"))
    until(lambda: "sink-0" in place.workers())
    began = time.monotonic()
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
    process.communicate(timeout=20)
    assert time.monotonic() - began < 6
    assert process.returncode == 130
    assert place.left_behind() == []


def test_an_orchestrator_that_dies_with_answers_unread(place: Place, ring: int) -> None:
    """The kernel resets the connection then, and the nursery tidies up all the same."""
    run_dir = place.root / "auflow-run-x"
    run_dir.mkdir()
    nursery = Nursery()
    nursery.fork("sink-0", config("sink", run_dir), [ring])
    born(place, "sink-0")
    assert select.select([nursery], [], [], 10)[0]  # it says so, and nobody reads it
    nursery._socket.close()
    os.close(nursery._life)
    assert nursery._process.wait(10) == 0
    assert not run_dir.exists()
    assert place.left_behind() == []


def test_a_refused_command_line_leaves_no_nursery(place: Place) -> None:
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "auflow", "run", "--boxes", "x", "a.mp4", "-o", str(place.out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "--boxes goes with --images" in done.stderr
    assert done.returncode == 2
    assert time.monotonic() - began < 10
    assert place.left_behind() == []


def in_a_fresh_interpreter(code: str, *arguments: str, **environment: str) -> list[str]:
    command = [sys.executable, "-P", "-c", code, *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=100
    )
    return done.stdout.split()


def test_the_nursery_stays_fit_for_forks(models_dir: Path, tmp_path: Path) -> None:
    """One thread, no detector, nothing compiled, whatever the real stages bring with them."""
    code = """
import os, sys
from pathlib import Path
from auflow.flow import nursery_process, worker
from auflow.kernel_cache import place_kernel_cache
early = set(sys.modules)
worker.prepare_process(dies_with_parent=False)
place_kernel_cache()
worker.import_roles()
light = set(sys.modules)
from auflow.flow import stagekit
from auflow.stages.settings import StageSettings
for role in ("au", "clnf"):
    stagekit.preload(role, Path(sys.argv[1]), StageSettings())
heavy = [name for name in ("numba", "cv2", "av", "onnxruntime", "zmq") if name in sys.modules]
print(len(os.listdir("/proc/self/task")), "numpy" in early, "numba" in light, "cv2" in light, *heavy)
"""
    found = in_a_fresh_interpreter(code, str(models_dir), NUMBA_CACHE_DIR=str(tmp_path))
    assert found == ["1", "False", "False", "False", "numba", "cv2", "zmq"]
    assert list(tmp_path.glob("*/*/*.nb?")) == []


def test_a_worker_can_do_without_the_nursery(place: Place, ring: int) -> None:
    """The way for systems that cannot fork: an interpreter of its own, descriptors inherited."""
    life, kept = os.pipe()
    whole = replace(WorkerConfig.from_json(config("sink", place.root)), life_fd=life, ring_fds=(ring,))
    command = [sys.executable, "-P", "-m", "auflow.flow.worker", whole.to_json()]
    process = subprocess.Popen(command, pass_fds=(life, ring))
    os.close(life)
    time.sleep(0.3)
    assert process.poll() is None
    os.close(kept)  # the orchestrator is gone
    assert process.wait(10) == 0
