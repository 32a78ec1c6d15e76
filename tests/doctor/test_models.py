"""Model files: none, some, damaged, whole, in stores that a test makes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auflow.doctor import model_files
from auflow.doctor.model_files import Models, gather, judge
from auflow.models import store
from auflow.models.manifest import CeclmFile, ModelFile
from auflow.tests.doctor.fake_machine import machine, only


def file(name: str, content: bytes) -> ModelFile:
    return ModelFile(f"lib/{name}", len(content), hashlib.sha256(content).hexdigest())


FILES = {"a.txt": b"first", "b.dat": b"second"}
EXTRA = {"cen.dat": b"third", "more.dat": b"fourth"}


@pytest.fixture(autouse=True)
def small_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "load_manifest", lambda: tuple(file(*each) for each in FILES.items()))
    monkeypatch.setattr(
        model_files, "load_ceclm_files", lambda: tuple(CeclmFile(file(*each), ()) for each in EXTRA.items())
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = store.originals(tmp_path / "store") / "lib"
    folder.mkdir(parents=True)
    for name, content in (FILES | EXTRA).items():
        (folder / name).write_bytes(content)
    return tmp_path / "store"


def look(tmp_path: Path, root: Path) -> Models:
    return gather(machine(tmp_path, models_dir=root))


def test_a_whole_store(tmp_path: Path, root: Path) -> None:
    found = judge(look(tmp_path, root))
    assert [each.state for each in found] == ["fine", "fine"]
    assert only(found, "CE-CLM's").what.endswith("each with its SHA-256")


def test_no_store(tmp_path: Path) -> None:
    found = only(judge(look(tmp_path, tmp_path / "none")), "OpenFace's")
    assert found.state == "broken"
    assert found.mend == f"auflow models fetch --accept-license --dir {tmp_path / 'none'}"
    assert "licence" in found.what


def test_a_file_is_missing(tmp_path: Path, root: Path) -> None:
    (store.originals(root) / "lib" / "a.txt").unlink()
    found = only(judge(look(tmp_path, root)), "OpenFace's")
    assert found.state == "broken"
    assert "1 of 2 are missing" in found.what
    assert "a.txt" in found.what


@pytest.mark.parametrize("content", [b"secoNd", b"short"])
def test_a_damaged_file(tmp_path: Path, root: Path, content: bytes) -> None:
    (store.originals(root) / "lib" / "b.dat").write_bytes(content)
    found = only(judge(look(tmp_path, root)), "OpenFace's")
    assert found.state == "broken"
    assert "1 of 2 " in found.what
    assert "damaged: b.dat" in found.what


def test_ceclm_is_a_note_where_it_is_not_here(tmp_path: Path, root: Path) -> None:
    (store.originals(root) / "lib" / "cen.dat").unlink()
    found = only(judge(look(tmp_path, root)), "CE-CLM's")
    assert found.state == "note"
    assert found.mend.startswith("auflow models fetch --with-ceclm --accept-license")


def test_ceclm_that_is_damaged_is_broken(tmp_path: Path, root: Path) -> None:
    (store.originals(root) / "lib" / "cen.dat").write_bytes(b"thirD")
    assert only(judge(look(tmp_path, root)), "CE-CLM's").state == "broken"


def test_large_files_are_hashed_as_long_as_there_is_time(tmp_path: Path, root: Path) -> None:
    # The two files that are needed, the start of CE-CLM, its first file; time is up for the second.
    ticks = iter([0.0, 0.0, 0.0, 0.0, 9.0])
    facts = gather(machine(tmp_path, models_dir=root), clock=lambda: next(ticks))
    assert (facts.needed.hashed, facts.ceclm.hashed) == (2, 1)
    assert "1 with their SHA-256, 1 by their size" in only(judge(facts), "CE-CLM's").what


def test_the_store_is_where_a_run_looks(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFACE_MODELS_DIR", str(root))
    facts = gather(machine(tmp_path))
    assert (facts.root, facts.chosen) == (root, "")
