"""The whole: areas that raise or hang, text, JSON, exit codes, and a real run on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from auflow.cli import main
from auflow.doctor import examination
from auflow.doctor.examination import Area, Examination, examine
from auflow.doctor.finding import Choice, Finding
from auflow.doctor.places import Places
from auflow.doctor.printing import as_document, as_json, as_text
from auflow.tests.doctor.fake_machine import machine, only

FINE = Finding("memory", "size", "fine", "32 GB")
NOTE = Finding("models", "CE-CLM's", "note", "not here", "auflow models fetch --with-ceclm")
BROKEN = Finding("cameras", "/dev/video0", "broken", "may not be opened", "sudo usermod -aG video $USER")
LIBRARIES = (Finding("libraries", "numpy", "fine", "2.4"), Finding("libraries", "av", "fine", "18.0"))


def area(name: str, gather: object, *findings: Finding) -> Area:
    return Area(name, gather, lambda facts: findings)  # type: ignore[arg-type]


def raises(_: Places) -> None:
    raise ZeroDivisionError("no such machine")


def test_an_area_that_raises_is_a_finding(tmp_path: Path) -> None:
    def no_numpy(_: Places) -> None:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    def odd(facts: object) -> list[Finding]:
        raise KeyError("remedy")

    areas = (
        area("first", raises),
        area("second", lambda places: 1, FINE),
        area("third", no_numpy),
        Area("fourth", lambda places: 1, odd),
    )
    found = examine(machine(tmp_path), areas)
    assert found.findings == (
        Finding("first", "look", "broken", "this could not be looked at: ZeroDivisionError: no such machine"),
        FINE,
        Finding(
            "third",
            "look",
            "broken",
            "this could not be looked at: ModuleNotFoundError: No module named 'numpy'",
            "pip install numpy",
        ),
        Finding("fourth", "look", "broken", "this could not be looked at: KeyError: 'remedy'"),
    )
    assert found.exit_code == 1


def test_an_area_that_hangs_is_left_behind(tmp_path: Path) -> None:
    release = threading.Event()
    areas = (area("drive", lambda places: release.wait(20)), area("second", lambda places: 1, FINE))
    found = examine(machine(tmp_path), areas, patience_s=0.3)
    release.set()
    assert found.findings == (
        Finding("drive", "look", "broken", "this could not be looked at: no answer within 0.3 s"),
        FINE,
    )


def test_a_machine_of_which_nothing_can_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, no /sys, no disks, no store: every area has something to say, and none raises."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))

    def dead(folder: Path) -> int:
        raise OSError(5, "Input/output error")

    quick = [each for each in examination.AREAS if each.name not in ("software", "compute", "video", "cameras")]
    found = examine(machine(tmp_path, models_dir=tmp_path / "none", free_bytes=dead), quick)
    assert not [finding for finding in found.findings if finding.name == "look"]
    assert [finding.name for finding in found.broken] == ["OpenFace's"]


@pytest.mark.parametrize(
    ("findings", "code"), [((), 0), ((FINE, NOTE), 0), ((FINE, BROKEN), 1), ((BROKEN, BROKEN, NOTE), 1)]
)
def test_exit_codes(findings: tuple[Finding, ...], code: int) -> None:
    assert Examination(findings, ()).exit_code == code


def test_the_text_ends_with_what_is_used_and_what_is_broken() -> None:
    found = Examination((*LIBRARIES, FINE, NOTE, BROKEN), (Choice("detect", "ort-cpu", "the reference"),))
    lines = as_text(found).splitlines()
    assert lines[0].startswith("auflow ")
    assert "  fine    2 in range            numpy 2.4, av 18.0" in lines
    assert lines.index("What auflow would use, and why") < lines.index("Broken: 1")
    assert "  detect  ort-cpu: the reference" in lines
    assert lines[-2:] == [
        "  cameras, /dev/video0: may not be opened",
        "    -> sudo usermod -aG video $USER",
    ]
    assert as_text(Examination((FINE, NOTE), ())).endswith("\n\nNothing is broken; 1 note.\n")


def test_colour_adds_nothing_but_colour() -> None:
    found = Examination((FINE, NOTE, BROKEN), (Choice("detect", "ort-cpu", "the reference"),))
    plain, coloured = as_text(found), as_text(found, colour=True)
    assert "\x1b" not in plain
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_sentences_are_folded_and_commands_are_not() -> None:
    long = Finding("memory", "size", "broken", "word " * 60, "command " * 40)
    lines = as_text(Examination((long,), ()), width=80).splitlines()
    assert sum("command" in line for line in lines) == 2
    assert max(len(line) for line in lines if "command" not in line) <= 80


def test_the_document_keeps_its_form() -> None:
    """Programs read it: a key that goes or changes its meaning raises `form`."""
    document = as_document(Examination((NOTE,), (Choice("detect", "ort-cpu", "the reference"),)))
    assert list(document) == ["form", "auflow", "system", "healthy", "findings", "choices"]
    assert document["form"] == 1
    assert document["findings"] == [
        {
            "area": "models",
            "name": "CE-CLM's",
            "state": "note",
            "what": "not here",
            "mend": "auflow models fetch --with-ceclm",
        }
    ]
    assert document["choices"] == [{"part": "detect", "use": "ort-cpu", "why": "the reference"}]
    assert json.loads(as_json(Examination((BROKEN,), ())))["healthy"] is False


def test_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All looks for real, but for the model files, of which there are none: one document, exit code 1."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    code = main(["doctor", "--json", "-o", str(tmp_path), "--models-dir", str(tmp_path / "none")])
    document = json.loads(capsys.readouterr().out)
    findings = [Finding(**finding) for finding in document["findings"]]
    assert not [finding for finding in findings if finding.name == "look"]
    areas = list(dict.fromkeys(finding.area for finding in findings))
    order = ["python", "libraries", "extras", "processor", "memory", "storage", "gpu", "backends", "profile", "video"]
    assert areas == [*order, "models", "cameras"]
    assert only(findings, "OpenFace's").state == "broken"
    assert code == 1
    parts = [choice["part"] for choice in document["choices"]]
    assert parts == ["decode", "detect", "clnf", "au", "overlay", "jobs"]


def test_it_starts_without_the_libraries(tmp_path: Path) -> None:
    """Who needs a doctor may lack anything: with all of them gone there is an answer, and no traceback."""
    code = (
        "import sys\n"
        "lost = ('numpy', 'packaging', 'rich', 'av', 'cv2', 'zmq', 'platformdirs', 'numba')\n"
        "sys.modules.update(dict.fromkeys(lost))\n"
        "from auflow.doctor import examination\n"
        "quick = ('software', 'ring', 'processor', 'models')\n"
        "examination.AREAS = tuple(each for each in examination.AREAS if each.name in quick)\n"
        "examination.examine.__defaults__ = (examination.AREAS,)\n"
        "from auflow.cli import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENFACE_MODELS_DIR"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == ""
    for name in ("numpy", "packaging", "platformdirs"):
        assert f"    -> pip install {name}" in done.stdout
