"""What a format of the table needs beside auflow's own packages."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from auflow.errors import UsageError
from auflow.stages.settings import Format

__all__ = ["PARQUET_NEEDS", "require_formats"]

PARQUET_NEEDS = "parquet needs the package pyarrow: pip install 'auflow[parquet]'"


def require_formats(formats: Iterable[Format]) -> None:
    """Refuse at once, and without loading it, a format whose package is not there.

    Raises
    ------
    UsageError
    """
    if "parquet" in formats and find_spec("pyarrow") is None:
        raise UsageError(PARQUET_NEEDS)
