"""Whose files ONNX Runtime's are: `onnxruntime` and its siblings are all written into the same folder.

Installers write the later one over the earlier without a word, and removing one takes the files of the other along.
What each wrote is in its RECORD, so the files that are really there tell whose they are. Nothing is imported, and it
takes about a millisecond.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from auflow.backends.installing import install_again, uninstall
from auflow.errors import BackendError

__all__ = ["OrtFiles", "OrtPackage", "look_at_ort_files", "require_ort_files"]

State = Literal["fine", "overwritten", "damaged"]
_PLAIN = "onnxruntime"
_DIST_INFO = re.compile(r"(onnxruntime(?:[_-]\w+)*)-([^-]+)\.dist-info", re.IGNORECASE)
_INIT = "onnxruntime/__init__.py"
_WHAT_RUNS = (_INIT, "onnxruntime/capi/")  # the rest are tools that auflow does not use


@dataclass(frozen=True, slots=True)
class OrtPackage:
    """One package that has the folder `onnxruntime` in it, and what is left of it there."""

    name: str  # "onnxruntime-gpu"
    version: str
    files: int  # of those that compute
    missing: int
    foreign: int  # of another size: somebody else's

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def whole(self) -> bool:
        return not self.missing and not self.foreign


@dataclass(frozen=True, slots=True)
class OrtFiles:
    """What runs, and whether it is what was installed."""

    packages: tuple[OrtPackage, ...]  # none where no installer left a RECORD: nothing is known then
    state: State
    what: str

    def mend(self, *, gpu: bool) -> str:
        """The commands that put it right, "" where nothing is wrong; `gpu`: whether an NVIDIA GPU is to be used."""
        if self.state == "fine":
            return ""
        if len(self.packages) == 1:
            return install_again(self.packages[0].name, self.packages[0].version)
        wanted = "onnxruntime-gpu" if gpu else _PLAIN
        kept = next((each for each in self.packages if each.name == wanted), self.packages[0])
        gone = [each.name for each in self.packages if each.name not in (kept.name, _PLAIN)]
        return " && ".join([*([uninstall(*gone)] if gone else []), install_again(kept.name, kept.version)])


def require_ort_files(*, gpu: bool | None = None) -> str | None:
    """What a start has to tell of ONNX Runtime's packages, with the commands that mend it; None where all is well.

    Parameters
    ----------
    gpu : whether an NVIDIA GPU is here; None asks the driver, where it matters

    Raises
    ------
    BackendError
        What is there is of several packages, or in part: nothing should be computed with it.
    """
    found = look_at_ort_files()
    if found.state == "fine":
        return None
    if gpu is None:
        from auflow.backends.nvidia import look_for_gpus

        gpu = not isinstance(look_for_gpus(), str)
    text = f"{found.what}\nto mend it: {found.mend(gpu=gpu)}"
    if found.state == "damaged":
        raise BackendError(text)
    return text


def look_at_ort_files(folders: Iterable[str] | None = None) -> OrtFiles:
    """Whose files ONNX Runtime's are, in the first of `folders` (default: `sys.path`) that a package of it is in."""
    packages: tuple[OrtPackage, ...] = ()
    for folder in sys.path if folders is None else folders:
        packages = tuple(sorted(_packages(folder or "."), key=lambda each: each.name))
        if packages:
            break
    return OrtFiles(packages, *_judged(packages))


def _judged(packages: tuple[OrtPackage, ...]) -> tuple[State, str]:
    if len(packages) < 2:
        lacking = [each for each in packages if each.missing]
        if not lacking:  # one of another size alone is of a packager who made it smaller
            return "fine", ", ".join(map(str, packages))
        return "damaged", f"{lacking[0]} is damaged: {lacking[0].missing} of its {lacking[0].files} files are missing"
    both = " and ".join(map(str, packages))
    whole = next((each for each in packages if each.whole), None)
    if whole is None:
        return "damaged", f"{both} are installed into one folder, and none of them is whole: what runs is a mixture"
    over = [each for each in packages if each != whole and each.name != _PLAIN]
    if not over:
        return "fine", f"{whole}, written over {_PLAIN}"
    names = " and ".join(map(str, over))
    return "overwritten", f"{whole} was written over {names}: what runs is {whole}, and of {over[0].name} nothing"


def _packages(folder: str) -> Iterator[OrtPackage]:
    try:
        with os.scandir(folder) as entries:
            found = [match for entry in entries if (match := _DIST_INFO.fullmatch(entry.name))]
    except OSError:  # sys.path names folders and archives that are not there
        return
    for match in found:
        sizes = _recorded(os.path.join(folder, match[0], "RECORD"))
        if _INIT not in sizes:
            continue  # a sibling with a folder of its own
        there = {name: _size(os.path.join(folder, name)) for name in sizes}
        yield OrtPackage(
            name=match[1].replace("_", "-").lower(),
            version=match[2],
            files=len(sizes),
            missing=sum(size is None for size in there.values()),
            foreign=sum(size is not None and size != sizes[name] for name, size in there.items()),
        )


def _recorded(path: str) -> dict[str, int]:
    """Sizes of the files that compute, as the installer noted them."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(_WHAT_RUNS)]
    except (OSError, UnicodeDecodeError):
        return {}
    rows = (line.rstrip("\n").rsplit(",", 2) for line in lines)
    return {row[0]: int(row[2]) for row in rows if len(row) == 3 and row[2].isdigit()}


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
