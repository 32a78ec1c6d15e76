"""pip as a child process, and the `auflow models` sub-commands."""

from __future__ import annotations

import argparse
import hashlib
import io
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from auflow.errors import ModelError
from auflow.models import fetch as fetching
from auflow.models import store, wheel
from auflow.models.commands import add_parser
from auflow.models.fetch import Sources
from auflow.models.manifest import ModelFile
from auflow.models.progress import ConsoleProgress
from auflow.models.store import originals

FILE = ModelFile("lib/one.dat", 3, hashlib.sha256(b"one").hexdigest())


def fake_python(folder: Path, body: str) -> Path:
    """An executable that stands in for `python`, called with pip's arguments."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys, time, zipfile\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def scratch(tmp_path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_pip_is_asked_for_the_pinned_wheel_alone_and_no_source(tmp_path, scratch, monkeypatch):
    body = (
        "target = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
        "(target.parent / 'arguments').write_text(' '.join(sys.argv[1:]))\n"
        "zipfile.ZipFile(target / 'x.whl', 'w').close()\n"
        "time.sleep(0.6)"
    )
    monkeypatch.setattr(wheel.sys, "executable", str(fake_python(tmp_path, body)))
    output = io.StringIO()
    path = wheel.pip_download(scratch, ConsoleProgress(output))
    assert zipfile.is_zipfile(path)
    arguments = (scratch / "arguments").read_text()
    assert arguments.startswith("-m pip download --no-deps --only-binary=:all:")
    assert arguments.endswith(" MMSA-FET==0.1.8")
    assert "MMSA-FET==0.1.8 by pip" in output.getvalue()


def test_pip_s_last_words_are_passed_on(tmp_path, scratch, monkeypatch):
    body = "sys.stderr.write('ERROR: no such index\\n')\nsys.exit(3)"
    monkeypatch.setattr(wheel.sys, "executable", str(fake_python(tmp_path, body)))
    with pytest.raises(ModelError, match=r"(?s)ended with 3.*no such index"):
        wheel.pip_download(scratch, ConsoleProgress(io.StringIO()))


def test_pip_is_stopped_with_the_fetch(tmp_path, scratch, monkeypatch):
    class Stops(ConsoleProgress):
        def advanced(self, what: str, done: int, total: int | None) -> None:
            raise KeyboardInterrupt

    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(wheel.subprocess, "Popen", Popen)
    monkeypatch.setattr(wheel.sys, "executable", str(fake_python(tmp_path, "time.sleep(60)")))
    with pytest.raises(KeyboardInterrupt):
        wheel.pip_download(scratch, Stops(io.StringIO()))
    assert started[0].returncode == -9


def run(*words: str) -> int:
    parser = argparse.ArgumentParser("auflow")
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", *words])
    code: int = args.handler(args)
    return code


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """An empty store for a manifest of one file; `fetch` has no source but the wheel, and pip brings nothing."""
    monkeypatch.setattr(store, "load_manifest", lambda: (FILE,))
    monkeypatch.setattr(fetching, "load_manifest", lambda: (FILE,))
    monkeypatch.setattr("auflow.models.manifest.load_manifest", lambda: (FILE,))
    return tmp_path / "store"


def put(root: Path, data: bytes) -> None:
    target = originals(root) / FILE.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def test_fetch_without_the_licence_shows_it_and_touches_nothing(root, capsys):
    assert run("fetch", "--dir", str(root)) == 2
    output = capsys.readouterr()
    for words in ("non-profit", "non-commercial", "may not be passed on", "OpenFace-license.txt", "--accept-license"):
        assert words in output.err
    assert output.out == ""
    assert not root.exists()


def test_fetch_of_a_complete_store_asks_nobody(root, capsys):
    put(root, b"one")
    assert run("fetch", "--accept-license", "--dir", str(root)) == 0
    assert "1 files were there, 0 came" in capsys.readouterr().out


def test_fetch_that_fails_gives_exit_code_4(root, capsys, monkeypatch):
    def nothing(*_: object) -> Path:
        raise wheel.NoWheel("pip has nothing")

    sources = Sources("http://127.0.0.1:9/", nothing, probe_s=1.0, read_s=1.0, pause_s=0.0)
    monkeypatch.setattr(fetching, "Sources", lambda: sources)
    assert run("fetch", "--accept-license", "--dir", str(root)) == 4
    assert "pip has nothing" in capsys.readouterr().err


def test_list_and_verify_of_a_whole_a_missing_and_a_damaged_store(root, capsys):
    assert run("list", "--dir", str(root)) == 4
    assert "missing  lib/one.dat" in capsys.readouterr().out
    assert run("verify", "--dir", str(root)) == 4
    assert "one.dat: missing" in capsys.readouterr().err
    put(root, b"onE")
    assert run("list", "--dir", str(root)) == 0  # the same size: only the SHA-256 tells
    assert "list --verify" in capsys.readouterr().out
    assert run("list", "--verify", "--dir", str(root)) == 4
    assert "3  damaged  lib/one.dat" in capsys.readouterr().out
    put(root, b"on")
    assert run("list", "--dir", str(root)) == 4
    said = capsys.readouterr().out
    assert "3  damaged  lib/one.dat" in said
    assert "0 of 1 files" in said
    assert "1 damaged: type `auflow models fetch --accept-license`" in said
    put(root, b"onE")
    assert run("verify", "--dir", str(root)) == 4
    error = capsys.readouterr().err
    assert FILE.sha256 in error
    assert hashlib.sha256(b"onE").hexdigest() in error
    put(root, b"one")
    assert run("verify", "--dir", str(root)) == 0
    assert "all 1 model files" in capsys.readouterr().out


def test_path_is_the_chosen_folder_or_the_environment_s(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENFACE_MODELS_DIR", str(tmp_path))
    assert run("path") == 0
    assert run("path", "--dir", "elsewhere") == 0
    assert capsys.readouterr().out == f"{tmp_path}\nelsewhere\n"


def test_a_terminal_sees_one_line_that_is_redrawn_and_taken_away():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    output = Terminal()
    progress = ConsoleProgress(output)
    progress.advanced("lib/long_name.dat", 1_500_000, 3_000_000)
    progress.advanced("lib/long_name.dat", 1_600_000, 3_000_000)  # a moment later: not drawn
    assert output.getvalue() == "\r1.5 of 3.0 MB, 0 s: long_name.dat"
    progress.note("something to stay")
    assert output.getvalue().endswith("\r" + " " * 33 + "\rsomething to stay\n")
    progress.close()
    assert output.getvalue().endswith("stay\n")


def test_the_sub_parser_costs_no_heavy_import():
    code = (
        "import sys, argparse; from auflow.models.commands import add_parser; "
        "add_parser(argparse.ArgumentParser().add_subparsers()); "
        "print(sorted({'numpy', 'numba', 'cv2', 'onnxruntime', 'rich', 'urllib.request'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
