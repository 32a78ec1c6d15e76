"""The work folder: one run at a time, emptied of what an abandoned one left, and gone at the end."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from auflow.errors import OutputError
from auflow.stages.sink.workspace import WorkFolder

HOLDS = """
import sys, time
from pathlib import Path
from auflow.stages.sink.workspace import WorkFolder
work = WorkFolder(Path(sys.argv[1]))
(work / "rows").write_text("mine")
print("locked", flush=True)
time.sleep(60)
"""


def test_place_and_end(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "a.b.csv")
    assert work.path == tmp_path / ".a.b.auflow"
    (work / "rows").write_text("x")
    (work / "aligned").mkdir()
    (work / "aligned" / "face.bmp").write_text("x")
    work.discard()
    work.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_on_the_same_output_is_refused(tmp_path: Path) -> None:
    first = WorkFolder(tmp_path / "a.csv")
    (first / "rows").write_text("x")
    for keep in (False, True):
        with pytest.raises(OutputError, match=r"a\.csv: is being written by another run"):
            WorkFolder(tmp_path / "a.csv", keep=keep)
    assert (first / "rows").read_text() == "x"
    other = WorkFolder(tmp_path / "b.csv")
    other.discard()
    first.discard()
    WorkFolder(tmp_path / "a.csv").discard()


def test_what_a_killed_run_left_is_kept_or_removed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "a.csv")], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "locked\n"
        with pytest.raises(OutputError, match="by another run"):
            WorkFolder(tmp_path / "a.csv")
        run.kill()
    kept = WorkFolder(tmp_path / "a.csv", keep=True)
    assert (kept / "rows").read_text() == "mine"
    kept.release()
    kept.release()
    kept.discard()  # what was released is another's now
    assert (tmp_path / ".a.auflow" / "rows").exists()
    emptied = WorkFolder(tmp_path / "a.csv")
    assert sorted(path.name for path in emptied.path.iterdir()) == ["lock"]
    emptied.discard()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    WorkFolder(tmp_path / "a.csv").release()
    (tmp_path / ".a.auflow" / "aligned").symlink_to(tmp_path / "precious")
    WorkFolder(tmp_path / "a.csv").discard()
    assert (tmp_path / "precious" / "file").read_text() == "x"
    assert not (tmp_path / ".a.auflow").exists()


def test_many_runs_one_after_the_other_never_share_it(tmp_path: Path) -> None:
    inside, most, taken = [], [], []

    def run() -> None:
        for _ in range(60):
            try:
                work = WorkFolder(tmp_path / "a.csv")
            except OutputError:
                continue
            inside.append(1)
            most.append(len(inside))
            (work / "rows").write_text("x")
            inside.pop()
            work.discard()
            taken.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(taken) >= 1
    assert list(tmp_path.iterdir()) == []


def test_no_folder_to_lie_in(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.csv: cannot be written: No such file"):
        WorkFolder(tmp_path / "gone" / "a.csv")
    (tmp_path / ".b.auflow").write_text("a file")
    with pytest.raises(OutputError, match=r"b\.csv: cannot be written: File exists"):
        WorkFolder(tmp_path / "b.csv")


def test_a_file_system_without_locks_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    work = WorkFolder(tmp_path / "a.csv")
    work.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_fails_otherwise_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OutputError, match="Input/output error"):
        WorkFolder(tmp_path / "a.csv")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
