"""`auflow detect` as a process: what it answers, how it ends, and what a lane's CLNF worker makes of it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from auflow.stages.detect import MtcnnDetector
from auflow.transport import messages as m
from auflow.transport.keys import ClientKeys, load_client_keys, new_keys
from auflow.transport.link import new_context
from auflow.transport.remote_detection import RemoteDetectClient

READY = re.compile(rb"finding faces for whoever asks at (\S+)")
AUFLOW = (sys.executable, "-m", "auflow", "detect")


class Process:
    """A detection process and what it has said."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.said = b""

    def address(self) -> str:
        """Where it listens; waits for it."""
        return self.await_words(READY)[1].decode()

    def await_words(self, words: re.Pattern[bytes], limit_s: float = 40.0) -> re.Match[bytes]:
        """Read what it says until this comes."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + limit_s
        while (found := words.search(self.said)) is None:
            assert time.monotonic() < deadline, self.said
            if select.select([self.process.stderr], [], [], 0.1)[0]:
                piece = os.read(self.process.stderr.fileno(), 65536)
                assert piece, self.said  # it has ended
                self.said += piece
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, and its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def begin(*command: str) -> Process:
        started.append(Process(command))
        return started[-1]

    yield begin
    for process in started:
        process.close()


@pytest.fixture
def detect(start: Start, models_dir: Path) -> Start:
    return lambda *options: start(*AUFLOW, *options)


class Lane:
    """Asks as a CLNF worker does."""

    def __init__(self, address: str, keys: ClientKeys | None = None) -> None:
        self._context = new_context()
        self.client = RemoteDetectClient(self._context, [address], "clnf-0", keys=keys)
        self._index = 0

    def begin(self, bgr: NDArray[np.uint8]) -> m.DetectRequest:
        self._index += 1
        frame = m.FrameReady(0, self._index, 0.0, 0, 1, bgr.shape[0], bgr.shape[1], 0.0)
        request = m.DetectRequest(0, frame)
        self.client.ask(request, bgr)
        return request

    def await_answer(self, request: m.DetectRequest) -> NDArray[np.float32]:
        deadline = time.monotonic() + 40
        while (answer := self.client.receive(request)) is None:
            assert time.monotonic() < deadline
            self.client.sockets[0].poll(20)
        return answer.boxes

    def boxes(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.await_answer(self.begin(bgr))

    def __enter__(self) -> Lane:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._context.term()


@pytest.fixture(scope="module")
def astronaut(demo_dir: Path) -> NDArray[np.uint8]:
    clip = cv2.VideoCapture(str(demo_dir / "astronaut.mp4"))
    whole, bgr = clip.read()
    clip.release()
    assert whole
    return np.asarray(bgr, np.uint8)


@pytest.mark.parametrize("kind", ["ipc", "tcp", "curve"])
def test_the_boxes_are_those_of_a_detector_of_our_own(
    detect: Start, models_dir: Path, astronaut: NDArray[np.uint8], tmp_path: Path, kind: str
) -> None:
    keys = load_client_keys(new_keys(tmp_path / "keys")) if kind == "curve" else None
    address = f"ipc://{tmp_path}/d" if kind == "ipc" else "tcp://127.0.0.1:*"
    process = detect("--address", address, *(("--keys", str(tmp_path / "keys")) if keys else ()))
    own = MtcnnDetector(models_dir)
    shifted = np.roll(astronaut, 20, axis=1)
    with Lane(process.address(), keys) as lane:
        for picture in (astronaut, shifted, np.zeros_like(astronaut), astronaut[:11, :1]):
            np.testing.assert_array_equal(lane.boxes(picture), own.detect(picture))
    assert len(own.detect(astronaut)) == 1  # a face was asked about
    assert process.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_the_middle_of_requests(detect: Start, astronaut: NDArray[np.uint8], number: int) -> None:
    process = detect("--address", "tcp://127.0.0.1:*")
    with Lane(process.address()) as lane:
        lane.boxes(astronaut)
        for _ in range(30):
            lane.begin(astronaut)
        assert process.end(number) == 0
    assert b"Traceback" not in process.said


def test_one_that_is_killed_and_started_again_is_asked_again(detect: Start, astronaut: NDArray[np.uint8]) -> None:
    first = detect("--address", "tcp://127.0.0.1:*")
    address = first.address()
    with Lane(address) as lane:
        expected = lane.boxes(astronaut)
        first.process.send_signal(signal.SIGSTOP)  # so that the request is under way when it dies
        request = lane.begin(astronaut)
        first.end(signal.SIGKILL)
        again = detect("--address", address)
        np.testing.assert_array_equal(lane.await_answer(request), expected)
        assert again.end() == 0


def slow_detector(where: str) -> str:
    """A program that is `auflow detect` with a detector that takes a minute to make, or to find anything."""
    return textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        import auflow.stages.detect
        from auflow.serve.detection import serve
        from auflow.stages.settings import StageSettings

        def wait(where):
            if where == {where!r}:
                sys.stderr.write("it takes its time\\n")
                sys.stderr.flush()
                for _ in range(6000):  # as a network's layers, Python gets a word in between
                    time.sleep(0.01)

        class Slow:
            def __init__(self, models_root, settings):
                wait("made")
            def detect_many(self, pictures):
                wait("asked")

        auflow.stages.detect.load_detector = Slow
        sys.exit(serve("tcp://127.0.0.1:*", None, Path("nowhere"), StageSettings()))
        """
    )


@pytest.mark.parametrize("where", ["made", "asked"])
def test_it_does_not_wait_for_a_slow_detector_to_end(start: Start, where: str) -> None:
    process = start(sys.executable, "-c", slow_detector(where))
    if where == "asked":
        with Lane(process.address()) as lane:
            request = lane.begin(np.zeros((6, 8, 3), np.uint8))
            assert lane.client.sockets[0].poll(20_000, zmq.POLLOUT)
            time.sleep(0.1)  # the first attempt was too early: it is time for the next
            assert lane.client.receive(request) is None
            process.await_words(re.compile(b"it takes its time"))
    else:
        process.await_words(re.compile(b"it takes its time"))
    assert process.end() == 0
    assert b"Traceback" not in process.said


def test_strangers_are_told_of_in_its_log(detect: Start, astronaut: NDArray[np.uint8]) -> None:
    process = detect("--address", "tcp://127.0.0.1:*")
    address = process.address()
    context: Any = new_context()
    stranger = context.socket(zmq.DEALER)
    stranger.setsockopt(zmq.LINGER, 0)
    stranger.connect(address)
    for _ in range(100):
        stranger.send_multipart([b"rubbish", b"and more"])
    process.await_words(re.compile(b"WARNING detection: refused codec: "))
    with Lane(address) as lane:
        assert len(lane.boxes(astronaut)) == 1
    stranger.close()
    context.term()
    assert process.end() == 0
    assert process.process.stderr is not None
    assert (process.said + process.process.stderr.read()).count(b"WARNING") == 1


def run(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AUFLOW, *options], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )


def test_without_models_it_ends_with_4(tmp_path: Path) -> None:
    done = run("--address", "tcp://127.0.0.1:*", OPENFACE_MODELS_DIR=str(tmp_path))
    assert done.returncode == 4
    assert "auflow models fetch" in done.stderr


def test_an_address_that_is_taken_or_open_to_all(models_dir: Path, tmp_path: Path) -> None:
    context: Any = new_context()
    other = context.socket(zmq.ROUTER)
    port = other.bind_to_random_port("tcp://127.0.0.1")
    taken = run("--address", f"tcp://127.0.0.1:{port}")
    other.close()
    context.term()
    assert taken.returncode == 5
    assert f"tcp://127.0.0.1:{port}: cannot be bound" in taken.stderr
    assert "Traceback" not in taken.stderr
    beyond = run("--address", "tcp://0.0.0.0:8719")
    assert beyond.returncode == 2
    assert "auflow keys new" in beyond.stderr
    no_keys = run("--address", "tcp://0.0.0.0:8719", "--keys", str(tmp_path))
    assert no_keys.returncode == 2
    assert "expected server.secret, got none; make keys with `auflow keys new DIR`" in no_keys.stderr


def test_the_help_says_what_to_do() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("workers.detectors_at", "auflow keys new", "--address", "--keys", "SIGTERM"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
