"""The page of a running service: on demand, through kills and slow viewers, and what starts it. Fake stages."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import stat
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.sync.client import ClientConnection, connect

from auflow.cli import main
from auflow.errors import OutputError, UsageError
from auflow.flow.role_web import frame_of
from auflow.flow.topology import WebAddress
from auflow.serve import service
from auflow.serve.config import ServeConfig
from auflow.serve.page import page_address, page_url
from auflow.tests.serve.live_place import Place, Running, Subscriber
from auflow.tests.web.tools import free_port, read_frame, silent
from auflow.transport.faults import TransportError
from auflow.transport.viewing import Shown


@pytest.fixture
def web(place: Place) -> ServeConfig:
    """Two cameras and a page."""
    return place.config(
        {"a": place.camera("a"), "b": place.camera("b")},
        workers={"live_lanes": 1},
        web={"address": f"127.0.0.1:{free_port()}"},
    )


@contextmanager
def viewer(config: ServeConfig, stream: str) -> Iterator[ClientConnection]:
    with connect(f"ws://{config.web.address}/ws", proxy=None) as opened:
        opened.send(json.dumps({"watch": stream}))
        yield opened


def told(config: ServeConfig) -> dict[str, Any]:
    """What the page says of itself; nothing while it is away."""
    try:
        with closing(http.client.HTTPConnection(config.web.address, timeout=5)) as connection:
            connection.request("GET", "/api/status")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found
    except OSError:
        return {}


def frames_of(page: ClientConnection, count: int) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    while len(found) < count:
        message = page.recv(10)
        if isinstance(message, bytes):
            found.append(read_frame(message))
    return found


def test_a_viewer_gets_pictures_with_their_results_and_the_status(place: Place, web: ServeConfig) -> None:
    with place.serve(web) as running:
        running.flows("a", "b")
        status = running.until(lambda: told(web).get("status"))
        assert {stream["name"] for stream in status["streams"]} == {"a", "b"}
        assert running.status()["web"] == {"address": web.web.address, "state": "running", "restarts": 0}
        with viewer(web, "a") as page:
            frames = frames_of(page, 30)
            numbers = [head["results"][0]["frame"] for head, _ in frames]
            assert numbers == sorted(set(numbers))
            assert {head["stream"] for head, _ in frames} == {"a"}
            pictures = [(head, jpeg) for head, jpeg in frames if jpeg]
            assert 2 <= len(pictures) < len(frames)  # 50 frames a second, 15 pictures
            assert all(
                jpeg.startswith(b"\xff\xd8") and len(head["results"][0]["landmarks"]) == 68 for head, jpeg in pictures
            )
            assert not any("landmarks" in head["results"][0] for head, jpeg in frames if not jpeg)
            page.send('{"watch": "b"}')
            running.until(lambda: frames_of(page, 1)[0][0]["stream"] == "b")


def test_kill_9_of_the_page_costs_no_frame_of_any_stream_and_it_comes_back(place: Place, web: ServeConfig) -> None:
    with place.serve(web) as running, Subscriber(web.bus.address) as bus:
        running.flows("a", "b")
        running.until(lambda: bus.of("a", "result") and told(web).get("status"))
        with viewer(web, "a") as page:
            frames_of(page, 5)
            pid = running.kill("web-0")
        running.until(lambda: running.service.crew.pids.get("web-0", pid) != pid)
        running.until(lambda: told(web).get("status"))
        with viewer(web, "a") as page:
            frames_of(page, 5)
        running.flows("a", "b", frames=10)
        for name in "ab":
            stream = running.stream(name)
            assert (stream["restarts"], stream["frames"]["failed"]) == (0, 0)
        numbers = [message["seq"] for message in bus.of("a")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        running.until(lambda: running.status()["state"] == "ready")


def measured(running: Running, frames: int) -> dict[str, Any]:
    """What the streams did while so many frames came."""
    before = {name: running.stream(name)["frames"] for name in "ab"}
    running.flows("a", "b", frames=frames)
    after = {name: running.stream(name)["frames"] for name in "ab"}
    done = sum(after[name]["done"] - before[name]["done"] for name in "ab")
    dropped = sum(sum(after[name]["dropped"].values()) - sum(before[name]["dropped"].values()) for name in "ab")
    return {"share": dropped / (done + dropped), "age": max(running.stream(name)["age_p50_ms"] for name in "ab")}


def test_viewers_that_read_nothing_change_neither_ages_nor_counts(place: Place) -> None:
    cameras = {name: place.camera(name, width=640, height=480) for name in "ab"}
    web = place.config(cameras, workers={"live_lanes": 1}, web={"address": f"127.0.0.1:{free_port()}"})
    with place.serve(web) as running:
        running.flows("a", "b", frames=30)
        running.until(lambda: told(web).get("status"))
        running.until(lambda: all(running.stream(name)["age_p50_ms"] is not None for name in "ab"))
        alone = measured(running, 50)
        port = int(web.web.address.rpartition(":")[2])
        with silent(port, "a"), silent(port, "a"), silent(port, "b"), viewer(web, "a") as page:
            running.until(lambda: told(web)["page"]["viewers"] == 4)
            watched = measured(running, 50)
            frames_of(page, 10)
        assert watched["share"] <= alone["share"] + 0.1
        assert watched["age"] <= 2 * alone["age"] + 30
        for name in "ab":
            assert running.stream(name)["restarts"] == 0


def test_an_address_that_is_taken_in_the_last_moment_ends_it_with_the_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "refuse_taken", lambda _config: None)  # it was free then
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with place.serve(place.config({}, web={"address": address})) as running:
            running.may_fail = True
            running.until(lambda: place.errors)
    (error,) = place.errors
    assert isinstance(error, UsageError)
    assert f"web.address: {address} cannot be listened on" in str(error)


# What starts it


def test_without_an_address_there_is_no_page(place: Place) -> None:
    assert page_address(place.config({})) is None


def test_without_its_libraries_the_page_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auflow.serve.page._LIBRARIES", ("no_such_library",))
    with pytest.raises(UsageError, match=r"pip install 'auflow\[web\]'"):
        page_address(place.config({}, web={"address": "127.0.0.1:8716"}))


def test_on_this_machine_no_token_is_made(place: Place) -> None:
    address = page_address(place.config({}, web={"address": "[::1]:8716"}))
    assert address == WebAddress("::1", 8716)
    assert page_url(address) == "http://[::1]:8716/"


def test_beyond_this_machine_a_token_is_made_once_and_kept(place: Place) -> None:
    config = place.config({}, web={"address": "0.0.0.0:8716", "allow_remote": True})
    first = page_address(config)
    assert first is not None
    path = Path(first.token_file)
    assert (path, stat.S_IMODE(path.stat().st_mode)) == (config.state_dir / "web-token", 0o600)
    token = path.read_text().strip()
    assert len(token) >= 40
    assert page_url(first) == f"http://0.0.0.0:8716/?token={token}"
    path.chmod(0o644)
    assert page_address(config) == first
    assert (path.read_text().strip(), stat.S_IMODE(path.stat().st_mode)) == (token, 0o600)
    path.write_text("")  # of a start that was killed
    page_address(config)
    assert len(path.read_text().strip()) >= 40


def test_a_token_that_cannot_be_kept_is_told(place: Place) -> None:
    (place.root / "state").write_text("a file")
    with pytest.raises(OutputError, match="the token of the live page cannot be kept there"):
        page_address(place.config({}, web={"address": "0.0.0.0:8716", "allow_remote": True}))


def test_a_token_of_the_environment_opens_the_page_and_is_never_shown(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PAGE_TOKEN", "a-token-of-somebody")
    caplog.set_level(logging.INFO)
    port = free_port()
    config = place.config({}, web={"address": f"127.0.0.1:{port}", "token_env": "PAGE_TOKEN"})
    with place.serve(config) as running:

        def code(path: str) -> int:
            with closing(http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=5)) as connection:
                connection.request("GET", path)
                return connection.getresponse().status

        running.until(lambda: _listens(port))
        assert code("/") == 401
        assert code("/?token=a-token-of-somebody") == 303
        assert "a-token-of-somebody" not in json.dumps(running.status())
    assert f"the live page: http://127.0.0.1:{port}/" in caplog.text
    assert "a-token-of-somebody" not in caplog.text


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_frame_whose_results_are_none_is_refused() -> None:
    with pytest.raises(TransportError, match="expected a message"):
        frame_of(Shown("a", 64, 48, None, (b"rubbish",), b""))
    endless = msgpack.packb({"v": 1, "type": "result", "stream": "a", "seq": 0, "x": float("nan")})
    with pytest.raises(TransportError, match="expected results of numbers and text"):
        frame_of(Shown("a", 64, 48, None, (endless,), b""))


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (["--stream", "a=webcam:0"], ""),
        (["--stream", "a=webcam:0", "--web"], "127.0.0.1:8716"),
        (["--stream", "a=webcam:0", "--web", "[::1]:9"], "[::1]:9"),
        (["FILE", "--web"], "127.0.0.1:9000"),
        (["--web", "FILE"], "127.0.0.1:9000"),
        (["FILE", "--web", "127.0.0.1:9001"], "127.0.0.1:9001"),
    ],
)
def test_the_command_line_turns_it_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], address: str
) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('web.address = "127.0.0.1:9000"\n[stream.a]\nsource = "webcam:0"\n')
    assert main(["serve", "--check", *(str(path) if word == "FILE" else word for word in words)]) == 0
    assert tomllib.loads(capsys.readouterr().out)["web"]["address"] == address


def test_the_name_of_the_variable_with_the_token_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE_TOKEN", "a-token-of-somebody")
    path = tmp_path / "serve.toml"
    path.write_text('[web]\naddress = "127.0.0.1:9000"\ntoken_env = "PAGE_TOKEN"\n')
    assert main(["serve", "--check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert tomllib.loads(shown)["web"]["token_env"] == "***"
    assert "a-token-of-somebody" not in shown
