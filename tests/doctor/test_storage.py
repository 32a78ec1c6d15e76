"""Folders that auflow writes to, and the cache of kernels."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from auflow.doctor.storage import Folder, KernelCache, Storage, gather, judge
from auflow.tests.doctor.fake_machine import machine, only


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    # Earlier tests may have loaded it, with a folder of theirs; the doctor's process has not.
    monkeypatch.delitem(sys.modules, "numba", raising=False)


def facts(name: str, free: int | None = 10**11, error: str = "", **cache: object) -> Storage:
    folders = {each: Folder(each, Path("/x"), 10**11, "") for each in ("results", "temporary", "kernels")}
    folders[name] = Folder(name, Path("/x"), free, error)
    kernels: dict[str, object] = {"path": Path("/x"), "warning": "", "compiled": ("clnf",)}
    return Storage(tuple(folders.values()), KernelCache(**kernels | cache))  # type: ignore[arg-type]


def test_a_machine_without_faults(tmp_path: Path) -> None:
    found = judge(gather(machine(tmp_path, output_dir=tmp_path / "not" / "made" / "yet")))
    assert [(each.name, each.state) for each in found] == [
        ("results", "fine"),
        ("temporary", "fine"),
        ("kernels", "fine"),
    ]
    assert "not compiled yet" in only(found, "kernels").what
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("name", ["results", "temporary", "kernels"])
def test_a_folder_that_cannot_be_written(name: str) -> None:
    found = only(judge(facts(name, error="Read-only file system")), name)
    assert found.state == "broken"
    assert "Read-only file system" in found.what
    assert found.mend


@pytest.mark.parametrize("name", ["results", "temporary", "kernels"])
def test_a_full_disk(name: str) -> None:
    found = only(judge(facts(name, free=10**6)), name)
    assert (found.state, found.mend[:9]) == ("broken", "make room")


def test_room_for_an_hour() -> None:
    found = only(judge(facts("results", free=600_000_000)), "results")
    assert found.state == "note"
    assert "62 minutes" in found.what
    assert only(judge(facts("results", free=None)), "results").state == "note"


def test_a_result_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    found = gather(machine(tmp_path, output_dir=tmp_path / "taken" / "below"))
    assert only(judge(found), "results").state == "broken"
    assert "taken is no folder" in only(judge(found), "results").what
    sealed = gather(machine(tmp_path, output_dir=Path("/proc/1")))
    assert only(judge(sealed), "results").state == "broken"


def test_a_read_only_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = only(judge(gather(machine(tmp_path))), "kernels")
    assert (found.state, found.mend) == ("note", "export NUMBA_CACHE_DIR=/a/lasting/folder")
    assert "can be written" in found.what
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_relative_to(tmp_path / f"auflow-kernels-{os.getuid()}")


def test_compiled_kernels_are_told(tmp_path: Path) -> None:
    gather(machine(tmp_path))
    Path(os.environ["NUMBA_CACHE_DIR"], "clnf.json").write_text("{}")
    assert only(judge(gather(machine(tmp_path))), "kernels").what.endswith("compiled for clnf")


def test_no_temporary_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    found = only(judge(gather(machine(tmp_path))), "temporary")
    assert (found.state, found.mend) == ("broken", "export TMPDIR=/a/folder/of/yours")
