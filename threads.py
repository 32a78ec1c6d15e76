"""One thread per process: auflow scales by processes, and libraries that start threads of their own slow it down.

Call `pin_threads` before NumPy, OpenCV or Numba is imported: they read these variables once, when they load. Spawned
children inherit them. A value that the user has set stays.
"""

from __future__ import annotations

import os

__all__ = ["pin_threads"]

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def pin_threads() -> None:
    """Ask every library that auflow uses for one thread, through the environment."""
    for variable in VARIABLES:
        os.environ.setdefault(variable, "1")
