"""Commands that install packages into the Python that runs auflow, for people to type.

`pip` in a shell may be that of another environment, one of `uv` has none in it, and one of `pipx` is reached through
`pipx`: so the commands name the program and the interpreter.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys

__all__ = ["install", "install_again", "uninstall"]


def install(*what: str) -> str:
    """`pip install` of packages or extras."""
    return _pip("install", *what)


def install_again(package: str, version: str) -> str:
    """Write all files of a package that is installed, and nothing else."""
    anew = "--reinstall" if _is_uv() else "--force-reinstall"
    return _pip("install", anew, "--no-deps", f"{package}=={version}")


def uninstall(*packages: str) -> str:
    """`pip uninstall` without questions."""
    return _pip("uninstall", *(() if _is_uv() else ("-y",)), *packages)


def _pip(command: str, *words: str) -> str:
    python = sys.executable or "python3"
    if _is_pipx():
        return _quoted("pipx", "runpip", os.path.basename(sys.prefix), command, *words)
    if _is_uv():
        return _quoted("uv", "pip", command, "--python", python, *words)
    return _quoted(python, "-m", "pip", command, *words)


def _is_pipx() -> bool:
    return os.path.isfile(os.path.join(sys.prefix, "pipx_metadata.json"))


def _is_uv() -> bool:
    return not _is_pipx() and importlib.util.find_spec("pip") is None


def _quoted(*words: str) -> str:
    if sys.platform == "win32":
        return " ".join(f'"{word}"' if " " in word else word for word in words)
    return shlex.join(words)
