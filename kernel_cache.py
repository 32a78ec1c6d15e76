"""Where compiled kernels are kept, and that they are compiled once: by one process, while the others wait.

Numba keeps what it compiles on disk, and leaves open what happens when several processes fill the same folder, when a
callee in another module changes, and when a file is damaged. So auflow gives it a folder of its own, whose name tells
all that the code in it depends on, and a marker in that folder once every kernel is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pickle
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

__all__ = ["COMPILING", "ensure_kernels", "kernels_are_ready", "kernels_are_whole", "place_kernel_cache"]

COMPILING = "compiling kernels for this machine, once: about 20 s"

_VARIABLE = "NUMBA_CACHE_DIR"
_PREFIX = "auflow-kernels-"
_IN_USE = "in-use"  # locked, shared, by every process that may load from the folder; its time is that of the last use
_COMPILES = "compiles"  # locked by the one that compiles
_KEPT_S = 14 * 86400.0
_CPU_LINES = ("model name", "flags", "Features", "CPU implementer", "CPU variant", "CPU part")

_NO_SWITCHES = (_VARIABLE, "NUMBA_NUM_THREADS")

_sound: set[Path] = set()  # folders that this process, or the one that it was forked from, has found whole
_held: dict[Path, int] = {}  # folder -> descriptor of its _IN_USE, for the rest of this process's life


def place_kernel_cache() -> str | None:
    """Choose the folder for compiled kernels, for Numba to find in the environment; a warning where it will not last.

    Call this before Numba is imported. It lies below the user's NUMBA_CACHE_DIR where that is set, else below the
    user's cache folder, else below this package. Where none can be written (a read-only container, a service user
    without a home) it is a private temporary folder.
    """
    name = _PREFIX + _fingerprint()
    given = os.environ.get(_VARIABLE)
    if given and Path(given).name.startswith(_PREFIX):  # placed already, by this process or the one that started it
        given = str(Path(given).parent)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    own = [caches / "auflow"] if caches.is_absolute() else []
    places = [Path(given)] if given else [*own, Path(__file__).resolve().parent / "__pycache__"]
    for place in places:
        if _can_be_made(place / name):
            os.environ[_VARIABLE] = str(place / name)
            return None
    temporary = _private_temporary()
    (temporary / name).mkdir(exist_ok=True)
    os.environ[_VARIABLE] = str(temporary / name)
    tried = " nor ".join(str(place) for place in places)
    return (
        f"neither {tried} can be written: compiled kernels are kept in {temporary}; "
        "set NUMBA_CACHE_DIR to a lasting place to save 20 s at each start"
    )


def kernels_are_ready(model: str) -> bool:
    """Whether all kernels for this landmark model were compiled before; damage is not looked for."""
    folder = _folder()
    return folder is None or _marker(folder, model).is_file()


def ensure_kernels(model: str, compile_all: Callable[[Path], None]) -> None:
    """Return when every kernel lies in the cache: do nothing, or compile all, or wait for the process that does.

    Parameters
    ----------
    model : landmark model, as in `StageSettings`
    compile_all : calls every kernel with the types of production; gets the folder that they are kept in
    """
    folder = _folder()
    if folder is None or kernels_are_whole(model):
        return
    with _locked(folder / _COMPILES):
        if kernels_are_whole(model):
            return
        if not _is_sound(folder):  # cut off or damaged: Numba would trip over it
            if _marker(folder, model).is_file():
                sys.stderr.write(f"auflow: the compiled kernels in {folder} are damaged and made anew: about 20 s\n")
            for path in (*folder.glob("*.json"), *_kernel_files(folder)):
                path.unlink(missing_ok=True)
        compile_all(folder)
        _write_marker(folder, model)
    _prune(folder)


def kernels_are_whole(model: str) -> bool:
    """Whether all kernels for this model can be loaded; from then on the folder is kept while this process lives.

    Numba must have been imported. A few milliseconds the first time, nothing after a yes.
    """
    folder = _folder()
    if folder is None or folder in _sound:
        return folder is not None
    _hold(folder)
    if _marker(folder, model).is_file() and _is_sound(folder):
        _sound.add(folder)
        return True
    return False


def _folder() -> Path | None:
    """The folder that `place_kernel_cache` chose, None where Numba keeps its kernels elsewhere or compiles none."""
    place = os.environ.get(_VARIABLE, "")
    if not Path(place).name.startswith(_PREFIX) or os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return None
    numba = sys.modules.get("numba")  # it has read the variable when it was imported
    return None if numba is not None and place != numba.config.CACHE_DIR else Path(place)


def _marker(folder: Path, model: str) -> Path:
    return folder / f"{model}.json"


def _kernel_files(folder: Path) -> Iterator[Path]:
    return folder.glob("*/*.nb[ci]")


def _write_marker(folder: Path, model: str) -> None:
    """Note that all kernels for `model` are there, and the check sum of every file."""
    sums = {str(path.relative_to(folder)): zlib.crc32(path.read_bytes()) for path in _kernel_files(folder)}
    fresh = folder / f"{model}.{os.getpid()}"
    fresh.write_text(json.dumps(sums))
    fresh.replace(_marker(folder, model))


def _is_sound(folder: Path) -> bool:
    """Whether there are kernels, and every file is as noted, or may have come or changed since and can be read.

    Numba adds files of code and renews indices when it meets new types; it does not touch code that is there.
    """
    sums: dict[str, int] = {}
    try:
        for marker in folder.glob("*.json"):
            sums |= json.loads(marker.read_text())
    except (OSError, ValueError):
        return False
    there = {str(path.relative_to(folder)): path for path in _kernel_files(folder)}
    return (
        bool(sums)
        and sums.keys() <= there.keys()
        and all(
            _crc(path) == sums.get(name) or (not (name in sums and path.suffix == ".nbc") and _can_be_read(path))
            for name, path in there.items()
        )
    )


def _crc(path: Path) -> int | None:
    try:
        return zlib.crc32(path.read_bytes())
    except OSError:
        return None


def _can_be_read(path: Path) -> bool:
    """Whether a file of Numba's, one or two pickles, is whole. It is trusted as Numba itself trusts it."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while file.tell() < size:
                pickle.load(file)
    except Exception:  # noqa: BLE001 - a torn pickle raises whatever it likes
        return False
    return size > 0


def _hold(folder: Path) -> None:
    """Keep others from pruning the folder while this process lives, and note its use."""
    if folder in _held:
        return
    _held[folder] = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(_held[folder], fcntl.LOCK_SH)
    os.utime(_held[folder])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _prune(folder: Path) -> None:
    """Remove the folders of other versions that nobody uses, or has used for long."""
    for other in folder.parent.glob(f"{_PREFIX}*"):
        if other == folder or other.is_symlink():
            continue
        with suppress(OSError):  # somebody else's, or gone meanwhile
            lock = os.open(other / _IN_USE, os.O_RDWR | os.O_CLOEXEC)
            try:
                if time.time() - os.fstat(lock).st_mtime > _KEPT_S:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(other, ignore_errors=True)
            finally:
                os.close(lock)


def _fingerprint() -> str:
    """All that compiled code depends on: sources with kernels and their place, Python, Numba, its switches, the CPU."""
    package = Path(__file__).resolve().parent
    switches = sorted(
        pair for pair in os.environ.items() if pair[0].startswith("NUMBA_") and pair[0] not in _NO_SWITCHES
    )
    digest = hashlib.blake2b(
        repr((str(package), sys.implementation.cache_tag, switches, _cpu())).encode(), digest_size=8
    )
    for library in ("numba", "llvmlite"):
        found = find_spec(library)
        if found is not None and found.origin is not None:
            digest.update(Path(found.origin).with_name("_version.py").read_bytes())
    table = list(package.glob("backends/int8.py"))  # has no kernel, but what kernels are made by
    for path in (*sorted(package.glob("stages/*/*.py")), *table):
        source = path.read_bytes()
        if b"njit" in source or path in table:
            status = path.stat()  # older versions of Numba go by these
            digest.update(repr((path.name, status.st_mtime, status.st_size)).encode() + source)
    return digest.hexdigest()


def _cpu() -> tuple[str, ...]:
    """What tells the kinds of CPU apart: code for one may not run on another that shares the folder."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = list(takewhile(str.strip, file))
    except OSError:
        first = []
    return (*os.uname()[4:], *(line for line in first if line.startswith(_CPU_LINES)))


def _can_be_made(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _private_temporary() -> Path:
    """A folder below the temporary one that no other user can write: what lies in it will be run."""
    user = os.getuid()
    place = Path(tempfile.gettempdir()) / f"auflow-kernels-{user}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        private = not place.is_symlink() and place.stat().st_uid == user and place.stat().st_mode & 0o077 == 0
    except OSError:
        private = False
    return place if private else Path(tempfile.mkdtemp(prefix="auflow-kernels-"))
