"""A page without a pipeline behind it, on any free port."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from auflow.tests.serve.live_place import Place
from auflow.web.access import Door
from auflow.web.server import PageServer, listen

TOKEN = "a token; with=odd letters"


class Page:
    """A running server and what browsers do to it."""

    def __init__(self, token: str = "", remote: bool = False, **limits: float) -> None:
        listener = listen("127.0.0.1", 0)
        self.port = int(listener.getsockname()[1])
        self.door = Door("0.0.0.0" if remote else "127.0.0.1", self.port, token)
        self.wanted: frozenset[str] = frozenset()
        self.server = PageServer(listener, self.door, self._want, **limits)  # type: ignore[arg-type]
        self.host = f"127.0.0.1:{self.port}"

    def _want(self, streams: frozenset[str]) -> None:
        self.wanted = streams

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    @contextmanager
    def watch(self, stream: str | None = None, **more: Any) -> Iterator[ClientConnection]:
        """An open WebSocket that watches a stream."""
        with connect(f"ws://{self.host}/ws", proxy=None, **more) as socket:
            if stream is not None:
                socket.send(json.dumps({"watch": stream}))
                until(lambda: stream in self.wanted)
            yield socket


def until(condition: Callable[[], Any], limit_s: float = 15.0) -> Any:
    deadline_s = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"not within {limit_s} s"
        time.sleep(0.01)
    return found


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.server.close()


@pytest.fixture
def guarded() -> Iterator[Page]:
    """One that other machines may reach, with a token."""
    made = Page(TOKEN, remote=True)
    yield made
    made.server.close()


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A folder for a service with fake stages; its path leaves room for the names of sockets."""
    tmp_path_factory.getbasetemp()  # which must not be made below this one
    with tempfile.TemporaryDirectory(prefix="auflow-t-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Place(Path(folder))
