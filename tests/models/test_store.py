"""Manifest and store: the real manifest against the real files, and a damaged tiny store."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import pytest

from auflow.errors import ModelError
from auflow.models import store
from auflow.models.manifest import ModelFile, load_manifest, sha256_of
from auflow.models.store import default_root, missing_files, originals, require, verify_files

BYTES = {"a/first.dat": b"first" * 100, "a/b/second.txt": b"second", "LICENCE.txt": b"terms"}


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """A complete store of three files, one of them a licence text."""
    files = tuple(
        ModelFile(path, len(data), hashlib.sha256(data).hexdigest(), path != "LICENCE.txt")
        for path, data in BYTES.items()
    )
    monkeypatch.setattr(store, "load_manifest", lambda: files)
    for path, data in BYTES.items():
        target = originals(tmp_path) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return tmp_path


def test_a_whole_store_passes(tiny):
    assert missing_files(tiny) == []
    verify_files(tiny)
    require(tiny)


def test_a_flipped_byte_is_named_with_both_hashes(tiny):
    target = originals(tiny) / "a/first.dat"
    broken = bytearray(BYTES["a/first.dat"])
    broken[77] ^= 1
    target.write_bytes(broken)
    for check in (verify_files, require):
        with pytest.raises(ModelError) as caught:
            check(tiny)
        text = str(caught.value)
        assert str(target) in text
        assert hashlib.sha256(BYTES["a/first.dat"]).hexdigest() in text
        assert hashlib.sha256(broken).hexdigest() in text
        assert "auflow models fetch --accept-license" in text
        assert "second" not in text


def test_missing_files_are_told_in_three_lines_that_say_what_to_type(tiny):
    (originals(tiny) / "a/first.dat").unlink()
    assert missing_files(tiny) == ["a/first.dat"]
    with pytest.raises(ModelError) as caught:
        require(tiny)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1 of 2 ")
    assert "auflow models fetch --accept-license" in lines[2]
    with pytest.raises(ModelError, match=r"first\.dat: missing"):
        verify_files(tiny)
    assert caught.value.exit_code == 4


def test_a_licence_text_may_be_missing_but_not_be_another(tiny):
    licence = originals(tiny) / "LICENCE.txt"
    licence.unlink()
    require(tiny)
    licence.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"LICENCE\.txt: damaged"):
        verify_files(tiny)


def test_root_is_the_environment_s_else_the_user_s_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENFACE_MODELS_DIR", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.setenv("OPENFACE_MODELS_DIR", "~/models")
    assert default_root() == Path.home() / "models"
    monkeypatch.setenv("OPENFACE_MODELS_DIR", "")
    assert default_root().name == "OpenFaceModels"
    assert default_root().is_absolute()
    assert originals(tmp_path) == tmp_path / "2.2.0" / "originals"


def test_manifest_is_sorted_unique_and_relative():
    files = load_manifest()
    paths = [file.path for file in files]
    assert paths == sorted(set(paths))
    assert sum(file.needed for file in files) == 90
    assert [file.path for file in files if not file.needed] == ["Copyright.txt", "OpenFace-license.txt"]
    for file in files:
        assert not PurePosixPath(file.path).is_absolute()
        assert ".." not in PurePosixPath(file.path).parts
        assert len(file.sha256) == 64
        assert int(file.sha256, 16) >= 0
        assert file.size > 0


def test_real_store_has_the_manifest_s_bytes(models_dir):
    for file in load_manifest():
        path = store.path_of(models_dir, file)
        if path.is_file() or file.needed:
            assert (path.stat().st_size, sha256_of(path)) == (file.size, file.sha256), file.path
    require(models_dir)


def test_manifest_holds_everything_that_the_menus_name(models_dir):
    listed = {file.path for file in load_manifest()}
    landmarks = "lib/local/LandmarkDetector/model"
    predictors = "lib/local/FaceAnalyser/AU_predictors"
    menus = [
        f"{landmarks}/main_clnf_general.txt",
        f"{landmarks}/clnf_general.txt",
        f"{landmarks}/model_inner/main_clnf_inner.txt",
        f"{landmarks}/model_inner/clnf_inner.txt",
        f"{landmarks}/model_eye/main_clnf_synth_left.txt",
        f"{landmarks}/model_eye/clnf_left_synth.txt",
        f"{landmarks}/model_eye/main_clnf_synth_right.txt",
        f"{landmarks}/model_eye/clnf_right_synth.txt",
        f"{landmarks}/mtcnn_detector/MTCNN_detector.txt",
        f"{predictors}/main_dynamic_svms.txt",
        f"{predictors}/main_static_svms.txt",
        f"{predictors}/AU_all_best.txt",
        f"{predictors}/AU_all_static.txt",
    ]
    for menu in menus:
        column = 0 if Path(menu).name.startswith("AU_all") else 1
        named = [
            line.split()[column] for line in (originals(models_dir) / menu).read_text().splitlines() if line.strip()
        ]
        assert named
        assert {str(PurePosixPath(menu).parent / name) for name in named} <= listed
        assert menu in listed
