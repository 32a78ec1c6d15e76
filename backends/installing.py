"""Commands that install packages into the Python that runs auflow, for people to type.

An environment of `uv` has no pip in it, and one of `pipx` is not the one that `pip` in a shell installs into: so the
commands name the interpreter.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys

__all__ = ["install", "install_again", "uninstall"]


def install(*what: str) -> str:
    """`pip install` of packages or extras."""
    return _pip("install", *what)


def install_again(package: str, version: str) -> str:
    """Write all files of a package that is installed, and nothing else."""
    anew = ("--force-reinstall",) if _has_pip() else ("--reinstall",)
    return _pip("install", *anew, "--no-deps", f"{package}=={version}")


def uninstall(*packages: str) -> str:
    """`pip uninstall` without questions."""
    return _pip("uninstall", *(("-y",) if _has_pip() else ()), *packages)


def _pip(command: str, *words: str) -> str:
    python = sys.executable or "python3"
    if _has_pip():
        return _quoted(python, "-m", "pip", command, *words)
    return _quoted("uv", "pip", command, "--python", python, *words)


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _quoted(*words: str) -> str:
    if sys.platform == "win32":
        return " ".join(f'"{word}"' if " " in word else word for word in words)
    return shlex.join(words)
