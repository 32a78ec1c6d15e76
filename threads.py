"""How many threads the libraries below auflow start: they read it from the environment when they load.

Child processes inherit it. A value that the user has set stays.
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
    """Ask every library that auflow uses for one thread: it scales by processes, and theirs slow it down.

    Call this before NumPy, OpenCV or Numba is imported.
    """
    for variable in VARIABLES:
        os.environ.setdefault(variable, "1")
