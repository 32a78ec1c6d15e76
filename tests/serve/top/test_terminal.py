"""`auflow top` at a real terminal (a pty), and that the terminal is left as it was found."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auflow import cli
from auflow.serve.control import ControlServer, dispatch
from auflow.tests.serve.conftest import FakeService

_ENTERED, _LEFT = "\x1b[?1049h", "\x1b[?1049l"
_CRASH = """\
from auflow.serve.top.terminal import Terminal
with Terminal() as terminal:
    terminal.show(["a frame"])
    1 / 0
"""


class Screen:
    """A program at a terminal of 80 x 24."""

    def __init__(self, *command: str) -> None:
        self.master, self._slave = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self._slave)
        environ = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            command, stdin=self._slave, stdout=self._slave, stderr=self._slave, env=environ, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.text = ""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, pattern: str, timeout_s: float = 40.0) -> None:
        """Until that has been written after what was waited for last."""
        deadline_s = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < deadline_s, f"no {pattern!r} in {self.text[-3000:]!r}"
            self._read()
        self.text = self.text[found.end() :]

    def code(self, timeout_s: float = 40.0) -> int:
        """Of the program's end."""
        deadline_s = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline_s, "it does not end"
            self._read()
        self._read()
        return self.process.returncode

    @property
    def is_as_before(self) -> bool:
        """Echo, line mode and signals."""
        return termios.tcgetattr(self._slave) == self.before

    def _read(self) -> None:
        while select.select([self.master], [], [], 0.1)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self.master, self._slave):
            os.close(descriptor)


@pytest.fixture
def top(running: Path) -> Iterator[Screen]:
    command = [sys.executable, "-m", "auflow", "top", "--socket", str(running), "--interval", "0.2"]
    screen = Screen(*command)
    yield screen
    screen.close()


def test_it_shows_the_service_and_hears_keys(top: Screen) -> None:
    top.wait_for(re.escape(_ENTERED))
    top.wait_for("auflow 1.2")
    top.wait_for("door")
    top.wait_for(r"no stages: .*http")
    assert not top.is_as_before  # keys come one by one
    top.type("s")
    top.wait_for("sorted: name")
    top.type("?")
    top.wait_for("bottleneck")
    top.type("xp")
    top.wait_for("PAUSED")
    top.resize(120, 40)
    top.process.send_signal(signal.SIGWINCH)
    top.wait_for(re.escape("\x1b[2J"))  # all anew
    top.wait_for(r"\x1b\[40;1H")
    top.type("q")
    assert top.code() == 0
    assert _LEFT in top.text
    assert top.is_as_before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)]
)
def test_signals_leave_the_terminal_as_it_was(top: Screen, number: signal.Signals, code: int) -> None:
    top.wait_for("door")
    top.process.send_signal(number)
    assert top.code() == code
    assert _LEFT in top.text
    assert top.is_as_before


def test_ctrl_c_is_the_same(top: Screen) -> None:
    top.wait_for("door")
    top.type("\x03")
    assert top.code() == 0
    assert top.is_as_before


def test_a_crash_leaves_the_terminal_as_it_was() -> None:
    screen = Screen(sys.executable, "-c", _CRASH)
    try:
        assert screen.code() == 1
        left, _, after = screen.text.partition(_LEFT)
        assert "a frame" in left
        assert "ZeroDivisionError" in after  # where it can be read
        assert screen.is_as_before
    finally:
        screen.close()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash, whose job control stops and continues it")
def test_stopped_it_gives_the_terminal_back_until_it_goes_on(running: Path) -> None:
    words = [sys.executable, "-m", "auflow", "top", "--socket", str(running), "--interval", "0.2"]
    screen = Screen("bash", "-mc", f"{shlex.join(words)}; echo back; read -r line; fg; echo ended=$?")
    try:
        screen.wait_for("door")
        screen.type("\x1a")  # Ctrl-Z
        screen.wait_for(re.escape(_LEFT))
        screen.wait_for("back")
        assert screen.is_as_before
        screen.type("\n")
        screen.wait_for(re.escape(_ENTERED))
        screen.wait_for("door")
        screen.type("q")
        screen.wait_for("ended=0")
        assert screen.code() == 0
        assert screen.is_as_before
    finally:
        screen.close()


def test_a_terminal_that_is_slow_and_does_not_block(top: Screen) -> None:
    top.wait_for("door")
    os.set_blocking(top._slave, False)  # as another program with the same terminal may leave it
    top.resize(250, 100)
    for _ in range(20):  # whole frames, more than the kernel keeps, and nobody reads them
        top.process.send_signal(signal.SIGWINCH)
        time.sleep(0.05)
    assert top.process.poll() is None
    top.type("q")
    assert top.code() == 0
    assert top.is_as_before


def test_only_what_changes_is_written(top: Screen) -> None:
    top.wait_for("door")
    time.sleep(1.5)  # some refreshes of a service where nothing happens
    top._read()
    settled = len(top.text)
    time.sleep(1.5)
    top._read()
    per_refresh = (len(top.text) - settled) / (1.5 / 0.2)
    assert per_refresh < 300  # bytes; a whole frame has more than 2000


def test_a_service_that_goes_away_is_waited_for(short_tmp: Path) -> None:
    import threading

    def serve(over: threading.Event) -> threading.Thread:
        server, service = ControlServer(short_tmp / "auflow" / "control.sock"), FakeService()

        def loop() -> None:
            while not over.wait(0.02):
                for client, request in server.requests():
                    server.answer(client, dispatch(service, request))
            server.close()

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    over = threading.Event()
    thread = serve(over)
    socket = str(short_tmp / "auflow" / "control.sock")
    screen = Screen(sys.executable, "-m", "auflow", "top", "--socket", socket, "--interval", "0.2")
    try:
        screen.wait_for("door")
        over.set()
        thread.join()
        screen.wait_for("no service answers")
        screen.wait_for("waiting for it")
        over = threading.Event()
        thread = serve(over)
        screen.wait_for("auflow 1.2")
        screen.wait_for("door")
        screen.type("q")
        assert screen.code() == 0
    finally:
        screen.close()
        over.set()
        thread.join()


def test_once_prints_everything_and_no_control_codes(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top", "--once", "--interval", "0.1", "--socket", str(running)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "auflow 1.2  ready   up 1 h 2 min   1 of 1 streams up   in 0.0 out 0.0 fps" in text
    assert any(line.startswith("door ") for line in text.splitlines())


def test_no_terminal(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top", "--socket", str(running)]) == 2
    assert "auflow top --once" in capsys.readouterr().err


def test_no_service(short_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(short_tmp / "none.sock")
    assert cli.main(["top", "--once", "--socket", missing]) == 6
    assert "no service is running" in capsys.readouterr().err
    screen = Screen(sys.executable, "-m", "auflow", "top", "--socket", missing)
    try:
        assert screen.code() == 6
        assert _ENTERED not in screen.text
    finally:
        screen.close()


def test_one_look_onto_a_full_disk_is_one_line(running: Path) -> None:
    command = [sys.executable, "-m", "auflow", "top", "--once", "--interval", "0.1", "--socket", str(running)]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (
        3,
        "auflow: error: the look cannot be written: No space left on device\n",
    )
