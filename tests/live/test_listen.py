"""`auflow listen` and the example consumer as processes of their own, on a real bus."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgpack
import pytest
from bus_kit import Bus, Publisher, until

from auflow.cli import main
from auflow.transport.bus import topic
from auflow.transport.keys import load_server_keys, new_keys
from auflow.transport.rundir import endpoint
from auflow.transport.schema import pack_segment

ROOT = Path(__file__).resolve().parents[2]
LISTEN = [sys.executable, "-m", "auflow", "listen"]


class Process:
    """A process whose lines are read."""

    def __init__(self, *command: str) -> None:
        # Unbuffered: `select` must see all that was not read yet.
        # The tests may run behind a shell that lets its background jobs ignore Ctrl-C.
        hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        self.popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, preexec_fn=hear
        )

    def ended(self) -> tuple[int, bytes, str]:
        """Exit code, output and errors, once it has ended."""
        out, err = self.popen.communicate(timeout=30)
        return self.popen.returncode, out, err.decode()

    def line(self) -> bytes:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def complaint(self) -> str:
        assert self.popen.stderr is not None
        return self.popen.stderr.readline().decode()

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def inner(tmp_path: Path) -> str:
    return endpoint(tmp_path, "bus")


@pytest.fixture
def bus(inner: str) -> Iterator[Bus]:
    with Bus(inner) as bus:
        yield bus


@pytest.fixture
def publisher(bus: Bus, inner: str) -> Iterator[Publisher]:
    with Publisher(inner) as publisher:
        yield publisher


@pytest.fixture
def started(request: pytest.FixtureRequest):
    """Starts processes, and ends what is left of them."""
    processes: list[Process] = []

    def start(*command: str) -> Process:
        processes.append(Process(*command))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def say(publisher: Publisher, stream: str, seq: int) -> None:
    publisher.publish(topic(stream, "segment"), pack_segment(stream, seq, 0.0, {"in": seq}))


def test_lines_of_json_of_one_stream_and_its_gaps(bus: Bus, publisher: Publisher, started) -> None:
    listener = started(*LISTEN, bus.address, "--stream", "cam1")
    assert "connected" in listener.complaint()
    greeted(publisher, listener)
    for seq in (2, 3, 7):
        say(publisher, "cam10", seq)
        say(publisher, "cam1", seq)
        line = listener.line()  # each is there before the next is sent: nothing waits in a buffer
        assert json.loads(line)["seq"] == seq
    for bad in (b"rubbish", msgpack.packb({"v": 1, "type": "result", "stream": "cam1", "seq": 9, "x": b"bytes"})):
        publisher.publish(topic("cam1", "result"), bad)
    publisher.publish(topic("cam1", "segment"), pack_segment("e\x1b[2Jvil", 1, 0.0, {}))
    out = listener.line()
    listener.popen.send_signal(signal.SIGINT)
    code, _, err = listener.ended()
    assert code == 0
    assert json.loads(out)["stream"] == "e\x1b[2Jvil"
    assert b"\x1b" not in out
    assert "cam1: missed 3 messages, 4 to 6" in err
    assert "refused live bus: expected a message" in err
    assert "\x1b" not in err


def test_msgpack_as_it_travels(bus: Bus, publisher: Publisher, started) -> None:
    listener = started(*LISTEN, bus.address, "--msgpack", "--count", "2")
    until(lambda: bus.forwarder.topics, 30)
    until(lambda: say(publisher, "cam1", 1) or listener.popen.poll() is not None, 30)
    code, out, _ = listener.ended()
    assert code == 0
    assert [message["seq"] for message in unpacked(out)] == [1, 1]


def greeted(publisher: Publisher, listener: Process, stream: str = "cam1") -> None:
    """Publish until the listener prints it: what it asks for takes a moment to reach the publisher."""
    assert listener.popen.stdout is not None
    deadline = time.monotonic() + 30
    while not select.select([listener.popen.stdout], [], [], 0.02)[0]:
        assert time.monotonic() < deadline, "the listener printed nothing within 30 s"
        say(publisher, stream, 0)
    say(publisher, stream, 1)
    while json.loads(listener.line())["seq"] != 1:
        pass


def unpacked(data: bytes) -> list[dict[str, object]]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    return list(unpacker)


def test_ctrl_c_ends_it(bus: Bus, publisher: Publisher, started) -> None:
    listener = started(*LISTEN, bus.address)
    greeted(publisher, listener)
    listener.popen.send_signal(signal.SIGINT)
    code, out, err = listener.ended()
    assert (code, out) == (0, b"")
    assert "Traceback" not in err


def test_a_reader_that_leaves_ends_it(bus: Bus, publisher: Publisher, started) -> None:
    listener = started(*LISTEN, bus.address)
    until(lambda: bus.forwarder.topics, 30)
    assert listener.popen.stdout is not None
    listener.popen.stdout.close()
    listener.popen.stdout = None
    until(lambda: say(publisher, "cam1", 1) or listener.popen.poll() is not None, 30)
    code, _, err = listener.ended()
    assert code == 0
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_an_error(bus: Bus, publisher: Publisher) -> None:
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen([*LISTEN, bus.address], stdout=full, stderr=subprocess.PIPE, text=True)
    until(lambda: bus.forwarder.topics, 30)
    until(lambda: say(publisher, "cam1", 1) or process.poll() is not None, 30)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "standard output: cannot be written: No space left on device" in err
    assert "Traceback" not in err


def test_the_connection_is_told_and_found_again(bus: Bus, inner: str, started) -> None:
    listener = started(*LISTEN, bus.address, "--count", "1")
    assert "connected" in listener.complaint()
    bus.close()
    assert "the connection is gone; trying again" in listener.complaint()
    with Bus(inner, bus.address) as again, Publisher(inner) as publisher:
        assert "connected" in listener.complaint()
        until(lambda: again.forwarder.topics)
        until(lambda: say(publisher, "cam1", 1) or listener.popen.poll() is not None, 30)
        assert listener.ended()[0] == 0


def test_waiting_for_a_bus_is_told(inner: str, tmp_path: Path, started) -> None:
    address = endpoint(tmp_path, "outer")
    listener = started(*LISTEN, address)
    assert "nobody answers there yet" in listener.complaint()
    with Bus(inner, address):
        assert "connected" in listener.complaint()


def test_with_keys_and_without(inner: str, tmp_path: Path, started) -> None:
    client = new_keys(tmp_path / "keys")
    with Bus(inner, keys=load_server_keys(tmp_path / "keys")) as bus, Publisher(inner) as publisher:
        stranger = started(*LISTEN, bus.address)
        unknown = started(*LISTEN, bus.address, "--keys", str(new_keys_of_another(tmp_path)))
        listener = started(*LISTEN, bus.address, "--keys", str(client), "--count", "1")
        assert "connected" in listener.complaint()
        until(lambda: bus.forwarder.topics)
        assert "asks for keys (--keys)" in stranger.complaint()
        assert "these keys are not admitted" in unknown.complaint()
        # The unknown one is made known, and gets in without being started anew.
        (tmp_path / "keys/clients/late").mkdir()
        (tmp_path / "keys/clients/late/client.public").write_bytes((tmp_path / "known/client.public").read_bytes())
        assert "connected" in unknown.complaint()
        until(lambda: say(publisher, "cam1", 1) or listener.popen.poll() is not None, 30)
        assert json.loads(listener.ended()[1].splitlines()[0])["stream"] == "cam1"
        assert json.loads(unknown.line())["stream"] == "cam1"


def new_keys_of_another(folder: Path) -> Path:
    """Keys of a client that knows the server, but not the server it."""
    other = new_keys(folder / "others")
    (other / "server.public").write_bytes((folder / "keys/server.public").read_bytes())
    return other.rename(folder / "known")


def test_the_example(bus: Bus, publisher: Publisher, started) -> None:
    from auflow.transport.schema import SCHEMA_VERSION

    result = {"v": SCHEMA_VERSION, "type": "result", "stream": "cam1", "seq": 7, "face": 0, "success": True}
    payload = msgpack.packb({**result, "au_r": {"AU12": 2.5}, "age_s": 0.08})
    consumer = started(sys.executable, str(ROOT / "examples/consume.py"), bus.address, "cam1")
    assert consumer.popen.stdout is not None
    while not select.select([consumer.popen.stdout], [], [], 0.02)[0]:
        assert consumer.popen.poll() is None
        say(publisher, "cam1", 1)  # not of its type: it has not asked for it
        publisher.publish(topic("cam1", "result"), payload)
    assert consumer.line() == b"cam1 7 0 AU12 2.50, 0.080 s old\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonsense"], "expected tcp://HOST:PORT"),
        (["tcp://10.0.0.7:8718"], "auflow keys new DIR"),
        ([f"ipc:///{'x' * 200}"], "cannot connect: File name too long"),
        (["tcp://10.0.0.7:8718", "--keys", "/nowhere"], "expected client.secret"),
    ],
)
def test_wrong_usage(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_help_needs_no_heavy_library() -> None:
    code = "import sys; from auflow.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'zmq', 'numpy', 'msgpack'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stderr == "[]\n"
