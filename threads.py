"""What the libraries below auflow read from the environment when they load: threads, and the place of the kernel cache.

Call these before NumPy, OpenCV or Numba is imported. Spawned children inherit the result. A value that the user has
set stays.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["pin_threads", "place_kernel_cache"]

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def pin_threads() -> None:
    """Ask every library that auflow uses for one thread: it scales by processes, and theirs slow it down."""
    for variable in VARIABLES:
        os.environ.setdefault(variable, "1")


def place_kernel_cache() -> str | None:
    """Give Numba a place for compiled kernels where it would find none; returns a warning then.

    Numba writes beside the modules or below the user's cache folder, and refuses to work where it can write to
    neither (a read-only container, a service user without a home).
    """
    package = Path(__file__).resolve().parent / "stages" / "clnf"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    if "NUMBA_CACHE_DIR" in os.environ or _writable(package / "__pycache__") or _writable(caches / "numba"):
        return None
    user = os.getuid() if hasattr(os, "getuid") else 0
    place = Path(tempfile.gettempdir()) / f"auflow-kernels-{user}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        private = not place.is_symlink() and place.stat().st_uid == user and place.stat().st_mode & 0o077 == 0
    except OSError:
        private = False
    if not private:
        place = Path(tempfile.mkdtemp(prefix="auflow-kernels-"))
    os.environ["NUMBA_CACHE_DIR"] = str(place)
    return (
        f"neither auflow's own folder nor {caches} can be written: compiled kernels are kept in {place}; "
        "set NUMBA_CACHE_DIR to a lasting place to save 15 s at each start"
    )


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
