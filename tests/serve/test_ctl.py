"""`auflow ctl` and `auflow serve` from the command line, against a service in a thread."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import auflow.serve
from auflow import cli
from auflow.serve import places
from auflow.serve.config import ServeConfig

from .conftest import STATUS, FakeService

ROOT = Path(__file__).resolve().parents[2]


def ctl(running: Path, *words: str) -> int:
    return cli.main(["ctl", "--socket", str(running), *words])


def test_streams_are_added_and_steered(
    running: Path,
    service: FakeService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("max_age_s=0.5", "csv={name}-{start}.csv", "wild=true", 'columns=["aus"]', "faces=all")
    words = [word for setting in settings for word in ("--set", setting)]
    assert ctl(running, "add", "door", "file:clip.mp4", *words) == 0
    door = service.streams["door"]
    assert (door.path, door.csv) == (tmp_path / "clip.mp4", str(tmp_path / "{name}-{start}.csv"))
    assert (door.max_age_s, door.wild, door.columns, door.faces) == (0.5, True, ("aus",), "all")
    assert [ctl(running, word, "door") for word in ("pause", "resume", "remove")] == [0, 0, 0]
    assert [ctl(running, word) for word in ("drain", "stop")] == [0, 0]
    assert service.asked == ["pause door", "resume door", "drain", "stop"]
    assert capsys.readouterr().out.splitlines() == [
        "door: added", "door: paused", "door: resumed", "door: removed", "the service drains", "the service ends"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["remove", "x"], 2, "x: no such stream"),
        (["add", "x", "webcam:0", "--set", "wyld=true"], 2, "stream.x.wyld: no such key; did you mean wild?"),
        (
            ["add", "x", "webcam:0", "--set", "max_age_s=1979-05-27"],
            2,
            'expected seconds above 0 to 3600, got "1979-05-27"',
        ),
        (["add", "x", "webcam:0", "--set", "wild"], 2, "--set number 1: expected KEY=VALUE"),
        (["add", "x", "webcam:0", "--set", "wild=true", "--set", "wild=true"], 2, "--set wild: is given twice"),
    ],
)
def test_refusals(running: Path, words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl(running, *words) == code
    assert told in capsys.readouterr().err


def test_status_as_json_and_as_tables(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl(running, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == STATUS
    assert cli.main(["ctl", "status", "--socket", str(running)]) == 0
    text = capsys.readouterr().out
    for piece in (
        "auflow 1.2",
        "ready",
        "up 1 h 2 min",
        "door",
        "rtsp://192.0.2.10/1",
        "640x480",
        "superseded 7",
        "4711",
    ):
        assert piece in text
    assert "too_old" not in text


def test_watching_ends_with_ctrl_c(
    running: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = iter([None, None])

    def sleep(seconds: float) -> None:
        assert seconds == 0.5
        if next(turns, 0) == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr("auflow.serve.ctl_command.time.sleep", sleep)
    assert ctl(running, "status", "--json", "--watch", "0.5") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [STATUS] * 3


def test_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("auflow.serve.client.socket_candidates", lambda: [tmp_path / "a.sock"])
    assert cli.main(["ctl", "status"]) == 6
    assert "start one with `auflow serve CONFIG.toml`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", "closed the connection"),
        (b'{"ok": tr', "closed the connection"),
        (b"HTTP/1.0 400\n", "none of an auflow service"),
    ],
)
def test_something_else_listens(short_tmp: Path, sent: bytes, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = short_tmp / "x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(os.fspath(path))
        other.listen()

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(sent)

        thread = threading.Thread(target=answer)
        thread.start()
        assert cli.main(["ctl", "--socket", str(path), "status"]) == 6
        thread.join()
    assert told in capsys.readouterr().err
    assert cli.main(["ctl", "--socket", str(path), "status"]) == 6  # a socket that nobody listens on
    assert "no service listens there any more" in capsys.readouterr().err


def test_a_service_that_does_not_answer(short_tmp: Path) -> None:
    from auflow.serve.client import NoServiceError, ask

    path = short_tmp / "x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(os.fspath(path))
        deaf.listen()
        with pytest.raises(NoServiceError, match=r"did not answer within 0\.2 s"):
            ask(path, {"op": "status"}, timeout_s=0.2)


def test_both_look_in_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"XDG_RUNTIME_DIR": "/run/user/7"}
    monkeypatch.setattr(places.os, "geteuid", lambda: 7)
    assert str(places.default_socket(user)) == "/run/user/7/auflow/control.sock"
    assert places.default_socket({}).parent.name == "auflow-7"
    assert str(places.default_socket({**user, "RUNTIME_DIRECTORY": "/run/auflow:/run/b"})) == "/run/auflow/control.sock"
    monkeypatch.setattr(places.os, "geteuid", lambda: 0)
    assert str(places.default_socket(user)) == "/run/auflow/control.sock"
    for uid in (0, 7):
        monkeypatch.setattr(places.os, "geteuid", lambda uid=uid: uid)
        for environ in (user, {}):
            assert places.socket_candidates(environ)[0] == places.default_socket(environ)
            assert Path("/run/auflow/control.sock") in places.socket_candidates(environ)


def test_serve_runs_what_it_has_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[ServeConfig] = []

    class Service:
        @staticmethod
        def run(config: ServeConfig) -> int:
            given.append(config)
            return 5

    monkeypatch.setitem(sys.modules, "auflow.serve.service", Service)
    monkeypatch.setattr(auflow.serve, "service", Service, raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["serve", "--stream", "a=webcam:0", "--stream", "b=b.mp4", "--policy", "live"]) == 5
    assert [(stream.name, stream.kind) for stream in given[0].streams] == [("a", "webcam"), ("b", "replay")]
    (tmp_path / "serve.toml").write_text('[stream.c]\nsource = "c.mp4"\n')
    assert cli.main(["serve", "serve.toml"]) == 5
    assert given[1].streams[0].source == str(tmp_path / "c.mp4")


def test_check_prints_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('[stream.c]\nsource = "rtsp://u:hunter2@h/1"\n')
    assert cli.main(["serve", "--check", str(path)]) == 0
    told = capsys.readouterr().out
    assert "[stream.c]" in told
    assert "hunter2" not in told
    path.write_text("[stream.c]\n")
    assert cli.main(["serve", "--check", str(path)]) == 2
    assert "stream.c.source: is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to serve"),
        (["x.toml", "--stream", "a=webcam:0"], "stand instead of CONFIG"),
        (["--stream", "rtsp://u:hunter2@h/1?a=b"], "--stream number 1: expected NAME=SOURCE"),
        (["--stream", "a=webcam:0", "--stream", "a=webcam:1"], "two streams have the name a"),
        (["--stream", "a=rtsp://h/1", "--policy", "file"], 'stream.a.policy: expected "live"'),
    ],
)
def test_serve_refuses(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "hunter2" not in error


def test_help_brings_nothing_heavy() -> None:
    code = (
        "import sys; from auflow import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'zmq', 'rich', 'http.server', 'platformdirs', 'tomllib', 'auflow.serve.config'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stderr.strip() == "[]"
