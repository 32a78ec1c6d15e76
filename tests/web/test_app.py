"""The page's server over real sockets: files, headers, who gets in, what comes through the WebSocket."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from auflow.errors import StageError, UsageError
from auflow.tests.web.conftest import TOKEN, Page, until
from auflow.tests.web.test_hub import frame, opened
from auflow.tests.web.tools import KEY, silent
from auflow.web.access import HEADERS, Door
from auflow.web.hub import MAX_VIEWERS
from auflow.web.server import listen

STATIC = Path(__file__).parents[2] / "web" / "static"


def test_every_file_is_served_with_its_type_and_all_headers(page: Page) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
    for path in STATIC.iterdir():
        code, headers, body = page.get("/" if path.name == "index.html" else f"/static/{path.name}")
        assert (code, body) == (200, path.read_bytes())
        assert headers["content-type"].startswith(types[path.suffix])
        assert headers["cache-control"] == "no-cache"
        for name, value in HEADERS.items():
            assert headers[name.lower()] == value


def test_the_page_names_only_files_that_are_there_and_no_other_host() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        for name in re.findall(r"""["'(](?:/static|\.)/([\w.]+)["')]""", text):
            assert (STATIC / name).is_file(), (path.name, name)
        hosts = set(re.findall(r"(?:https?|wss?)://([^\s\"'`]+)", text)) - {"www.w3.org/2000/svg"}
        assert all(host.startswith("${location.host}") for host in hosts), (path.name, hosts)
        assert not re.search(r"""\s(?:style|on\w+)=["']""", text), path.name  # the policy would forbid it


def test_the_status_is_told_once_there_is_one(page: Page) -> None:
    code, headers, body = page.get("/api/status")
    assert (code, json.loads(body)["status"]) == (503, None)
    page.server.tell_status('{"state": "ready"}')
    until(lambda: page.get("/api/status")[0] == 200)
    told = json.loads(page.get("/api/status")[2])
    dropped = {"picture": 0, "result": 0, "status": 0, "closed": 0}
    assert told == {"type": "status", "status": {"state": "ready"}, "page": {"viewers": 0, "dropped": dropped}}
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")


@pytest.mark.parametrize("path", ["/x", "/static/", "/static/x.js", "/static/../hub.py", "/static/%2e%2e/hub.py"])
def test_nothing_else_is_there(page: Page, path: str) -> None:
    code, headers, _ = page.get(path)
    assert code == 404
    assert "content-security-policy" in headers


def test_there_is_only_something_to_look_at(page: Page) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        code, headers, _ = page.get("/", method)
        assert (code, headers["allow"]) == (405, "GET, HEAD")
    assert page.get("/", "HEAD")[::2] == (200, b"")


# Host and Origin


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7", "", "a@127.0.0.1", "[::1"])
def test_another_name_is_refused(page: Page, host: str) -> None:
    code, _, body = page.get("/", Host=host)
    assert (code, b"not served under that name" in body) == (421, True)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
    assert page.get("/ws", Host=host, **upgrade)[0] == 403


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:9", "[::1]:{port}", "LOCALHOST"])
def test_names_of_this_machine_are_taken_also_through_a_tunnel(page: Page, host: str) -> None:
    assert page.get("/", Host=host.format(port=page.port))[0] == 200


def test_beyond_this_machine_numbers_and_its_own_name_are_taken() -> None:
    door = Door("0.0.0.0", 8716, TOKEN)
    own = socket.gethostname()
    assert all(door.serves(host) for host in ("10.0.0.7:8716", "[fe80::1]:8716", own, f"{own}.local:8716", "localhost"))
    assert not any(door.serves(host) for host in ("evil.example", f"{own}.evil.example", None, "10.0.0.7:x/"))
    assert Door("camera.example", 8716, TOKEN).serves("camera.example:8716")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "file://"])
def test_a_socket_that_another_site_opens_is_refused(page: Page, origin: str) -> None:
    with pytest.raises(InvalidStatus, match="403"), page.watch(origin=origin):
        pass


def test_a_socket_of_this_page_is_taken(page: Page) -> None:
    with page.watch("door", origin=f"http://{page.host}"):
        assert page.server.viewers == 1


# The token


def test_without_the_token_there_is_only_a_page_that_says_what_to_do(guarded: Page) -> None:
    for path in ("/", "/?token=wrong", "/?token=", "/?token=%ff"):
        code, headers, body = guarded.get(path)
        assert code == 401
        assert b"the service has written into its log" in body
        assert "set-cookie" not in headers
        assert "content-security-policy" in headers
    assert guarded.get("/api/status")[0] == 401
    assert guarded.get(f"/api/status?token={quote(TOKEN)}")[0] == 401
    assert guarded.get("/static/page.css")[0] == 200
    with pytest.raises(InvalidStatus, match="403"), guarded.watch():
        pass


def test_the_token_becomes_a_cookie_and_leaves_the_address(guarded: Page) -> None:
    code, headers, _ = guarded.get(f"/?token={quote(TOKEN)}")
    assert (code, headers["location"]) == (303, "/")
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert {each.lower() for each in attributes} >= {"httponly", "samesite=strict", "path=/"}
    assert TOKEN not in cookie
    assert guarded.get("/", Cookie=cookie)[0] == 200
    assert guarded.get("/", Cookie=f"other=1; {cookie}")[0] == 200
    with guarded.watch("door", additional_headers={"Cookie": cookie}):
        assert guarded.server.viewers == 1


@pytest.mark.parametrize("cookie", ["auflow_{port}=wrong", "auflow_1={right}", "auflow_{port}=", "\x01=;;", "x"])
def test_a_wrong_cookie_is_none(guarded: Page, cookie: str) -> None:
    text = cookie.format(port=guarded.port, right=guarded.door.cookie)
    assert guarded.get("/", Cookie=text)[0] == 401


def test_an_address_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(UsageError, match=r"web\.address: 127\.0\.0\.1:\d+ cannot be"):
        listen("127.0.0.1", first.getsockname()[1])


# The WebSocket


def test_a_viewer_gets_the_status_and_the_frames_of_its_stream(page: Page) -> None:
    page.server.tell_status('{"state":"ready"}')
    with page.watch("door") as viewer:
        assert json.loads(viewer.recv(5))["status"] == {"state": "ready"}
        page.server.show(frame(1, stream="hall"))
        page.server.show(frame(2))
        assert opened(viewer.recv(5)) == (2, "jpeg 2")
        assert page.server.viewers == 1
        viewer.send('{"watch": null}')
        until(lambda: not page.wanted)
    until(lambda: page.server.viewers == 0)


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"watch": 1}', '{"watch": ""}', "[" * 1000, '{"watch": "a\\u0000"}']
)
def test_a_viewer_that_talks_nonsense_is_closed_and_nobody_else(page: Page, text: str) -> None:
    with page.watch("door") as other, page.watch() as viewer:
        viewer.send(text)
        with pytest.raises(ConnectionClosed) as closed:
            viewer.recv(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        page.server.show(frame(1))
        assert opened(other.recv(5))[0] == 1
    page.server.check()


def test_a_message_that_is_too_long_or_of_bytes_ends_that_connection_only(page: Page) -> None:
    with page.watch("door") as other:
        for message in ("x" * 5000, b"bytes"):
            with page.watch() as viewer:
                viewer.send(message)
                with pytest.raises(ConnectionClosed):
                    viewer.recv(5)
        page.server.show(frame(1))
        assert opened(other.recv(5))[0] == 1


def test_there_are_so_many_viewers_and_no_more(page: Page) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_VIEWERS):
            stack.enter_context(page.watch())
        until(lambda: page.server.viewers == MAX_VIEWERS)
        with page.watch() as crowded, pytest.raises(ConnectionClosed) as closed:
            crowded.recv(5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "32 pages are open already: close one")
    until(lambda: page.server.viewers == 0)
    with page.watch("door"):
        assert page.server.viewers == 1


def test_a_viewer_that_reads_nothing_is_dropped_for_and_then_sent_away() -> None:
    page = Page(silence_s=1.0)
    try:
        with page.watch("door") as quick, silent(page.port, "door"):
            until(lambda: page.server.viewers == 2)
            began, number, seen = time.monotonic(), 0, 0
            big = b"x" * 200_000
            while page.server.viewers == 2:
                assert time.monotonic() - began < 15
                number += 1
                one = frame(number)
                page.server.show(type(one)(one.stream, one.head, big))
                seen = opened(quick.recv(5))[0]
                time.sleep(0.01)
            assert time.monotonic() - began >= 1.0
            assert page.server.dropped["picture"] > 10
            assert page.server.dropped["closed"] == 1
            assert seen == number  # the quick one has missed nothing
            until(lambda: connections(page) == 1)
    finally:
        page.server.close()


def connections(page: Page) -> int:
    return len(page.server._server.server_state.connections)


# The thread


def test_frames_that_the_server_has_no_time_for_are_counted_and_nobody_waits(page: Page) -> None:
    page.server._loop.call_soon_threadsafe(time.sleep, 0.5)
    began = time.monotonic()
    for number in range(1000):
        page.server.show(frame(number))
    assert time.monotonic() - began < 0.4
    assert page.server.dropped["busy"] == 1000 - 256
    until(lambda: page.server._taken == 256)
    page.server.show(frame(1))
    until(lambda: page.server._taken == 257)


def test_a_thread_that_hangs_is_an_error() -> None:
    page = Page(hang_s=0.5)
    try:
        page.server.check()
        page.server._loop.call_soon_threadsafe(time.sleep, 1.5)
        time.sleep(0.7)
        with pytest.raises(StageError, match=r"gave no sign of life for 0\.5 s"):
            page.server.check()
    finally:
        page.server.close()


def test_a_thread_that_has_ended_is_an_error(page: Page) -> None:
    page.server._server.should_exit = True
    page.server._thread.join(10)
    with pytest.raises(StageError, match="the page's server has ended"):
        page.server.check()
    page.server.show(frame(1))
    page.server.tell_status("{}")


def test_viewers_are_told_when_the_server_ends(page: Page) -> None:
    with page.watch("door") as viewer:
        page.server.close()
        with pytest.raises(ConnectionClosed):
            viewer.recv(5)
