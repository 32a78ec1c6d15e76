"""Where compiled kernels are kept, who compiles them, and what damage does: with files that only look like Numba's."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auflow import kernel_cache
from auflow.flow.compilation import take_over
from auflow.kernel_cache import ensure_kernels, kernels_are_ready, kernels_are_whole, place_kernel_cache

PAYLOAD = {"code": b"." * 1000}


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test is a process that knows nothing yet."""
    monkeypatch.setattr(kernel_cache, "_sound", set())
    held: dict[Path, int] = {}
    monkeypatch.setattr(kernel_cache, "_held", held)
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    yield
    for fd in held.values():
        os.close(fd)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert place_kernel_cache() is None
    return Path(os.environ["NUMBA_CACHE_DIR"])


def compiler(folder: Path, log: list[str], name: str = "f") -> Callable[[], None]:
    """Something that leaves what Numba leaves: an index of two pickles, a data file of one."""

    def compile_all(_: Path) -> None:
        log.append(name)
        (folder / "clnf_12").mkdir(exist_ok=True)
        (folder / "clnf_12" / f"{name}.nbi").write_bytes(pickle.dumps("0.68") + pickle.dumps(("stamp", {1: "x"})))
        (folder / "clnf_12" / f"{name}.1.nbc").write_bytes(pickle.dumps(PAYLOAD))

    return compile_all


def again(folder: Path, log: list[str], model: str = "clnf") -> list[str]:
    """What a new process compiles."""
    kernel_cache._sound.clear()
    log.clear()
    ensure_kernels(model, compiler(folder, log))
    return log


def test_the_place_is_of_our_own_and_below_what_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert place_kernel_cache() is None
    first = Path(os.environ["NUMBA_CACHE_DIR"])
    assert first.parent == tmp_path / "cache" / "auflow"
    assert first.stat().st_mode & 0o777 == 0o700
    assert place_kernel_cache() is None
    assert Path(os.environ["NUMBA_CACHE_DIR"]) == first  # placed once
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    place_kernel_cache()
    assert Path(os.environ["NUMBA_CACHE_DIR"]) == tmp_path / "mine" / first.name


def test_where_nothing_can_be_written_it_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernel_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(kernel_cache, "_can_be_made", lambda folder: False)
    warning = place_kernel_cache()
    place = Path(os.environ["NUMBA_CACHE_DIR"])
    assert warning is not None
    assert str(place.parent) in warning
    assert place.parent.parent == tmp_path
    assert place.parent.stat().st_mode & 0o777 == 0o700


def test_it_trusts_no_folder_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernel_cache, "_can_be_made", lambda folder: False)
    monkeypatch.setattr(kernel_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(kernel_cache.tempfile, "mkdtemp", lambda prefix: str(fresh))
    foreign = tmp_path / f"auflow-kernels-{os.getuid()}"
    foreign.mkdir()
    foreign.chmod(0o777)
    place_kernel_cache()
    assert Path(os.environ["NUMBA_CACHE_DIR"]).parent == fresh


def test_the_name_follows_what_the_code_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "__file__", str(tmp_path / "kernel_cache.py"))
    stage = tmp_path / "stages" / "clnf"
    stage.mkdir(parents=True)
    (stage / "kernels.py").write_text("@njit\ndef f(): return 1")
    (stage / "plain.py").write_text("def g(): return 1")
    for path in stage.iterdir():
        os.utime(path, (1, 1))
    names = [kernel_cache._fingerprint()]
    assert kernel_cache._fingerprint() == names[0]
    (stage / "plain.py").write_text("def g(): return 2")
    assert kernel_cache._fingerprint() == names[0]
    monkeypatch.setenv("NUMBA_NUM_THREADS", "7")
    assert kernel_cache._fingerprint() == names[0]
    (stage / "kernels.py").write_text("@njit\ndef f(): return 2")
    os.utime(stage / "kernels.py", (1, 1))
    names.append(kernel_cache._fingerprint())
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    names.append(kernel_cache._fingerprint())
    monkeypatch.setattr(kernel_cache, "_cpu", lambda: ("another",))
    names.append(kernel_cache._fingerprint())
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "int8.py").write_text("LANES = 16")  # kernels are made by it
    names.append(kernel_cache._fingerprint())
    assert len(set(names)) == 5


def test_kernels_are_compiled_once(folder: Path) -> None:
    log: list[str] = []
    assert not kernels_are_ready("clnf")
    assert again(folder, log) == ["f"]
    assert kernels_are_ready("clnf")
    assert again(folder, log) == []
    assert kernels_are_whole("clnf")


def test_another_model_adds_to_what_is_there(folder: Path) -> None:
    log: list[str] = []
    again(folder, log)
    ensure_kernels("ceclm", compiler(folder, log, "g"))
    assert log == ["f", "g"]
    assert again(folder, log) == []
    assert again(folder, log, "ceclm") == []


def test_of_many_processes_one_compiles(folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from auflow.kernel_cache import ensure_kernels
from test_kernel_cache import compiler
def compile_all(folder):
    with open(sys.argv[2], "a") as log:
        log.write("compiled\\n")
    time.sleep(0.3)
    compiler(folder, [])(folder)
ensure_kernels("clnf", compile_all)
print(*sorted(path.name for path in Path(sys.argv[1]).glob("*/*")))
"""
    log = tmp_path / "log"
    command = [sys.executable, "-P", "-c", code, str(folder), str(log)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert {process.communicate(timeout=60)[0] for process in processes} == {"f.1.nbc f.nbi\n"}
    assert log.read_text() == "compiled\n"


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", ["f.nbi", "f.1.nbc"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_compiled_anew(
    folder: Path, damage: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log: list[str] = []
    again(folder, log)
    stray = folder / "clnf_12" / "old.1.nbc"
    stray.write_bytes(pickle.dumps(PAYLOAD))
    DAMAGE[damage](folder / "clnf_12" / name)
    kernel_cache._sound.clear()
    assert not kernels_are_whole("clnf")
    assert again(folder, log) == ["f"]
    assert not stray.exists()  # all of it is made anew
    assert f"{folder} are damaged" in capsys.readouterr().err
    assert again(folder, log) == []


def test_code_that_changed_is_damage_though_it_can_be_read(folder: Path) -> None:
    log: list[str] = []
    again(folder, log)
    code = folder / "clnf_12" / "f.1.nbc"
    whole = code.read_bytes()
    code.write_bytes(whole.replace(b"." * 10, bytes(10), 1))
    assert pickle.loads(code.read_bytes()) != PAYLOAD
    assert again(folder, log) == ["f"]
    assert code.read_bytes() == whole


def test_a_torn_file_that_came_later_counts_too(folder: Path) -> None:
    log: list[str] = []
    again(folder, log)
    late = folder / "clnf_12" / "g.1.nbc"
    late.write_bytes(pickle.dumps(PAYLOAD)[:-1])
    assert again(folder, log) == ["f"]
    assert not late.exists()


def test_what_numba_adds_later_is_no_damage(folder: Path) -> None:
    log: list[str] = []
    again(folder, log)
    index = folder / "clnf_12" / "f.nbi"
    index.write_bytes(index.read_bytes() + pickle.dumps("another signature"))
    (folder / "clnf_12" / "f.2.nbc").write_bytes(pickle.dumps(PAYLOAD))
    assert again(folder, log) == []


def test_a_compilation_that_broke_off_is_begun_anew(folder: Path) -> None:
    log: list[str] = []

    def broken(_: Path) -> None:
        compiler(folder, log)(folder)
        (folder / "clnf_12" / "f.1.nbc").write_bytes(b"")
        raise RuntimeError("power failure")

    with pytest.raises(RuntimeError, match="power failure"):
        ensure_kernels("clnf", broken)
    assert again(folder, log) == ["f"]
    assert (folder / "clnf_12" / "f.1.nbc").stat().st_size > 1000


def test_folders_that_nobody_uses_are_removed(folder: Path) -> None:
    def other(name: str, days: float) -> Path:
        path = folder.parent / f"auflow-kernels-{name}"
        path.mkdir()
        (path / "in-use").touch()
        os.utime(path / "in-use", (time.time() - 86400 * days,) * 2)
        return path

    old, recent, running = other("a", 15), other("b", 13), other("c", 15)
    (folder.parent / "auflow-kernels-d").mkdir()
    with (running / "in-use").open() as lock:
        kernel_cache.fcntl.flock(lock, kernel_cache.fcntl.LOCK_SH)
        again(folder, [])
        assert running.exists()
    assert not old.exists()
    assert recent.exists()
    assert (folder.parent / "auflow-kernels-d").exists()


def test_without_a_place_of_our_own_nothing_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert again(folder, log) == []
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder.parent))
    assert again(folder, log) == []
    assert kernels_are_ready("clnf")


def test_what_the_helper_compiled_is_taken_over(tmp_path: Path) -> None:
    apart, folder = tmp_path / "folder" / "apart", tmp_path / "folder"
    for name, text in (("f", "his"), ("g", "his")):
        for ending in ("nbi", "1.nbc", "2.nbc"):
            path = apart / "clnf_12" / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (folder / "clnf_12").mkdir()
    (folder / "clnf_12" / "f.nbi").write_text("mine")
    take_over(apart, folder)
    found = {path.name: path.read_text() for path in folder.glob("*/*")}
    # A function's index and code belong together: what is there already stays as it is.
    assert found == {"f.nbi": "mine", "g.nbi": "his", "g.1.nbc": "his", "g.2.nbc": "his"}
    assert not apart.exists()
    take_over(apart, folder)  # there was no helper
