"""What a profile holds good for: the processor, the cores that may be used, the GPUs, and what computes on them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import auflow

__all__ = ["Machine", "Versions", "cpu_model", "difference", "these_versions", "this_machine", "usable_cores"]

_CPUINFO = "/proc/cpuinfo"
_ORT_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where something was measured."""

    cpu: str  # model of the processor
    cores: int  # that this process may use
    gpus: tuple[str, ...] = ()  # names of NVIDIA's


@dataclass(frozen=True, slots=True)
class Versions:
    """What computed; "" for what is not installed."""

    auflow: str
    onnxruntime: str
    numba: str


def this_machine(*, with_gpus: bool = True) -> Machine:
    """The machine as this process may use it.

    Parameters
    ----------
    with_gpus : ask NVIDIA's driver; without it there are none, and its library is not loaded into this process
    """
    return Machine(cpu_model(), len(usable_cores()), _gpus() if with_gpus else ())


def these_versions() -> Versions:
    """Those that are installed here."""
    runtimes = [found for name in _ORT_PACKAGES if (found := _version(name))]
    return Versions(auflow.__version__, " ".join(runtimes), _version("numba"))


def difference(measured: Machine | Versions, here: Machine | Versions) -> str | None:
    """In what the two differ, as half a sentence; None where they are the same."""
    for name in ("auflow", "onnxruntime", "numba", "cpu", "cores", "gpus"):
        if (then := getattr(measured, name, None)) != (now := getattr(here, name, None)):
            return f"measured with {_said(name, then)}, here is {_said(name, now)}"
    return None


def cpu_model() -> str:
    """The model of the processor as the system calls it."""
    for line in _lines(_CPUINFO):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> list[int]:
    """The numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _said(name: str, value: object) -> str:
    if name == "cpu":
        return f"the processor {value}"
    if name == "cores":
        return f"{value} core{'' if value == 1 else 's'}"
    if name == "gpus":
        assert isinstance(value, tuple)
        return " and ".join(value) or "no GPU"
    return f"{name} {value}" if value else f"no {name}"


def _gpus() -> tuple[str, ...]:
    from auflow.backends.nvidia import look_for_gpus

    found = look_for_gpus()
    return () if isinstance(found, str) else tuple(gpu.name for gpu in found)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _lines(path: str) -> Iterator[str]:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError:
        return
