"""Apple's coremltools, loaded where it is needed: it takes more than a second."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from auflow.errors import BackendError

__all__ = ["coremltools", "quiet"]


def coremltools() -> Any:
    """The package.

    Raises
    ------
    BackendError
        It is not installed.
    """
    # Away from macOS it warns of each library of Apple's that it lacks.
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    try:
        import coremltools as package
    except ImportError as error:
        raise BackendError(f"Core ML programs need coremltools ({error})\npip install 'auflow[coreml]'") from None
    return package


@contextmanager
def quiet() -> Iterator[None]:
    """Without coremltools' progress bars, three for each program, and what it says of a folder that it lets fall."""
    before, sys.stderr = sys.stderr, StringIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        sys.stderr = before
