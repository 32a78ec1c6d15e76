"""The exceptions of auflow: one root, each with the exit code that the command line returns for it."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuflowError",
    "BackendError",
    "InputError",
    "ModelError",
    "OutputError",
    "ShapeError",
    "StageError",
    "UsageError",
]


class AuflowError(Exception):
    """Root of every error that auflow raises on purpose; its text says what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(AuflowError):
    """A command line or configuration that cannot be carried out."""

    exit_code = 2


class InputError(AuflowError):
    """An input that is missing, empty or cannot be decoded."""

    exit_code = 2


class OutputError(AuflowError):
    """An output that cannot be written."""

    exit_code = 3


class ModelError(AuflowError):
    """Model files that are missing, damaged or of another format."""

    exit_code = 4


class StageError(AuflowError):
    """A stage process failed or died."""

    exit_code = 5


class BackendError(AuflowError):
    """A compute backend that was asked for and is not to be had here, or cannot do the work."""

    exit_code = 2


class ShapeError(AuflowError, ValueError):
    """An array argument of the wrong shape or dtype."""
