"""A service that does nothing but remember, and one that can be asked over a real socket."""

from __future__ import annotations

import select
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auflow.errors import UsageError
from auflow.serve.config import StreamConfig
from auflow.serve.control import ControlServer, dispatch
from auflow.tests.serve.live_place import Place

STATUS: dict[str, Any] = {
    "version": "1.2",
    "state": "ready",
    "uptime_s": 3725.0,
    "streams": [
        {
            "name": "door",
            "source": "rtsp://192.0.2.10/1",
            "policy": "live",
            "state": "streaming",
            "reason": "",
            "since_s": 61.0,
            "width_px": 640,
            "height_px": 480,
            "fps": 14.96,
            "frames": {"in": 1500, "done": 1490, "failed": 1, "dropped": {"superseded": 7, "too_old": 0, "paused": 2}},
            "reconnects": 3,
            "corrupt": 0,
            "lost": 0,
            "clock": "rtcp",
            "age_p50_ms": 81.0,
            "age_p99_ms": 140.0,
            "faces": 1,
            "last_frame_age_s": 0.08,
            "lane": "live-1",
            "outputs": ["/data/door.csv"],
        }
    ],
    "lanes": [
        {
            "name": "live-1",
            "state": "ready",
            "restarts": 0,
            "workers": [{"name": "decode", "pid": 4711, "cpu_s": 12.5, "pss_mb": 80.0}],
        }
    ],
    "detectors": [{"name": "detect-1", "state": "ready", "restarts": 0, "workers": []}],
    "bus": {"address": "tcp://127.0.0.1:8718", "published": 1490},
    "dropped_messages": 0,
}


class FakeService:
    """Implements `ServiceApi`: streams by name, and what was asked."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamConfig] = {}
        self.asked: list[str] = []

    def status(self) -> dict[str, Any]:
        return STATUS

    def add(self, stream: StreamConfig) -> None:
        if stream.name in self.streams:
            raise UsageError(f"{stream.name}: there is a stream of this name")
        self.streams[stream.name] = stream

    def remove(self, name: str) -> None:
        self._known(name)
        del self.streams[name]

    def pause(self, name: str) -> None:
        self._known(name)
        self.asked.append(f"pause {name}")

    def resume(self, name: str) -> None:
        self._known(name)
        self.asked.append(f"resume {name}")

    def drain(self) -> None:
        self.asked.append("drain")

    def stop(self) -> None:
        self.asked.append("stop")

    def _known(self, name: str) -> None:
        if name not in self.streams:
            raise UsageError(f"{name}: no such stream")


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private folder whose path leaves room for the name of a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="auflow-t-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def running(service: FakeService, short_tmp: Path) -> Iterator[Path]:
    """The socket of a service whose main loop runs in a thread."""
    server = ControlServer(short_tmp / "auflow" / "control.sock")
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            select.select([server], [], [], 0.05)
            for client, request in server.requests():
                server.answer(client, dispatch(service, request))

    thread = threading.Thread(target=loop)
    thread.start()
    yield server.path
    over.set()
    thread.join()
    server.close()


@pytest.fixture
def place(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder for a service with fake stages."""
    monkeypatch.setenv("TMPDIR", str(short_tmp))
    monkeypatch.setattr(tempfile, "tempdir", str(short_tmp))
    return Place(short_tmp)
