"""Which backend computes what: what the user says, what was measured, and what this machine has."""

from __future__ import annotations

import pytest

from auflow.backends import choice
from auflow.backends.availability import Availability
from auflow.backends.choice import Choice, choose, read_asked
from auflow.backends.names import BACKENDS, REFERENCE, BackendName
from auflow.errors import BackendError, UsageError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """`machine("ort-cuda", gpu="H200")`: a machine that has these backends beside the reference."""

    def has(*there: BackendName, gpu: str | None = None) -> None:
        def look(name: BackendName) -> Availability:
            usable = name in (*there, "numba", "ort-cpu")
            return Availability(name, usable, "here" if usable else "no card", "" if usable else "buy one")

        def require(name: BackendName) -> None:
            if not look(name).usable:
                raise BackendError(f"backend {name}: no card\nbuy one")

        monkeypatch.setattr(choice, "look", look)
        monkeypatch.setattr(choice, "require", require)
        monkeypatch.setattr(choice, "_idle", lambda: gpu)

    return has


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("auto", {"detect": "auto", "clnf": "auto", "au": "auto"}),
        ("numba", {"detect": "ort-cpu", "clnf": "numba", "au": "numba"}),
        ("ort-cuda", {"detect": "ort-cuda", "clnf": "ort-cuda", "au": "ort-cuda"}),
        ("detect=tensorrt", {"detect": "tensorrt"}),
        ("detect=tensorrt, clnf=ort-cpu", {"detect": "tensorrt", "clnf": "ort-cpu"}),
        ("clnf=ort-cpu,ort-cuda", {"detect": "ort-cuda", "clnf": "ort-cpu", "au": "ort-cuda"}),
    ],
)
def test_what_is_asked_for(text: str, asked: dict[str, str]) -> None:
    assert read_asked(text) == asked


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cuda", "expected a backend, one of auto, numba, ort-cpu"),
        ("", "expected a backend"),
        ("detect=", "expected a backend"),
        ("decode=ort-cuda", "expected a stage, one of detect, clnf, au"),
        ("numba,ort-cpu", "all stages: two backends are named"),
        ("clnf=numba,clnf=ort-cpu", "clnf: two backends are named"),
        ("detect=numba", "detect has no kernels in Numba; its reference is ort-cpu"),
    ],
)
def test_what_cannot_be_asked_for(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_asked(text)


def test_what_nobody_has_measured_is_not_chosen_but_told(machine) -> None:
    machine("ort-cuda", gpu="NVIDIA H200")
    found = choose({}, {})
    assert found.backends == REFERENCE
    (note,) = found.notes
    assert "NVIDIA H200" in note
    assert "auflow tune" in note
    assert choose(read_asked("numba"), {}) == Choice(REFERENCE)


def test_a_plain_machine_says_nothing(machine) -> None:
    machine()
    assert choose({}, {}) == Choice(REFERENCE)


def test_auto_takes_what_was_measured_and_falls_back_aloud(machine) -> None:
    measured: dict = {"detect": "ort-cuda"}
    machine("ort-cuda", gpu="NVIDIA H200")
    assert choose({}, measured) == Choice({**REFERENCE, "detect": "ort-cuda"})
    machine()
    found = choose({}, measured)
    assert found.backends == REFERENCE
    assert "ort-cuda, which `auflow tune` found best, is not to be had here any more: no card" in found.notes[0]


def test_one_that_is_asked_for_is_never_replaced(machine) -> None:
    machine()
    for name in BACKENDS[2:]:
        with pytest.raises(BackendError, match=f"backend {name}: no card\nbuy one"):
            choose({"clnf": name}, {})
    with pytest.raises(BackendError):
        choose({"detect": "tensorrt"}, {"detect": "ort-cpu"})


def test_the_settings_of_a_choice() -> None:
    assert Choice({"detect": "ort-cuda"}).settings == {"detect_backend": "ort-cuda"}
