"""A profile on the disk: written whole, read strictly, and not used where it does not hold good."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auflow.errors import OutputError, UsageError
from auflow.profiles import store
from auflow.profiles.profile import Profile
from auflow.profiles.store import check_place, default_place, load_profile, read_file, save_profile


@pytest.fixture
def place(profile: Profile, tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "profile.json"
    save_profile(profile, path)
    return path


def changed(place: Path, *keys: Any, to: object) -> None:
    document = part = json.loads(place.read_text())
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = to
    place.write_text(json.dumps(document))


def test_round_trip(profile: Profile, place: Path) -> None:
    assert read_file(place) == profile
    assert load_profile(environ={"AUFLOW_PROFILE": str(place)}).profile == profile
    assert load_profile(str(place)).profile == profile
    assert [path.name for path in place.parent.iterdir()] == ["profile.json"]


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_place({"AUFLOW_PROFILE": "/x/p.json"}) == Path("/x/p.json")
    assert default_place({"AUFLOW_PROFILE": "none"}) is None
    found = default_place({})
    assert found is not None
    assert (found.parent.name, found.name) == ("auflow", "profile.json")


def test_none_is_none(place: Path) -> None:
    assert load_profile("none", {"AUFLOW_PROFILE": str(place)}).profile is None
    assert load_profile(environ={"AUFLOW_PROFILE": "none"}).profile is None
    missing = load_profile(environ={"AUFLOW_PROFILE": str(place.with_name("other.json"))})
    assert missing.profile is None
    assert "AUFLOW_PROFILE: there is no profile at" in missing.ignored


@pytest.mark.parametrize(
    ("keys", "value", "why"),
    [
        (("form",), 0, "it has form 0, this auflow reads form 1"),
        (("choices", "jobs"), 0, "choices.jobs: expected a whole number from 1"),
        (("choices", "jobs"), True, "choices.jobs: expected a whole number"),
        (("choices", "backends", "clnf"), "abacus", "choices.backends.clnf: expected one of numba"),
        (("choices", "tracking", "reuse_below_percent"), 101, "expected a number from 0 to 100"),
        (("choices", "cen_precision"), [], "expected one of float32"),
        (("figures",), {}, "figures: expected a list"),
        (("figures", 1, "verdict"), "great", "figures[1].verdict: expected one of"),
        (("figures", 1, "ratio"), "half", "figures[1].ratio: expected a number or null"),
        (("clips",), [1], "clips: expected a list of texts"),
        (("machine",), None, "machine: expected an object"),
        (("machine", "cpu"), "Another 9000", "measured with the processor Another 9000, here is"),
        (("machine", "cores"), 999, "measured with 999 cores, here is"),
        (("versions", "auflow"), "0.0.1", "measured with auflow 0.0.1, here is auflow"),
        (("versions", "onnxruntime"), "", "measured with no onnxruntime, here is"),
        (("versions", "numba"), "0.1", "measured with numba 0.1"),
    ],
)
def test_damaged_and_foreign_ones_are_ignored_with_the_reason(
    place: Path, keys: tuple[Any, ...], value: object, why: str
) -> None:
    changed(place, *keys, to=value)
    found = load_profile(environ={"AUFLOW_PROFILE": str(place)})
    assert found.profile is None
    assert why in found.ignored
    assert "run `auflow tune CLIP` to measure anew" in found.ignored
    with pytest.raises(UsageError, match="--profile none"):  # asked for by name it is an error
        load_profile(str(place))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * (1 << 20) + b"{}"])
def test_what_is_no_profile(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    assert "cannot be used" in load_profile(environ={"AUFLOW_PROFILE": str(place)}).ignored


def test_a_key_that_is_missing(place: Path) -> None:
    document = json.loads(place.read_text())
    del document["choices"]["detect_batch"]
    place.write_text(json.dumps(document))
    assert "choices.detect_batch: is missing" in load_profile(environ={"AUFLOW_PROFILE": str(place)}).ignored


def test_a_gpu_matters_where_something_was_chosen_for_it(profile: Profile, place: Path) -> None:
    machine = replace(profile.machine, gpus=("NVIDIA Nothing",))
    save_profile(replace(profile, machine=machine), place)
    assert load_profile(str(place)).profile is not None
    choices = replace(profile.choices, backends={**profile.choices.backends, "clnf": "ort-cuda"})
    save_profile(replace(profile, machine=machine, choices=choices), place)
    assert "measured with NVIDIA Nothing" in load_profile(environ={"AUFLOW_PROFILE": str(place)}).ignored


def test_a_write_that_is_cut_off_leaves_the_old_one(
    profile: Profile, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_profile(replace(profile, clips=("b.mp4",)), place)
    assert read_file(place) == profile
    assert [path.name for path in place.parent.iterdir()] == ["profile.json"]


def test_a_link_stays_a_link(profile: Profile, place: Path) -> None:
    link = place.with_name("link.json")
    link.symlink_to(place)
    save_profile(replace(profile, clips=("b.mp4",)), link)
    assert link.is_symlink()
    assert read_file(place).clips == ("b.mp4",)


def test_a_place_that_cannot_be_written(profile: Profile, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (place / "below-a-file.json", place.parent):
        with pytest.raises(OutputError, match="choose another place with --profile"):
            check_place(wrong)
    check_place(place)
    assert read_file(place) == profile

    def read_only(self: Path, *_: object, **__: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "write_bytes", read_only)
    with pytest.raises(OutputError, match="Read-only file system"):
        check_place(place)
