"""A running service with fake stages, asked over its socket as `auflow ctl` asks it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from auflow.flow.groups import Limits
from auflow.serve.client import ask
from auflow.serve.config import ServeConfig
from auflow.serve.loading import parse_config
from auflow.serve.service import Service
from auflow.tests.decode.conftest import write_clip
from auflow.transport.schema import unpack_message

KIT = "auflow.tests.serve.live_kit"
LIMITS = Limits(startup_s=60.0, silence_s=20.0, back_off_s=(0.0, 0.1), drain_s=8.0, exit_s=3.0)
PATIENT_S = 20.0


@dataclass
class Place:
    """A folder for one test."""

    root: Path
    errors: list[BaseException] = field(default_factory=list)

    def clip(self, name: str = "clip", frames: int = 50) -> Path:
        """A video of 25 pictures a second."""
        path = self.root / f"{name}.mp4"
        return path if path.exists() else write_clip(path, frames)

    def camera(self, name: str = "camera", **more: Any) -> dict[str, Any]:
        """A fake source, as a stream's table."""
        path = self.root / f"{name}.json"
        path.write_text(json.dumps({"fps": 50, "width": 64, "height": 48, **more}))
        return {"source": f"file:{path}"}

    def file(self, name: str = "file", frames: int = 40) -> dict[str, Any]:
        """A recording for the fake decoder, as a stream's table."""
        path = self.root / f"{name}.json"
        path.write_text(json.dumps({"frames": frames, "width": 64, "height": 48, "seed": 1}))
        return {"source": str(path), "policy": "file", "csv": str(self.root / f"{name}.csv")}

    def config(self, streams: dict[str, dict[str, Any]], **tables: dict[str, Any]) -> ServeConfig:
        """A configuration; nothing of it is outside of this folder."""
        document: dict[str, Any] = {
            "state_dir": str(self.root / "state"),
            "models_dir": str(self.root),
            "control": {"socket": str(self.root / "control" / "sock")},
            "http": {"address": ""},
            "bus": {"address": f"ipc://{self.root}/bus.sock"},
            "stream": streams,
        }
        return parse_config(document | tables, self.root, "the test's configuration", os.environ)

    @contextlib.contextmanager
    def serve(self, config: ServeConfig, limits: Limits = LIMITS) -> Iterator[Running]:
        """A service in a thread; at the end it is stopped and nothing of it is left."""
        before = open_files()
        running = Running(config)
        thread = threading.Thread(target=self._run, args=(running, limits))
        thread.start()
        try:
            assert running.there.wait(PATIENT_S), self.errors
            yield running
        finally:
            if thread.is_alive():
                with contextlib.suppress(Exception):
                    running.ask("stop")
                thread.join(PATIENT_S)
            alive = thread.is_alive()
        assert not alive, "the service did not end"
        running.service = None  # type: ignore[assignment]
        gc.collect()
        assert not (left := self.left_behind()), left
        assert open_files() == before, (open_files() - before, before - open_files())
        assert not self.errors or running.may_fail, self.errors

    def _run(self, running: Running, limits: Limits) -> None:
        try:
            with Service(running.config, kit=KIT, limits=limits) as running.service:
                running.there.set()
                running.service.until_done()
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.errors.append(error.with_traceback(None))  # whose frames hold the service

    def workers(self) -> list[str]:
        """Processes of this test that are alive."""
        mine, found = f"TMPDIR={self.root}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_nursery = b"auflow.flow.nursery_process" in (folder / "cmdline").read_bytes().split(b"\0")
                if is_nursery and mine in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "comm").read_text())
        return found

    def left_behind(self) -> list[str]:
        """Processes, socket folders, sockets and shared memory of this test's services."""
        folders = [str(path) for path in self.root.glob("auflow-run-*")]
        sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if str(self.root) in line]
        segments = [str(path) for path in Path("/dev/shm").glob("*auflow*")]
        return [*self.workers(), *folders, *sockets, *segments]


def open_files() -> Counter[str]:
    """What this process has open, sockets by their kind only, and its mappings of rings."""
    gc.collect()  # what is only unreachable is not open
    found = Counter({"rings": Path("/proc/self/maps").read_text().count("auflow-ring")})
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[os.readlink(f"/proc/self/fd/{name}").partition(":")[0]] += 1
    return found


class Running:
    """What a user can ask of a service."""

    service: Service

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.there = threading.Event()
        self.may_fail = False

    def ask(self, operation: str, name: str | None = None, **more: Any) -> dict[str, Any]:
        """Any operation."""
        request = {"op": operation, **({} if name is None else {"name": name}), **more}
        return ask(self.config.control_socket, request)

    def do(self, operation: str, name: str | None = None, **more: Any) -> None:
        """An operation that is to work."""
        answer = self.ask(operation, name, **more)
        assert answer["ok"], answer

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("status")["status"]
        for stream in found["streams"]:
            assert_adds_up(stream)
        return found

    def stream(self, name: str) -> dict[str, Any]:
        """The status of one stream."""
        return next(stream for stream in self.status()["streams"] if stream["name"] == name)

    def done(self, name: str) -> int:
        return int(self.stream(name)["frames"]["done"])

    def until(self, condition: Callable[[], Any], limit_s: float = PATIENT_S) -> Any:
        deadline_s = time.monotonic() + limit_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, self.ask("status")
            time.sleep(0.03)
        return found

    def flows(self, *names: str, frames: int = 5) -> None:
        """So many more frames of each stream are done."""
        goals = {name: self.done(name) + frames for name in names}
        for name, goal in goals.items():
            self.until(lambda name=name, goal=goal: self.done(name) >= goal)

    def pid(self, worker: str) -> int:
        """Of a worker that is alive."""
        groups = [*self.status()["lanes"], *self.status()["detectors"]]
        found = {each["name"]: each["pid"] for group in groups for each in group["workers"]}
        return int(found[worker]) if worker in found else self.service.crew.pids[worker]

    def kill(self, worker: str, number: int = signal.SIGKILL) -> int:
        pid = self.pid(worker)
        os.kill(pid, number)
        return pid


def assert_adds_up(stream: dict[str, Any]) -> None:
    frames = stream["frames"]
    assert frames["under_way"] >= 0, stream
    accounted = frames["done"] + frames["failed"] + sum(frames["dropped"].values()) + frames["under_way"]
    assert frames["in"] == accounted, stream


class Subscriber:
    """Listens to a bus from a thread; all that it has heard."""

    def __init__(self, address: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(address,))
        self._thread.start()

    def _listen(self, address: str) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.RECONNECT_IVL, 20)
            socket.subscribe(b"")
            socket.connect(address)
            while not self._over.is_set():
                if socket.poll(50):
                    self.heard.append(unpack_message(socket.recv_multipart()[1]))

    def of(self, stream: str, kind: str | None = None) -> list[dict[str, Any]]:
        return [m for m in list(self.heard) if m["stream"] == stream and kind in (None, m["type"])]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
