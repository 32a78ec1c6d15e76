"""The folder of sockets: private, swept away after a run that was killed, never under a run that is alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from auflow.transport.faults import TransportError
from auflow.transport.rundir import RunDir, endpoint, sweep


def _age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_private_and_removed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert run.path.stat().st_mode & 0o777 == 0o700
    (run.path / "socket").touch()
    run.remove()
    run.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_live_stay_and_the_dead_go(tmp_path: Path) -> None:
    alive = RunDir(tmp_path)
    code = (
        "import os, signal, sys, pathlib; from auflow.transport.rundir import RunDir;"
        "RunDir(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (dead,) = set(tmp_path.iterdir()) - {alive.path}
    for path in (alive.path, dead):
        _age(path, 10)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [alive.path]
    alive.remove()


def test_one_that_is_being_made_stays(tmp_path: Path) -> None:
    unlocked = tmp_path / "auflow-run-new"
    unlocked.mkdir()
    fresh = tmp_path / "auflow-run-fresh"
    fresh.mkdir()
    (fresh / "lock").touch()
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == [fresh, unlocked]
    _age(unlocked, 100)
    _age(fresh, 100)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_links_and_strangers_stay(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "lock").touch()
    (tmp_path / "auflow-run-link").symlink_to(target)
    for path in (target,):
        _age(path, 100)
    sweep(tmp_path)
    assert (target / "lock").exists()
    assert (tmp_path / "auflow-run-link").is_symlink()


def test_too_long_a_path_is_refused(tmp_path: Path) -> None:
    assert endpoint(Path("/tmp/x"), "a") == "ipc:///tmp/x/a"
    with pytest.raises(TransportError, match="up to 107 bytes"):
        endpoint(Path("/" + "x" * 100), "y" * 10)


def test_a_long_temporary_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    run = RunDir()
    assert run.path.parent == Path("/tmp")
    run.remove()
