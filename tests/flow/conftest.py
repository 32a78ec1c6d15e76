"""A place for runs with fake stages, and what may be left of them."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from auflow.flow.supervision import Limits
from auflow.options import RunOptions
from auflow.orchestrator import run
from auflow.report import PlainReporter, StreamSummary

HERE = Path(__file__).parent
CHECKPOINT_S = 0.02  # so that a short input has some


@dataclass
class Place:
    """A folder for one test, and what runs from it."""

    root: Path
    out: Path
    kit: ModuleType
    spawned: list[subprocess.Popen[str]] = field(default_factory=list)

    def input(self, name: str, frames: int = 12, width: int = 64, height: int = 48, **more: int) -> Path:
        path = self.root / f"{name}.json"
        spec = {"frames": frames, "width": width, "height": height, "seed": sum(name.encode()), **more}
        path.write_text(json.dumps(spec))
        return path

    def options(self, *inputs: Path, jobs: int = 1, resume: bool = False) -> RunOptions:
        return RunOptions(
            inputs,
            self.out,
            self.root,
            settings=self.kit.SETTINGS,
            jobs=jobs,
            resume=resume,
            checkpoint_s=CHECKPOINT_S,
        )

    def run(
        self, *inputs: Path, jobs: int = 1, resume: bool = False, limits: Limits | None = None
    ) -> list[StreamSummary]:
        options, reporter = self.options(*inputs, jobs=jobs, resume=resume), PlainReporter(sys.stderr, quiet=True)
        return run(options, reporter, kit="fake_kit", limits=limits)

    def spawn(self, *inputs: Path, jobs: int = 1, resume: bool = False) -> subprocess.Popen[str]:
        """A run as a process of its own, in a session of its own."""
        places = [str(HERE / "fake_run.py"), str(self.out), str(self.root)]
        how = [str(jobs), str(int(resume)), str(CHECKPOINT_S)]
        command = [sys.executable, *places, *how, *map(str, inputs)]
        self.spawned.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True))
        return self.spawned[-1]

    def alone(self, path: Path, failed: int = 0) -> bytes:
        """The CSV without any processes; `failed` is a frame that no stage looks at."""
        reference = self.root / "reference.csv"
        self.kit.run_alone(path, reference, failed)
        return reference.read_bytes()

    def written(self) -> list[str]:
        """What a user sees in the output folder."""
        return sorted(path.name for path in self.out.iterdir() if not path.name.startswith("."))

    def unfinished(self) -> list[str]:
        """What can be gone on with."""
        return sorted(path.name for path in self.out.iterdir() if path.name.startswith("."))

    def has_checkpoint(self, name: str) -> bool:
        return (self.out / f".{name}.auflow" / "checkpoint").exists()

    def told(self, capfd: pytest.CaptureFixture[str]) -> str:
        return capfd.readouterr().err.replace(f"{self.root}/", "")

    def workers(self) -> dict[str, int]:
        """Name and process id of this test's workers that are alive, and of the nursery."""
        mine, found = f"TMPDIR={self.root}".encode(), {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_nursery = b"auflow.flow.nursery_process" in (folder / "cmdline").read_bytes().split(b"\0")
                if is_nursery and mine in (folder / "environ").read_bytes().split(b"\0"):
                    name = (folder / "comm").read_text()
                    found[name.split()[0] if "-" in name else "nursery"] = int(folder.name)
        return found

    def left_behind(self) -> list[str]:
        """Processes, socket folders, sockets and shared memory of this test's runs."""
        folders = [str(path) for path in self.root.glob("auflow-run-*")]
        sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if str(self.root) in line]
        segments = [str(path) for path in Path("/dev/shm").glob("*auflow*")]
        return [*self.workers(), *folders, *sockets, *segments]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # pytest's own temporary folders are too long for socket paths
    root = Path(tempfile.mkdtemp(prefix="aft-", dir="/tmp"))
    (root / "out").mkdir()
    monkeypatch.setenv("TMPDIR", str(root))
    monkeypatch.setattr(tempfile, "tempdir", str(root))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.syspath_prepend(str(HERE))
    place = Place(root, root / "out", importlib.import_module("fake_kit"))
    yield place
    for process in place.spawned:
        if process.poll() is None:  # the test has failed
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    shutil.rmtree(root)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def hang(place: Place, monkeypatch: pytest.MonkeyPatch, where: str) -> Path:
    """Have a stage hang; the file that appears when it does."""
    monkeypatch.setenv("AUFLOW_FAKE_FAULT", f"{where}:hang")
    mark = place.root / "hung"
    monkeypatch.setenv("AUFLOW_FAKE_HUNG", str(mark))
    return mark


def all_connected(place: Place, lanes: int = 1) -> bool:
    """Whether the run is past its start: a sink has opened the files of its first input."""
    return len(place.workers()) == 4 * lanes + 2 and len(place.unfinished()) == lanes
